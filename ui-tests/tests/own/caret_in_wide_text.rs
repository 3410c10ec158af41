// Must draw the caret under the placeholder, counted in characters and not in bytes; none in a literal of two lines.
use verrou::{Error, locked};

#[locked("été:🔒:<wrong>")]
async fn wide(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[locked("first:\
    <wrong>")]
async fn lines(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

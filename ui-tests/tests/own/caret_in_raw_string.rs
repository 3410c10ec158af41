// Must draw the caret at the right place in a raw string, and none where escapes make the places differ.
use verrou::{Error, locked};

#[locked(r##"é#"<wrong>"##, "\u{e9}\t<wrong>")]
async fn f(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

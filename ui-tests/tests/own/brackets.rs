// Must say: unclosed `<`, write `<<`; `>` without an opening, write `>>`. A caret under each.
use verrou::{Error, locked};

#[locked("a:<id")]
async fn unclosed(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[locked("a:id>")]
async fn unopened(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

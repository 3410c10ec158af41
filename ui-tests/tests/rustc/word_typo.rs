// Must say that there is no such value, at the word; the options take expressions, so the macro cannot know.
use verrou::{Error, locked};

#[locked("t", wait = forevr, on_busy = skp)]
pub async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}

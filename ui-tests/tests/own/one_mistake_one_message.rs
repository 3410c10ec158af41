// Must report the mistakes alone: nothing of an unused argument whose placeholder is misspelt, and nothing of a guard
// that is not there, in a function that is not async and in one with a second `#[locked]`.
#![deny(warnings)]
use verrou::{Error, locked};

#[locked("t:<artikel>")]
pub async fn misspelt(article: u64) -> Result<(), Error> {
    Ok(())
}

#[locked("t:<id>", guard = lock)]
pub fn not_async(id: u64) -> Result<u64, Error> {
    lock.check()?;
    Ok(id)
}

#[locked("a")]
#[locked("t:<id>", guard = lock)]
pub async fn twice(id: u64) -> Result<(), Error> {
    lock.check()
}

#[locked("t:<id>", guard = lock)]
pub async fn returns_nothing(id: u64) {
    let _ = lock.is_held();
}

fn main() {}

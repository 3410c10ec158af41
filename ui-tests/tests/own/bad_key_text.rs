// Must say: cannot be empty; cannot contain a NUL; given twice at the second.
use verrou::{Error, locked};

#[locked("")]
async fn empty() -> Result<(), Error> {
    Ok(())
}

#[locked("a\0")]
async fn nul() -> Result<(), Error> {
    Ok(())
}

#[locked("a:<id>", "b", "a:<id>")]
async fn twice(id: u64) -> Result<u64, Error> {
    Ok(id)
}

fn main() {}

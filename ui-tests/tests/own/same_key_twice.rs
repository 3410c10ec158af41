// Must say that the key is given twice, at the second, however it is written.
use verrou::{Error, locked};

#[locked("a:<id>", r"a:<id>")]
async fn raw(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[locked("a", "\x61")]
async fn escaped() -> Result<(), Error> {
    Ok(())
}

fn main() {}

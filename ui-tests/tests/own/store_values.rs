// Must say that a store is named by a string literal that is not empty.
use verrou::{Error, locked};

const NAME: &str = "redis";

#[locked("t", store = redis)]
async fn word() -> Result<(), Error> {
    Ok(())
}

#[locked("t", store = NAME)]
async fn constant() -> Result<(), Error> {
    let _ = NAME;
    Ok(())
}

#[locked("t", store = b"redis")]
async fn bytes() -> Result<(), Error> {
    Ok(())
}

#[locked("t", store = "")]
async fn empty() -> Result<(), Error> {
    Ok(())
}

fn main() {}

// Must say that a key is needed, with an example.
use verrou::{Error, locked};

#[locked]
async fn bare() -> Result<(), Error> {
    Ok(())
}

#[locked()]
async fn empty() -> Result<(), Error> {
    Ok(())
}

#[locked(ttl = "1s")]
async fn options_only() -> Result<(), Error> {
    Ok(())
}

fn main() {}

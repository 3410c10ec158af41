// Must say that nothing stands before the second comma, ask for a comma between two keys, before an option and instead
// of a semicolon, and go on.
use verrou::{Error, locked};

#[locked("a",, ttl = "1")]
async fn two() -> Result<(), Error> {
    Ok(())
}

#[locked("a" "b" ttl = "1")]
async fn none() -> Result<(), Error> {
    Ok(())
}

#[locked("a"; ttl = "1s")]
async fn semicolon() -> Result<(), Error> {
    Ok(())
}

fn main() {}

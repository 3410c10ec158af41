// Must say that the option needs a value, at its name; must ask for the missing comma.
use verrou::{Error, locked};

#[locked("t", ttl)]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", store =, wait("5s"))]
async fn g() -> Result<(), Error> {
    Ok(())
}

#[locked("t" ttl = "1s")]
async fn h() -> Result<(), Error> {
    Ok(())
}

fn main() {}

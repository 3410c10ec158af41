// Must say that `forever` and `never` are words.
use verrou::{Error, locked};

#[locked("t", wait = "forever")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", wait = "never")]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}

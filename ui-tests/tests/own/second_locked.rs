// Must say that it can deadlock and to name all keys in one, at the second.
use verrou::{Error, locked};

#[locked("a")]
#[locked("b")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("a")]
#[verrou::locked("b")]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}

// Must say that `crate` takes a path.
use verrou::{Error, locked};

#[locked("t", crate = 5)]
async fn number() -> Result<(), Error> {
    Ok(())
}

#[locked("t", crate = "::verrou")]
async fn text() -> Result<(), Error> {
    Ok(())
}

#[locked("t", crate = &verrou)]
async fn reference() -> Result<(), Error> {
    Ok(())
}

fn main() {}

// Must say that `guard` takes a name, at each value that is none.
use verrou::{Error, locked};

#[locked("t", guard = "lock")]
async fn text() -> Result<(), Error> {
    Ok(())
}

#[locked("t", guard = self)]
async fn receiver() -> Result<(), Error> {
    Ok(())
}

#[locked("t", guard = a::b)]
async fn path() -> Result<(), Error> {
    Ok(())
}

#[locked("t", guard = &lock)]
async fn reference() -> Result<(), Error> {
    Ok(())
}

fn main() {}

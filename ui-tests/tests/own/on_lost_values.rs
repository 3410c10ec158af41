// Must say that `on_lost` takes `cancel` or `continue`.
use verrou::{Error, locked};

#[locked("t", on_lost = "continue")]
async fn text() -> Result<(), Error> {
    Ok(())
}

#[locked("t", on_lost = Continue)]
async fn variant() -> Result<(), Error> {
    Ok(())
}

#[locked("t", on_lost = break)]
async fn keyword() -> Result<(), Error> {
    Ok(())
}

fn main() {}

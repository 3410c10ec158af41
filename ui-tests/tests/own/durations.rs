// Must say for each what is wrong with it, at the value, with an example; a bare number gets the text that was meant.
use verrou::{Error, locked};

#[locked("t", ttl = "30", wait = "5 weeeks", max_hold = "-1s", min_hold = "")]
async fn text() -> Result<(), Error> {
    Ok(())
}

#[locked("t", ttl = "99999999999999999h", wait = 5, max_hold = 2.5, delay = true)]
async fn numbers() -> Result<(), Error> {
    Ok(())
}

fn main() {}

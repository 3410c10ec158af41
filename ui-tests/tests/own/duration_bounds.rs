// Must say the bound: longer than zero, at least 10ms, at most 3650 days, at least 10ms, at least 1ms; `min_hold` not
// above `ttl`, `max_hold` not below `min_hold`.
use verrou::{Error, locked};

#[locked("t", ttl = "0s", max_hold = "9ms", delay = "10us")]
async fn zero() -> Result<(), Error> {
    Ok(())
}

#[locked("t", ttl = "9ms")]
async fn short() -> Result<(), Error> {
    Ok(())
}

#[locked("t", ttl = "11years")]
async fn long() -> Result<(), Error> {
    Ok(())
}

#[locked("t", ttl = "1s", min_hold = "1500ms", max_hold = "1s")]
async fn order() -> Result<(), Error> {
    Ok(())
}

fn main() {}

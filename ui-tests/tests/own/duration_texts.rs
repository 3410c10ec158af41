// Must say for each text what is wrong in it: two dots, an exponent, an unknown unit, a sign, a comma, a range, a word.
use verrou::{Error, locked};

#[locked("t", ttl = "1.5.2s", wait = "1e3s", max_hold = "3 parsecs", min_hold = "+1s", delay = "1s, 2s")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", ttl = "1s..2s", wait = "half an hour", max_hold = "5m30")]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}

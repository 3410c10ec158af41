// Must expect a `Duration`, a `bool` or a `u32` at the value, and quote no line of the library.
use verrou::{Error, locked};

const SECONDS: u64 = 5;

#[locked("t", ttl = SECONDS, renew = SECONDS, attempts = SECONDS, when = SECONDS)]
pub async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}

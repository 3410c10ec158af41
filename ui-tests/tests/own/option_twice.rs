// Must point at the second `ttl`.
use verrou::{Error, locked};

#[locked("t", ttl = "30s", wait = never, ttl = "1m")]
async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}

// Must suggest `ttl` and `min_hold`; must list all options for the one that is like none.
use verrou::{Error, locked};

#[locked("t", tll = "30s", minhold = "1s")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", timeout = "30s")]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}

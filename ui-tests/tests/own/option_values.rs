// Must say for each option what it takes, at the value.
use verrou::{Error, locked};

const STORE: &str = "redis";

#[locked("t", store = "", attempts = 0, renew = "no", on_lost = stop, guard = 1, crate = "verrou")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", store = STORE, attempts = 4294967296, guard = _)]
async fn g() -> Result<(), Error> {
    let _ = STORE;
    Ok(())
}

#[locked("t", attempts = "5", guard = self.guard, on_lost = continue 'outer)]
async fn h() -> Result<(), Error> {
    Ok(())
}

fn main() {}

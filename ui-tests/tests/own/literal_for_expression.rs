// Must say what kind of value each option takes: a condition, an instance, what the function returns.
use verrou::{Error, locked};

#[locked("t", when = "yes", verrou = "redis", on_busy = "skip")]
async fn f() -> Result<(), Error> {
    Ok(())
}

#[locked("t", when = 1, verrou = 5, on_busy = 0)]
async fn g() -> Result<(), Error> {
    Ok(())
}

fn main() {}

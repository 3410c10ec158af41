// Must say what the option takes, at the value, and nothing of operators that a type lacks.
use verrou::{Error, locked};

#[locked("t", ttl = -5, wait = -1.5, max_hold = -1, attempts = -1)]
async fn f() -> Result<(), Error> {
    Ok(())
}

fn main() {}

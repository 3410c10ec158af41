// Must say that the two do not go together, at the name of the guard.
use verrou::{Error, locked};

#[locked("t", when = enabled, guard = guard)]
async fn f(enabled: bool) -> Result<bool, Error> {
    guard.check()?;
    Ok(enabled)
}

fn main() {}

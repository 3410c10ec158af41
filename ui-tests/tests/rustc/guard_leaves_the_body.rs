// Must say that the guard does not live as long as what is returned.
use verrou::{Error, LockGuard, locked};

#[locked("t", guard = lock)]
pub async fn f() -> Result<&'static LockGuard, Error> {
    Ok(lock)
}

fn main() {}

// Must report seven mistakes in one compile, and nothing about `caller`: the function is still there.
use verrou::{Error, locked};

#[locked("a:<form>", "b:<", tll = "1s", ttl = "30", attempts = 0, on_lost = stop, guard = lock, when = true)]
async fn f(from: u64) -> Result<u64, Error> {
    lock.check()?;
    Ok(from)
}

async fn caller() -> Result<u64, Error> {
    f(1).await
}

fn main() {
    drop(caller());
}

// Must say, at the later of the two options, which one has no meaning and to remove one of them: `attempts` and `delay`
// with `wait = never` or `"0s"`, `delay` with `attempts = 1`, `max_hold` with a fixed lease that is no longer.
use verrou::{Error, locked};

#[locked("t", wait = never, attempts = 3, delay = "1s")]
async fn never() -> Result<(), Error> {
    Ok(())
}

#[locked("t", attempts = 3, wait = never)]
async fn the_other_way_round() -> Result<(), Error> {
    Ok(())
}

#[locked("t", attempts = 1, delay = "1s")]
async fn once() -> Result<(), Error> {
    Ok(())
}

#[locked("t", ttl = "5s", renew = false, max_hold = "5s")]
async fn fixed() -> Result<(), Error> {
    Ok(())
}

#[locked("t", guard = lock, when = true)]
async fn unguarded() -> Result<(), Error> {
    lock.check()
}

#[locked("t", wait = "0s", attempts = 3, delay = "1s")]
async fn no_time() -> Result<(), Error> {
    Ok(())
}

fn main() {}

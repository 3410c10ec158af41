// Must report each option that is given a second time, at the second name.
use verrou::{Error, locked};

#[locked(
    "t", store = "a", ttl = "1s", wait = never, max_hold = "1m", min_hold = "1s", renew = true, on_busy = skip,
    on_lost = cancel, guard = a, verrou = b, crate = verrou,
    store = "a", ttl = "1s", wait = never, max_hold = "1m", min_hold = "1s", renew = true, on_busy = skip,
    on_lost = cancel, guard = a, verrou = b, crate = verrou,
)]
async fn f(b: &verrou::Verrou) -> Result<(), Error> {
    let _ = (a, b);
    Ok(())
}

fn main() {}

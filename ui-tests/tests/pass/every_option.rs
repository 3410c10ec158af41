//! Every option, as a literal and as an expression.
#![deny(warnings)]

use std::sync::Arc;
use std::time::Duration;

use verrou::{Error, Verrou, locked};

const TTL: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;

#[locked(
    "t:<id>",
    store = "redis",
    ttl = "30s",
    wait = "1m 30s",
    max_hold = "5m",
    min_hold = "1.5s",
    renew = false,
    attempts = 5,
    delay = "100ms",
    on_busy = skip,
    on_lost = cancel,
    guard = guard,
    verrou = verrou,
)]
pub async fn literals(verrou: &Verrou, id: u64) -> Result<(), Error> {
    guard.check()
}

#[locked(
    "t:<id>",
    ttl = TTL,
    wait = TTL * 2,
    max_hold = limit,
    min_hold = { Duration::ZERO },
    renew = limit > TTL,
    attempts = TRIES + 1,
    delay = Duration::from_millis(id.max(1)),
    on_busy = Ok(id + more(id).await),
    on_lost = continue,
    when = !matches!(id, 3 | 4),
    verrou = verrou
)]
pub async fn expressions(verrou: Arc<Verrou>, id: u64, limit: Duration) -> Result<u64, Error> {
    Ok(id)
}

async fn more(id: u64) -> u64 {
    id
}

#[locked("t", wait = forever, on_busy = return Ok(None))]
pub async fn forever() -> Result<Option<u8>, Error> {
    Ok(Some(1))
}

#[locked("t", wait = never, on_busy = panic!("busy"), verrou = Verrou::clone(&verrou))]
pub async fn never(verrou: Verrou) -> Result<u8, Error> {
    Ok(1)
}

#[locked("t", ttl = "10ms")]
pub async fn shortest() -> Result<(), Error> {
    Ok(())
}

pub fn main() {}

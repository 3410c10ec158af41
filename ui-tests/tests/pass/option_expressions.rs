//! Expressions in options: of `self`, of associated constants, with `?`, with awaits, with temporaries.
#![deny(warnings)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use verrou::{Error, LockOptions, Verrou, Wait, locked};

pub struct Service {
    verrou: Mutex<Arc<Verrou>>,
    limits: Vec<Duration>,
}

impl Service {
    const TTL: Duration = Duration::from_secs(1);

    fn instance(&self) -> Result<Arc<Verrou>, Error> {
        Ok(Arc::clone(&*self.verrou.lock().map_err(|_| Error::NotInitialized)?))
    }

    fn limit(&self, at: usize) -> Result<Duration, Error> {
        self.limits.get(at).copied().ok_or(Error::NotInitialized)
    }

    #[locked(
        "t:<at>",
        verrou = self.instance()?,
        ttl = Self::TTL,
        wait = self.limit(at)?,
        max_hold = if at > 1 { self.limit(at)? } else { Self::TTL * 2 },
        delay = self.limits[at],
        attempts = self.limits.iter().map(|_| 1).sum::<u32>().max(1),
        renew = matches!(self.limits.as_slice(), [_, ..]),
        on_busy = self.fallback(at).await,
    )]
    pub async fn run(&self, at: usize) -> Result<usize, Error> {
        Ok(at)
    }

    async fn fallback(&self, at: usize) -> Result<usize, Error> {
        Ok(at + self.limits.len())
    }

    #[locked("t", when = { let list = [Self::TTL]; list.iter().any(|ttl| *ttl > Duration::ZERO) })]
    pub async fn blocks(&self) -> Result<(), Error> {
        Ok(())
    }
}

pub fn options_by_hand(verrou: &Verrou) -> verrou::Lock {
    verrou.create_lock("t").options(LockOptions::new().wait(Wait::Never))
}

pub fn main() {}

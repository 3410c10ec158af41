//! verrou, as a user has it: the defaults of everything.

use tests::Driver;
use tests::site::register;
use verrou::drivers::MemoryStore;
use verrou::{Lock, LockGuard, Verrou, VerrouBuilder, Wait};

use crate::contender::Contender;
use crate::must::must;

/// The name of it in the report.
pub(crate) const OURS: &str = "verrou";

#[derive(Debug)]
pub(crate) struct Ours {
    verrou: Verrou,
}

impl Ours {
    pub(crate) async fn on(driver: Driver, url: &str) -> Self {
        let builder = Verrou::builder();
        let builder = match driver {
            Driver::Memory => Ok(builder.store("locks", MemoryStore::new())),
            _ => register(builder, url).await,
        };
        Self {
            verrou: must(builder.and_then(VerrouBuilder::build), "no instance"),
        }
    }
}

impl Contender for Ours {
    type Key = Lock;
    type Held = LockGuard;

    fn key(&self, name: &str) -> Lock {
        self.verrou.create_lock(name).wait(Wait::Forever)
    }

    async fn acquire(&self, key: &Lock) -> LockGuard {
        must(key.acquire().await, "verrou, acquire")
    }

    async fn release(&self, held: LockGuard) {
        must(held.release().await, "verrou, release");
    }
}

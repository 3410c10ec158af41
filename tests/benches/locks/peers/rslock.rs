//! The crate rslock: the Redlock way, here on one server. No token, no renewal; who waits polls.

use std::time::Duration;

use rslock::{LockGuard, LockManager};

use crate::contender::Contender;
use crate::must::must;

pub(crate) struct Rslock(LockManager);

impl Rslock {
    pub(crate) fn on(url: &str) -> Self {
        Self(LockManager::new(vec![url]))
    }
}

impl Contender for Rslock {
    type Key = String;
    type Held = LockGuard;

    fn key(&self, name: &str) -> String {
        format!("rslock:{name}")
    }

    async fn acquire(&self, key: &String) -> LockGuard {
        let ttl = Duration::from_secs(20);
        must(self.0.acquire(key.as_bytes(), ttl).await, "rslock")
    }

    async fn release(&self, held: LockGuard) {
        held.release().await;
    }
}

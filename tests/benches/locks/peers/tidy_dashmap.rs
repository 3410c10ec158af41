//! Named locks of one process, as people write them.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::contender::Contender;

/// What people write by hand, with the clean-up that they forget: a name that nobody uses leaves no entry.
#[derive(Debug, Default)]
pub(crate) struct TidyDashmap {
    locks: DashMap<String, Arc<Mutex<()>>>,
}

impl Contender for TidyDashmap {
    type Key = String;
    type Held = (String, OwnedMutexGuard<()>);

    fn key(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> (String, OwnedMutexGuard<()>) {
        let lock = Arc::clone(&self.locks.entry(key.clone()).or_default());
        (key.clone(), lock.lock_owned().await)
    }

    async fn release(&self, (key, guard): (String, OwnedMutexGuard<()>)) {
        drop(guard);
        // Whoever has got the lock out of the map holds a count of it; the shard is locked, so nobody gets it meanwhile.
        self.locks
            .remove_if(&key, |_, lock| Arc::strong_count(lock) == 1);
    }
}

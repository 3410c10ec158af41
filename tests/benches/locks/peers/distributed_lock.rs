//! The crate distributed-lock on Redis. Its locks on Postgres and MySQL are the advisory ones of a pinned connection, which is
//! another job: nothing expires there, and each held lock costs a connection.

use distributed_lock_core::error::LockError;
use distributed_lock_core::traits::{DistributedLock as _, LockHandle as _, LockProvider as _};
use distributed_lock_redis::{RedisDistributedLock, RedisLockHandle, RedisLockProvider};

use crate::contender::Contender;
use crate::must::must;

pub(crate) struct DistributedLock(RedisLockProvider);

impl DistributedLock {
    pub(crate) async fn on(url: &str) -> Self {
        Self(must(RedisLockProvider::new(url).await, "distributed-lock"))
    }
}

impl Contender for DistributedLock {
    type Key = String;
    type Held = RedisLockHandle;

    fn key(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> RedisLockHandle {
        // Its owner is one for each lock, not for each acquisition: two tasks that shared a lock would share what they hold.
        let lock: RedisDistributedLock = self.0.create_lock(key);
        loop {
            match lock.acquire(None).await {
                // It does not wait on Redis, whatever it is told: who wants the lock asks again.
                Err(LockError::Timeout(_)) => tokio::task::yield_now().await,
                done => return must(done, "distributed-lock, acquire"),
            }
        }
    }

    async fn release(&self, held: RedisLockHandle) {
        must(held.release().await, "distributed-lock, release");
    }
}

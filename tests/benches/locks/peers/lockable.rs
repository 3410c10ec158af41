//! The crate lockable: a pool of named locks of one process.

use lockable::LockPool;

use crate::contender::Contender;

/// Its guards borrow the pool, and tasks want them for as long as they live: so it is never dropped.
pub(crate) struct Pool(&'static LockPool<String>);

impl Pool {
    pub(crate) fn new() -> Self {
        Self(Box::leak(Box::new(LockPool::new())))
    }
}

impl Contender for Pool {
    type Key = String;
    type Held = <LockPool<String> as lockable::Lockable<String, ()>>::Guard<'static>;

    fn key(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> Self::Held {
        self.0.async_lock(key.clone()).await
    }

    async fn release(&self, held: Self::Held) {
        drop(held);
    }
}

//! A lock store of one's own: the whole contract over a `Mutex` and a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use verrou::{FencingToken, LockFactory, LockStore, store::*};

/// Clones share their locks.
#[derive(Clone, Default)]
pub(crate) struct CustomStore(Arc<Mutex<BTreeMap<StoredKey, Row>>>);

/// Stays when its key is free: the next token has to be greater.
struct Row {
    /// `None`: kept taken after a release. No request can have it.
    owner: Option<Owner>,
    holder: Arc<str>,
    token: FencingToken,
    granted: Instant,
    expiry: Instant,
}

impl CustomStore {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<StoredKey, Row>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks `act` for what it does to the live lease of `key`, if there is one: one step, under the mutex.
    fn on<T>(&self, key: &StoredKey, act: impl Fn(&mut Row) -> Option<T>) -> Option<T> {
        let mut rows = self.rows();
        let row = rows.get_mut(key)?;
        (row.expiry > Instant::now()).then(|| act(row))?
    }
}

impl LockStore for CustomStore {
    async fn acquire(&self, ask: AcquireRequest) -> Result<Acquired, StoreError> {
        let (mut rows, now, owner) = (self.rows(), Instant::now(), Some(ask.owner));
        if let Some(row) = rows.get_mut(&ask.key).filter(|row| row.expiry > now) {
            if row.owner != owner {
                let remaining = row.expiry - now;
                return Ok(Acquired::Held { remaining });
            }
            row.expiry = row.expiry.max(now + ask.ttl);
            return Ok(Acquired::Granted { token: row.token });
        }
        // The floor keeps the order over a restart, when the rows are gone.
        let floor = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let next = rows.get(&ask.key).map_or(0, |row| row.token.get() + 1);
        let token = FencingToken::new(next.max(floor.as_micros() as u64))
            .ok_or_else(|| StoreError::not_applied("no token is left"))?;
        let row = Row {
            owner,
            holder: ask.holder,
            token,
            granted: now,
            expiry: now + ask.ttl,
        };
        rows.insert(ask.key, row);
        Ok(Acquired::Granted { token })
    }

    async fn renew(&self, ask: RenewRequest) -> Result<Reply, StoreError> {
        let renewed = self.on(&ask.key, |row| {
            row.owner.filter(|owner| *owner == ask.owner)?;
            row.expiry = row.expiry.max(Instant::now() + ask.ttl);
            Some(Reply::Done)
        });
        Ok(renewed.unwrap_or(Reply::NotHeld))
    }

    async fn adopt(&self, ask: AdoptRequest) -> Result<Adopted, StoreError> {
        let adopted = self.on(&ask.key, |row| {
            // Already the new one's: this adopt came before, and its answer was lost.
            row.owner
                .filter(|owner| [ask.from, ask.owner].contains(owner))?;
            (row.owner, row.holder) = (Some(ask.owner), ask.holder.clone());
            row.expiry = row.expiry.max(Instant::now() + ask.ttl);
            Some(Adopted::Adopted { token: row.token })
        });
        Ok(adopted.unwrap_or(Adopted::NotHeld))
    }

    async fn release(&self, ask: ReleaseRequest) -> Result<Reply, StoreError> {
        let released = self.on(&ask.key, |row| {
            row.owner.filter(|owner| *owner == ask.owner)?;
            (row.owner, row.holder) = (None, "".into());
            row.expiry = Instant::now() + ask.keep;
            Some(Reply::Done)
        });
        Ok(released.unwrap_or(Reply::NotHeld))
    }

    async fn inspect(&self, ask: InspectRequest) -> Result<Option<Holding>, StoreError> {
        Ok(self.on(&ask.key, |row| {
            let left = row.expiry.saturating_duration_since(Instant::now());
            Some(Holding::new(
                &*row.holder,
                row.token,
                left,
                row.granted.elapsed(),
            ))
        }))
    }

    async fn force_release(&self, ask: ForceReleaseRequest) -> Result<bool, StoreError> {
        let freed = self.on(&ask.key, |row| {
            row.expiry = Instant::now();
            Some(true)
        });
        Ok(freed.unwrap_or(false))
    }

    /// Not asked for by the contract, but an operator will miss it.
    async fn list(&self, ask: ListRequest) -> Result<Page, StoreError> {
        let after = ask
            .after
            .and_then(|after| StoredKey::from_bytes(after.as_bytes()));
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let limit = ask.limit.get() as usize;
        let rows = self.rows();
        // Bounded by the rows that are looked at, held or not.
        let seen: Vec<_> = rows.range((from, Bound::Unbounded)).take(limit).collect();
        let held = seen.iter().filter_map(|(key, row)| {
            let left = row.expiry.checked_duration_since(Instant::now())?;
            let holding = Holding::new(&*row.holder, row.token, left, row.granted.elapsed());
            let named = key.as_str().starts_with(&ask.prefix);
            named.then(|| Listed::new((*key).clone(), holding))
        });
        let last = seen.last().filter(|_| seen.len() == limit);
        let next = last.map(|(key, _)| Cursor::new(key.as_bytes()));
        Ok(Page::new(held.collect(), next))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new("custom").list()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), verrou::Error> {
    let lock = LockFactory::new(CustomStore::default()).create_lock("report");
    lock.run(async |guard| guard.check()).await?
}

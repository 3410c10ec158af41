//! A small sound store, with a switch for each way to break it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use verrou::FencingToken;
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, ForceReleaseRequest, Holding, InspectRequest,
    LockStore, Owner, ReleaseRequest, RenewRequest, Reply, StoreError, StoredKey,
};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Whoever asks is taken for the owner.
    NoOwnerCompare,
    /// A counter for each row, and the row goes with its release.
    TokenResetOnRelease,
    /// What was taken stays taken.
    ExpiryIgnored,
    /// The owner alone decides about a renewal, not its expiry.
    RenewRevives,
    /// As a column with a collation that ignores case.
    KeysFolded,
    /// The expiry is set, and not to the later of the two.
    RenewShortens,
    /// A keep moves the expiry and leaves the owner in the row.
    KeepKeepsOwner,
    /// A keep writes an owner that a request can have.
    KeepOwnerIsZeros,
    /// Who has adopted shares the lease with the former owner.
    AdoptLeavesOldOwner,
    /// Looks first and takes afterwards.
    TwoSteps,
    /// Waits for a busy engine now and then, on the thread it was called on.
    Blocks,
}

#[derive(Clone)]
pub(crate) struct FlawedStore {
    flaw: Flaw,
    rows: Arc<Mutex<HashMap<Vec<u8>, Row>>>,
    calls: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Row {
    owners: Vec<Owner>,
    holder: String,
    token: u64,
    granted: Instant,
    expiry: Instant,
}

impl FlawedStore {
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            rows: Arc::default(),
            calls: Arc::default(),
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self, key: &StoredKey) -> Vec<u8> {
        if self.has(Flaw::KeysFolded) {
            return key.as_str().to_lowercase().into_bytes();
        }
        key.as_bytes().to_vec()
    }

    fn live(&self, row: &Row) -> bool {
        row.expiry > Instant::now()
            || (self.has(Flaw::ExpiryIgnored) && (!row.owners.is_empty() || !row.holder.is_empty()))
    }

    fn owns(&self, row: &Row, owner: Owner) -> bool {
        row.owners.contains(&owner) || (self.has(Flaw::NoOwnerCompare) && !row.owners.is_empty())
    }

    fn extend(&self, row: &mut Row, ttl: Duration) {
        let expiry = Instant::now() + ttl;
        row.expiry = if self.has(Flaw::RenewShortens) {
            expiry
        } else {
            row.expiry.max(expiry)
        };
    }

    fn change<T>(
        &self,
        key: &StoredKey,
        owner: Owner,
        change: impl FnOnce(&mut Row) -> T,
    ) -> Option<T> {
        let mut rows = self.rows();
        let row = rows.get_mut(&self.bytes(key))?;
        (self.live(row) && self.owns(row, owner)).then(|| change(row))
    }

    fn grant(&self, request: &AcquireRequest, previous: u64) -> Result<Acquired, StoreError> {
        let floor = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(StoreError::not_applied)?;
        let floor = u64::try_from(floor.as_micros()).map_err(StoreError::not_applied)?;
        let next = if self.has(Flaw::TokenResetOnRelease) {
            previous + 1
        } else {
            floor.max(previous + 1)
        };
        let token = FencingToken::new(next).ok_or_else(|| StoreError::not_applied("overflow"))?;
        let row = Row {
            owners: vec![request.owner],
            holder: request.holder.to_string(),
            token: next,
            granted: Instant::now(),
            expiry: Instant::now() + request.ttl,
        };
        self.rows().insert(self.bytes(&request.key), row);
        Ok(Acquired::Granted { token })
    }
}

fn token(row: &Row) -> FencingToken {
    FencingToken::new(row.token).unwrap_or(FencingToken::MAX)
}

impl LockStore for FlawedStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        if self.has(Flaw::Blocks) && self.calls.fetch_add(1, Ordering::Relaxed) % 20 == 10 {
            std::thread::sleep(Duration::from_millis(500));
        }
        // One step for the sound store: the answer is written before another call can look.
        static ONE_STEP: Mutex<()> = Mutex::new(());
        let found;
        {
            let _one_step = ONE_STEP.lock().unwrap_or_else(PoisonError::into_inner);
            let mut rows = self.rows();
            let row = rows.get_mut(&self.bytes(&request.key));
            found = row.as_ref().map_or(0, |row| row.token);
            if let Some(row) = row
                && self.live(row)
            {
                if !row.owners.contains(&request.owner) {
                    return Ok(Acquired::Held {
                        remaining: row.expiry.saturating_duration_since(Instant::now()),
                    });
                }
                self.extend(row, request.ttl);
                return Ok(Acquired::Granted { token: token(row) });
            }
            drop(rows);
            if !self.has(Flaw::TwoSteps) {
                return self.grant(&request, found);
            }
        }
        tokio::task::yield_now().await;
        self.grant(&request, found)
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        if self.has(Flaw::RenewRevives) {
            let mut rows = self.rows();
            let row = rows.get_mut(&self.bytes(&request.key));
            return Ok(match row.filter(|row| self.owns(row, request.owner)) {
                Some(row) => {
                    self.extend(row, request.ttl);
                    Reply::Done
                }
                None => Reply::NotHeld,
            });
        }
        let renewed = self.change(&request.key, request.owner, |row| {
            self.extend(row, request.ttl);
        });
        Ok(renewed.map_or(Reply::NotHeld, |()| Reply::Done))
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let adopt = |row: &mut Row| {
            if !self.has(Flaw::AdoptLeavesOldOwner) {
                row.owners.clear();
            }
            row.owners.push(request.owner);
            row.holder = request.holder.to_string();
            self.extend(row, request.ttl);
            token(row)
        };
        let adopted = self.change(&request.key, request.from, adopt);
        let adopted = adopted.or_else(|| self.change(&request.key, request.owner, adopt));
        Ok(adopted.map_or(Adopted::NotHeld, |token| Adopted::Adopted { token }))
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        let keeps = !request.keep.is_zero();
        let released = self.change(&request.key, request.owner, |row| {
            if !(keeps && self.has(Flaw::KeepKeepsOwner)) {
                row.owners.clear();
            }
            if keeps && self.has(Flaw::KeepOwnerIsZeros) {
                row.owners.push(Owner::from_bytes([0; 16]));
            }
            row.holder.clear();
            row.expiry = Instant::now() + request.keep;
        });
        if released.is_some() && self.has(Flaw::TokenResetOnRelease) {
            self.rows().remove(&self.bytes(&request.key));
        }
        Ok(released.map_or(Reply::NotHeld, |()| Reply::Done))
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let (rows, now) = (self.rows(), Instant::now());
        let row = rows.get(&self.bytes(&request.key));
        Ok(row.filter(|row| self.live(row)).map(|row| {
            Holding::new(
                row.holder.as_str(),
                token(row),
                row.expiry.saturating_duration_since(now),
                now.saturating_duration_since(row.granted),
            )
        }))
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let row = rows.get_mut(&self.bytes(&request.key));
        Ok(match row.filter(|row| self.live(row)) {
            Some(row) => {
                row.owners.clear();
                row.holder.clear();
                row.expiry = Instant::now();
                true
            }
            None => false,
        })
    }
}

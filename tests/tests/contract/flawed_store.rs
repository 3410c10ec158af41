//! A small sound store, with a switch for each way to break it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use verrou::FencingToken;
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Cursor, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, Listed, LockStore, Owner, Page, ReleaseRequest,
    RenewRequest, Reply, StoreError, StoredKey,
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
    /// A refused acquire writes its holder and its expiry all the same.
    RefusedAcquireWrites,
    /// A repeated acquire is a new grant.
    RepeatedAcquireIsNew,
    /// The lease of an owner that expired goes on under the same token.
    ExpiredOwnerKeepsToken,
    /// An expired lease can be released and adopted.
    ExpiredIsHeld,
    /// An adoption is a new grant.
    AdoptIsNew,
    /// Inspect looks at the row and not at the clock, and so does force release.
    InspectIgnoresExpiry,
    /// A renewal starts the time since the grant anew.
    RenewResetsGrant,
    /// As a column of 64 characters that cuts what is longer, for keys of 128.
    Cuts,
    /// As a text column that strips white space, and control characters with it.
    Trims,
    /// A pattern where a key should be.
    ForceReleaseIsAPattern,
    /// Answers a batch in the order of its keys.
    BatchSorted,
    /// Answers each key of a batch once.
    BatchDeduplicated,
    /// Reads its clock in whole seconds.
    WholeSeconds,
    /// Keeps a released key for the rest of its lease, whatever was asked for.
    KeepIsTheLease,
    /// Adopting twice is refused to everybody.
    AdoptIsNotRepeatable,
    /// Each opened store is a place of its own.
    NotShared,
    /// Says that it can give hints and list keys.
    Boasts,
    /// Everybody is granted.
    GrantsEverybody,
    /// What extends a lease answers well and does nothing.
    NothingExtends,
    /// A column of 64 characters for the holder.
    HolderCut,
    /// The time of the first grant stays in the row.
    GrantStays,
    /// A renewal or an adoption of a key without a row writes one.
    RenewTakes,
    /// A timer within a call of a store that has no sibling.
    NeedsARuntime,
    /// A force release deletes the row, and there is no floor.
    ForceForgetsToken,
    /// Inspect shows the token of the grant before.
    InspectIsStale,
    /// A sibling, and no mark on any call.
    NeverMarks,
    /// Waits for a busy engine now and then, on the thread it was called on.
    Blocks,
    /// One page, however many keys there are.
    ListsAtOnce,
    /// A page begins after as many keys as the pages before had.
    PagesByNumber,
    /// A page without a held key is the last one.
    EmptyPageIsTheLast,
}

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

impl Clone for FlawedStore {
    fn clone(&self) -> Self {
        if self.has(Flaw::NotShared) {
            return Self::new(self.flaw);
        }
        Self {
            flaw: self.flaw,
            rows: Arc::clone(&self.rows),
            calls: Arc::clone(&self.calls),
        }
    }
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

    fn lists(&self) -> bool {
        let wrongly = [
            Flaw::ListsAtOnce,
            Flaw::PagesByNumber,
            Flaw::EmptyPageIsTheLast,
        ];
        self.has(Flaw::None) || wrongly.contains(&self.flaw)
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self, key: &StoredKey) -> Vec<u8> {
        if self.has(Flaw::KeysFolded) {
            return key.as_str().to_lowercase().into_bytes();
        }
        if self.has(Flaw::Trims) {
            let plain: String = key.as_str().chars().filter(|c| !c.is_control()).collect();
            return plain.trim().as_bytes().to_vec();
        }
        let mut bytes = key.as_bytes().to_vec();
        if self.has(Flaw::Cuts) {
            bytes.truncate(128);
        }
        bytes
    }

    /// The moment at which a lease that begins now ends.
    fn end(&self, ttl: Duration) -> Instant {
        if self.has(Flaw::WholeSeconds) {
            return Instant::now() + Duration::from_secs(ttl.as_secs());
        }
        Instant::now() + ttl
    }

    fn live(&self, row: &Row) -> bool {
        row.expiry > Instant::now()
            || (self.has(Flaw::ExpiryIgnored) && (!row.owners.is_empty() || !row.holder.is_empty()))
    }

    fn owns(&self, row: &Row, owner: Owner) -> bool {
        row.owners.contains(&owner) || (self.has(Flaw::NoOwnerCompare) && !row.owners.is_empty())
    }

    fn extend(&self, row: &mut Row, ttl: Duration) {
        let expiry = self.end(ttl);
        row.expiry = if self.has(Flaw::NothingExtends) {
            row.expiry
        } else if self.has(Flaw::RenewShortens) {
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
        let live = self.live(row) || self.has(Flaw::ExpiredIsHeld);
        (live && self.owns(row, owner)).then(|| change(row))
    }

    fn grant(&self, request: &AcquireRequest, previous: u64) -> Result<Acquired, StoreError> {
        let floor = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(StoreError::not_applied)?;
        let floor = u64::try_from(floor.as_micros()).map_err(StoreError::not_applied)?;
        let unfloored = [Flaw::TokenResetOnRelease, Flaw::ForceForgetsToken];
        let next = if unfloored.contains(&self.flaw) {
            previous + 1
        } else {
            floor.max(previous + 1)
        };
        let token = FencingToken::new(next).ok_or_else(|| StoreError::not_applied("overflow"))?;
        let mut holder = request.holder.to_string();
        if self.has(Flaw::HolderCut) {
            holder = holder.chars().take(64).collect();
        }
        let mut rows = self.rows();
        let bytes = self.bytes(&request.key);
        let before = rows.get(&bytes).map(|row| row.granted);
        let row = Row {
            owners: vec![request.owner],
            holder,
            token: next,
            granted: before
                .filter(|_| self.has(Flaw::GrantStays))
                .unwrap_or_else(Instant::now),
            expiry: self.end(request.ttl),
        };
        rows.insert(bytes, row);
        Ok(Acquired::Granted { token })
    }
}

fn token(row: &Row) -> FencingToken {
    FencingToken::new(row.token).unwrap_or(FencingToken::MAX)
}

impl LockStore for FlawedStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        if self.has(Flaw::NeedsARuntime) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.has(Flaw::GrantsEverybody) {
            return self.grant(&request, 0);
        }
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
                    if self.has(Flaw::RefusedAcquireWrites) {
                        row.holder = request.holder.to_string();
                        self.extend(row, request.ttl);
                    }
                    return Ok(Acquired::Held {
                        remaining: row.expiry.saturating_duration_since(Instant::now()),
                    });
                }
                self.extend(row, request.ttl);
                if self.has(Flaw::RepeatedAcquireIsNew) {
                    row.token += 1;
                }
                return Ok(Acquired::Granted { token: token(row) });
            }
            if self.has(Flaw::ExpiredOwnerKeepsToken)
                && let Some(row) = rows.get_mut(&self.bytes(&request.key))
                && row.owners.contains(&request.owner)
            {
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
        if self.has(Flaw::RenewTakes) && !self.rows().contains_key(&self.bytes(&request.key)) {
            self.grant(
                &AcquireRequest::new(request.key, request.owner, request.ttl),
                0,
            )?;
            return Ok(Reply::Done);
        }
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
            if self.has(Flaw::RenewResetsGrant) {
                row.granted = Instant::now();
            }
        });
        Ok(renewed.map_or(Reply::NotHeld, |()| Reply::Done))
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        if self.has(Flaw::RenewTakes) && !self.rows().contains_key(&self.bytes(&request.key)) {
            self.grant(
                &AcquireRequest::new(request.key.clone(), request.from, request.ttl),
                0,
            )?;
        }
        let adopt = |row: &mut Row| {
            if !self.has(Flaw::AdoptLeavesOldOwner) {
                row.owners.clear();
            }
            row.owners.push(request.owner);
            row.holder = request.holder.to_string();
            self.extend(row, request.ttl);
            if self.has(Flaw::AdoptIsNew) {
                row.token += 1;
                row.granted = Instant::now();
            }
            token(row)
        };
        let adopted = self.change(&request.key, request.from, adopt);
        let adopted = adopted.or_else(|| {
            if self.has(Flaw::AdoptIsNotRepeatable) {
                return None;
            }
            self.change(&request.key, request.owner, adopt)
        });
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
            if !(keeps && self.has(Flaw::KeepIsTheLease)) {
                row.expiry = self.end(request.keep);
            }
        });
        if released.is_some() && self.has(Flaw::TokenResetOnRelease) {
            self.rows().remove(&self.bytes(&request.key));
        }
        Ok(released.map_or(Reply::NotHeld, |()| Reply::Done))
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let (rows, now) = (self.rows(), Instant::now());
        let row = rows.get(&self.bytes(&request.key));
        let shown = |row: &&Row| self.live(row) || self.has(Flaw::InspectIgnoresExpiry);
        Ok(row.filter(shown).map(|row| {
            let mut row = row.clone();
            if self.has(Flaw::InspectIsStale) {
                row.token -= 1;
            }
            Holding::new(
                row.holder.as_str(),
                token(&row),
                row.expiry.saturating_duration_since(now),
                now.saturating_duration_since(row.granted),
            )
        }))
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let mut rows = self.rows();
        let bytes = self.bytes(&request.key);
        if self.has(Flaw::ForceReleaseIsAPattern) && bytes.ends_with(b"%") {
            rows.retain(|key, _| !key.starts_with(&bytes[..bytes.len() - 1]));
            return Ok(true);
        }
        if self.has(Flaw::ForceForgetsToken) {
            return Ok(rows.remove(&bytes).is_some_and(|row| self.live(&row)));
        }
        let held = |row: &&mut Row| self.live(row) || self.has(Flaw::InspectIgnoresExpiry);
        Ok(match rows.get_mut(&bytes).filter(held) {
            Some(row) => {
                row.owners.clear();
                row.holder.clear();
                row.expiry = Instant::now();
                true
            }
            None => false,
        })
    }

    async fn renew_many(&self, mut requests: Vec<RenewRequest>) -> Vec<Result<Reply, StoreError>> {
        if self.has(Flaw::BatchSorted) {
            requests.sort_by(|one, other| one.key.cmp(&other.key));
        }
        if self.has(Flaw::BatchDeduplicated) {
            requests.dedup_by(|one, other| one.key == other.key);
        }
        let mut replies = Vec::new();
        for request in requests {
            replies.push(self.renew(request).await);
        }
        replies
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        if !self.lists() {
            return Err(StoreError::unsupported("listing keys"));
        }
        let limit = match self.flaw {
            Flaw::ListsAtOnce => usize::MAX,
            _ => request.limit.get() as usize,
        };
        let after = request.after.as_ref().map_or(&[][..], Cursor::as_bytes);
        let rows: BTreeMap<_, _> = self.rows().clone().into_iter().collect();
        let live = |row: &Row| row.expiry.checked_duration_since(Instant::now());
        let begin: usize = String::from_utf8_lossy(after).parse().unwrap_or(0);
        let mut seen = Vec::new();
        for (key, row) in rows
            .iter()
            .filter(|(key, _)| key.starts_with(request.prefix.as_bytes()))
        {
            match self.flaw {
                Flaw::PagesByNumber if live(row).is_none() => {}
                Flaw::PagesByNumber => seen.push((key, row)),
                _ if key.as_slice() <= after => {}
                _ => seen.push((key, row)),
            }
        }
        if self.has(Flaw::PagesByNumber) {
            seen.drain(..begin.min(seen.len()));
        }
        let is_last = seen.len() <= limit;
        seen.truncate(limit);
        let listed: Vec<_> = seen
            .iter()
            .filter_map(|(key, row)| {
                let holding = Holding::new(
                    &*row.holder,
                    FencingToken::new(row.token)?,
                    live(row)?,
                    row.granted.elapsed(),
                );
                Some(Listed::new(StoredKey::from_bytes(key)?, holding))
            })
            .collect();
        let next = match (self.flaw, seen.last()) {
            _ if is_last => None,
            (Flaw::EmptyPageIsTheLast, _) if listed.is_empty() => None,
            (Flaw::PagesByNumber, _) => Some(Cursor::new((begin + listed.len()).to_string())),
            (_, last) => last.map(|(key, _)| Cursor::new(key.as_slice())),
        };
        Ok(Page::new(listed, next))
    }

    fn for_keeper(&self) -> Option<Self> {
        self.has(Flaw::NeverMarks).then(|| self.clone())
    }

    fn capabilities(&self) -> Capabilities {
        if self.has(Flaw::Boasts) {
            return Capabilities::new("flawed").watch().list();
        }
        match self.lists() {
            true => Capabilities::new("flawed").list(),
            false => Capabilities::new("flawed"),
        }
    }
}

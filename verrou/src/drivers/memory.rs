//! Locks in the memory of one process: the reference implementation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::clock::{Moment, wall_micros};
use crate::key::Hashed;
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Cursor, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, Listed, LockStore, Owner, Page, PassRequest, Passed,
    ReleaseRequest, RenewRequest, Reply, StoreError, StoredKey, Watch,
};
use crate::token::FencingToken;

/// Locks in the memory of this process.
///
/// Choose it for code that runs in one process, and in tests in place of a store with a server: the promises are the
/// same. Clones share their locks; [`MemoryStore::new`] twice makes two stores that know nothing of each other.
///
/// # Options
/// None.
///
/// # What it holds through
///
/// | | | shown by the tests |
/// |---|---|---|
/// | exclusion holds through | everything that happens inside the process | `contract::memory::refuses_a_key_that_another_owner_holds`, `contract::memory::keys_are_held_independently` |
/// | may break on | nothing known; other processes do not see it at all | not tested: there is nothing to try |
/// | the token survives | release, expiry and force release; across processes by its floor at the wall clock | `contract::memory::tokens_rise_over_a_release`, `contract::memory::tokens_rise_over_an_expiry`, `contract::memory::tokens_rise_over_a_force_release`, `contract::memory::a_token_is_not_behind_the_time` |
/// | clock | time since boot, suspend included | `contract::memory::a_lease_expires_after_its_ttl`; not tested: suspend, for machines of tests do not |
/// | scope | one process | not tested: it has no way to another process |
///
/// A free key leaves no entry behind: the greatest token that was ever forgotten is kept once for many keys, and each later
/// grant of one of them is above it.
///
/// # Examples
/// ```
/// use verrou::{LockFactory, drivers::MemoryStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), verrou::Error> {
/// let locks = LockFactory::new(MemoryStore::new());
/// let guard = locks.create_lock("report").acquire().await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// A key belongs to one of them: two threads seldom want the same one at the same moment.
    parts: [Part; PARTS],
    /// When the first of the released keys that are kept taken is free, in nanoseconds.
    kept_until: AtomicU64,
}

const PARTS: usize = 32;

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<StoredKey, Row, Hashed>,
    /// The greatest token of a row that was forgotten: the next grant of whatever key of this table is above it.
    forgotten: u64,
    watched: HashMap<StoredKey, watch::Sender<u64>, Hashed>,
    /// Whom the step under way has to tell.
    hints: Vec<watch::Sender<u64>>,
    /// The released keys that are kept taken, by the end of that.
    kept: BTreeSet<(Moment, StoredKey)>,
    /// How many rows the last sweep has left.
    swept: usize,
}

#[derive(Debug)]
struct Row {
    /// `None` while a released key is kept taken.
    owner: Option<Owner>,
    holder: Arc<str>,
    token: FencingToken,
    granted: Moment,
    expiry: Moment,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                parts: std::array::from_fn(|_| Part::default()),
                kept_until: AtomicU64::new(Moment::NEVER.as_nanos()),
            }),
        }
    }

    /// The number of keys that this store has an entry for: those held, and some whose time is over.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared
            .parts
            .iter()
            .map(|part| part.table().rows.len())
            .sum()
    }

    /// Whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One step with `key`, and then the hints that follow from it: a waker is foreign code, which must not run under the mutex.
    fn step<T>(&self, key: &StoredKey, step: impl FnOnce(&mut Table) -> T) -> T {
        self.part(key).step(step)
    }

    fn part(&self, key: &StoredKey) -> &Part {
        &self.shared.parts[key.part_of(PARTS)]
    }

    /// A free key, at a moment that is `now` or was so just before: then it may take an expired lease for one that is not.
    fn grant(
        &self,
        request: &AcquireRequest,
        now: Moment,
    ) -> Option<Result<FencingToken, StoreError>> {
        if self.shared.kept_until.load(Ordering::Relaxed) <= now.as_nanos() {
            self.forget_kept(now);
        }
        self.step(&request.key, |table| {
            let free = table.live(&request.key, now).is_none();
            free.then(|| table.grant(request, now))
        })
    }

    fn free(&self, request: &ReleaseRequest, now: Moment) -> Reply {
        let reply = self.step(&request.key, |table| table.release(request, now));
        if !request.keep.is_zero() {
            let until = now.after(request.keep).as_nanos();
            self.shared.kept_until.fetch_min(until, Ordering::Relaxed);
        }
        reply
    }

    /// Forgets the keys whose `min_hold` is over, whatever their part.
    #[cold]
    fn forget_kept(&self, now: Moment) {
        let never = Moment::NEVER.as_nanos();
        self.shared.kept_until.store(never, Ordering::Relaxed);
        for part in &self.shared.parts {
            let next = part.step(|table| table.forget_kept(now));
            let next = next.map_or(never, Moment::as_nanos);
            self.shared.kept_until.fetch_min(next, Ordering::Relaxed);
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Part {
    /// See [`MemoryStore::step`].
    fn step<T>(&self, step: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table();
        let answer = step(&mut table);
        let hints = std::mem::take(&mut table.hints);
        drop(table);
        for waiters in hints {
            waiters.send_modify(|hint| *hint = hint.wrapping_add(1));
        }
        answer
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change below is complete before anything could panic, so a poisoned table is a good one.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockStore for MemoryStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        let now = Moment::now();
        if let Some(granted) = self.grant(&request, now) {
            return granted.map(|token| Acquired::Granted { token });
        }
        self.step(&request.key, |table| {
            if let Some(row) = table.live(&request.key, now) {
                if row.owner != Some(request.owner) {
                    return Ok(Acquired::Held {
                        remaining: row.expiry.since(now),
                    });
                }
                row.expiry = row.expiry.max(now.after(request.ttl));
                return Ok(Acquired::Granted { token: row.token });
            }
            let token = table.grant(&request, now)?;
            Ok(Acquired::Granted { token })
        })
    }

    fn grant_now(&self, request: &AcquireRequest, now: u64) -> Option<FencingToken> {
        self.grant(request, Moment::from_nanos(now))?.ok()
    }

    fn release_now(&self, request: &ReleaseRequest, now: u64) -> Option<Reply> {
        Some(self.free(request, Moment::from_nanos(now)))
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        self.step(&request.key, |table| {
            let now = Moment::now();
            let Some(row) = table.owned(&request.key, request.owner, now) else {
                return Ok(Reply::NotHeld);
            };
            row.expiry = row.expiry.max(now.after(request.ttl));
            Ok(Reply::Done)
        })
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        self.step(&request.key, |table| {
            let now = Moment::now();
            let known = [Some(request.from), Some(request.owner)];
            let Some(row) = table
                .live(&request.key, now)
                .filter(|row| known.contains(&row.owner))
            else {
                return Ok(Adopted::NotHeld);
            };
            row.owner = Some(request.owner);
            row.holder = request.holder;
            row.expiry = row.expiry.max(now.after(request.ttl));
            Ok(Adopted::Adopted { token: row.token })
        })
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        Ok(self.free(&request, Moment::now()))
    }

    async fn pass(&self, request: PassRequest) -> Result<Passed, StoreError> {
        self.step(&request.key, |table| {
            let now = Moment::now();
            let next = wall_micros().max(table.forgotten + 1);
            let Some(row) = table.live(&request.key, now) else {
                return Ok(Passed::NotHeld);
            };
            let expiry = now.after(request.ttl);
            if row.owner == Some(request.owner) {
                row.expiry = row.expiry.max(expiry);
                return Ok(Passed::Granted { token: row.token });
            }
            if row.owner != Some(request.from) {
                return Ok(Passed::NotHeld);
            }
            row.token = token(next.max(row.token.get() + 1))?;
            (row.owner, row.holder) = (Some(request.owner), request.holder);
            (row.granted, row.expiry) = (now, expiry);
            Ok(Passed::Granted { token: row.token })
        })
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        self.step(&request.key, |table| {
            let now = Moment::now();
            Ok(table.live(&request.key, now).map(|row| row.holding(now)))
        })
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        self.step(&request.key, |table| {
            let held = table.live(&request.key, Moment::now()).is_some();
            table.forget(&request.key);
            Ok(held)
        })
    }

    fn watch(&self, key: &StoredKey) -> Watch {
        let mut table = self.part(key).table();
        let hints = match table.watched.get(key) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(0);
                table.watched.insert(key.clone(), sender);
                receiver
            }
        };
        Watch::new(
            hints,
            Subscription {
                store: self.clone(),
                key: key.clone(),
            },
        )
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        let after = request.after.as_ref().map(Cursor::as_bytes);
        let limit = usize::try_from(request.limit.get()).unwrap_or(usize::MAX);
        let now = Moment::now();
        // All at once: a page is one step too. Nobody else takes more than one of them.
        let tables: Vec<_> = self.shared.parts.iter().map(Part::table).collect();
        // The first keys after the cursor. The rows have no order, so each page passes all of them by; it copies only its own.
        let mut page = BTreeMap::new();
        for (key, row) in tables.iter().flat_map(|table| &table.rows) {
            let wanted = row.expiry > now
                && after.is_none_or(|after| key.as_bytes() > after)
                && key.as_str().starts_with(&request.prefix);
            let is_full = page.len() == limit;
            if wanted && !(is_full && page.last_key_value().is_some_and(|(last, _)| *last < key)) {
                page.insert(key, row);
                if is_full {
                    page.pop_last();
                }
            }
        }
        let next = page.last_key_value().filter(|_| page.len() == limit);
        let next = next.map(|(last, _)| Cursor::new(last.as_bytes()));
        let listed = page.into_iter();
        let listed = listed.map(|(key, row)| Listed::new(key.clone(), row.holding(now)));
        Ok(Page::new(listed.collect(), next))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new("memory").watch().list().pass()
    }
}

impl Table {
    /// Writes the row of a key that is free.
    fn grant(&mut self, request: &AcquireRequest, now: Moment) -> Result<FencingToken, StoreError> {
        self.sweep(now);
        let token = self.next_token()?;
        self.rows.insert(
            request.key.clone(),
            Row {
                owner: Some(request.owner),
                holder: Arc::clone(&request.holder),
                token,
                granted: now,
                expiry: now.after(request.ttl),
            },
        );
        Ok(token)
    }

    fn release(&mut self, request: &ReleaseRequest, now: Moment) -> Reply {
        let Some(row) = self.owned(&request.key, request.owner, now) else {
            return Reply::NotHeld;
        };
        if request.keep.is_zero() {
            self.forget(&request.key);
        } else {
            let until = now.after(request.keep);
            (row.owner, row.holder, row.expiry) = (None, Arc::from(""), until);
            self.kept.insert((until, request.key.clone()));
        }
        Reply::Done
    }

    /// The row of a key that is held; an expired one is forgotten on the way.
    fn live(&mut self, key: &StoredKey, now: Moment) -> Option<&mut Row> {
        if self.rows.get(key).is_some_and(|row| row.expiry <= now) {
            self.forget(key);
        }
        self.rows.get_mut(key)
    }

    fn owned(&mut self, key: &StoredKey, owner: Owner, now: Moment) -> Option<&mut Row> {
        self.live(key, now).filter(|row| row.owner == Some(owner))
    }

    fn forget(&mut self, key: &StoredKey) {
        if let Some(row) = self.rows.remove(key) {
            self.forgotten = self.forgotten.max(row.token.get());
            // A peak of held keys is no reason to keep its room for ever.
            if self.rows.len() < self.rows.capacity() / 8 {
                self.rows.shrink_to(2 * self.rows.len() + 8);
            }
        }
        if !self.watched.is_empty() {
            self.hints.extend(self.watched.get(key).cloned());
        }
    }

    /// Forgets kept keys when their time is over; when the next one's is.
    fn forget_kept(&mut self, now: Moment) -> Option<Moment> {
        while let Some((until, _)) = self.kept.first()
            && *until <= now
            && let Some((until, key)) = self.kept.pop_first()
        {
            if self.rows.get(&key).is_some_and(|row| row.expiry == until) {
                self.forget(&key);
            }
        }
        self.kept.first().map(|(until, _)| *until)
    }

    /// Forgets the leases of holders that vanished, whenever the table has doubled.
    fn sweep(&mut self, now: Moment) {
        if self.rows.len() > 2 * self.swept + 8 {
            let expired: Vec<StoredKey> = self
                .rows
                .iter()
                .filter(|(_, row)| row.expiry <= now)
                .map(|(key, _)| key.clone())
                .collect();
            for key in expired {
                self.forget(&key);
            }
            self.swept = self.rows.len();
        }
    }

    /// Above every token that any key has had and lost its row since, also in another process before this one. A key
    /// that has a row is held, and gets no new token.
    fn next_token(&self) -> Result<FencingToken, StoreError> {
        token(wall_micros().max(self.forgotten + 1))
    }
}

fn token(number: u64) -> Result<FencingToken, StoreError> {
    FencingToken::new(number)
        .ok_or_else(|| StoreError::not_applied("the fencing tokens of this store are used up"))
}

impl Row {
    fn holding(&self, now: Moment) -> Holding {
        Holding::new(
            &*self.holder,
            self.token,
            self.expiry.since(now),
            now.since(self.granted),
        )
    }
}

/// Ends the subscription of one waiter; the last one takes the entry away.
#[derive(Debug)]
struct Subscription {
    store: MemoryStore,
    key: StoredKey,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut table = self.store.part(&self.key).table();
        // A watch drops its receiver before its subscription, so the last one finds none left.
        if table
            .watched
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            table.watched.remove(&self.key);
            if table.watched.len() < table.watched.capacity() / 8 {
                let room = 2 * table.watched.len() + 8;
                table.watched.shrink_to(room);
            }
        }
    }
}

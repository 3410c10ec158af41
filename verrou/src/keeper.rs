//! The keeper: one thread of the process that renews leases, notices losses, and finishes releases.
//!
//! It has a runtime of its own, and for each store that does I/O a sibling with connections of its own. So a body that
//! blocks its runtime's thread, a pool that is exhausted, a runtime that was dropped, or a guard dropped outside of one
//! costs no lock.
//!
//! A lease is renewed after a third of its ttl, in one call with those of the same store whose time comes soon, and tried
//! again until it is over. So ten thousand of them are some dozen calls.
//!
//! Most locks are held for much less than that, and are none of its business: it has a book of the leases to look after, but
//! a new one is not entered at once. The store's turnstile knows who holds; some time after a grant the keeper comes by and
//! enters those who still do.
//!
//! The thread starts with the first lease. It ends some seconds after there is nothing left to do and no store left that
//! it has a sibling of, and starts again by itself.

mod releases;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub(crate) use self::releases::{
    Unclaimed, adopt_acquire, adopt_pass, adopt_release, finish, release, release_both,
    release_unclaimed,
};
use crate::clock::{self, Moment};
use crate::hold::Hold;
use crate::observe;
use crate::registered::Registered;
use crate::sabotage::Bug;
use crate::store::erased::{AnyStore, Boxed};
use crate::store::{Reply, StoreError};

/// The most leases that one call renews: what a store does for one call keeps no other one waiting for long.
const BATCH: usize = 256;
/// The most calls at once for leases whose last renewal had no answer. They go alone as long as that is possible, so that
/// one of them cannot spoil the others.
const ALONE: usize = 256;
/// The part of its ttl by which a renewal may be early, to go in one call with others.
const EARLY: u32 = 20;
/// The next call for the same store begins when the last one is answered, or after this part of the time that a call has:
/// a store that is slow is not asked all at once, one that is silent does not cost the last ones their leases.
const STAGGER: u32 = 32;

/// How long the thread stays when there is nothing left to do.
const IDLE: Duration = Duration::from_secs(5);

/// How soon after a grant the keeper comes by. A lease that needs it sooner is entered at once.
const PROBATION: Duration = Duration::from_secs(1);

static KEEPER: Mutex<Keeper> = Mutex::new(Keeper::new());
/// The siblings of the stores, by the number of the store. Made and used on the keeper's thread only.
static SIBLINGS: Mutex<Option<HashMap<u64, AnyStore>>> = Mutex::new(None);
static WAKE: Notify = Notify::const_new();
/// Jobs and renewals under way.
static ACTIVE: AtomicUsize = AtomicUsize::new(0);

struct Keeper {
    /// The leases to look after, by the moment of the next look.
    book: BTreeMap<(u64, u64), Arc<Hold>>,
    /// Where to come by, and when; in this order.
    rounds: VecDeque<(Moment, Weak<Registered>)>,
    jobs: Vec<Boxed<()>>,
    /// The thread looks up at this moment at the latest.
    asleep_until: Moment,
    running: bool,
}

/// Looks after the lease of `hold`, whose key is in the turnstile since `granted`.
pub(crate) fn watch(hold: &Arc<Hold>, granted: Moment) {
    let soon = hold
        .next_look()
        .is_some_and(|look| look < granted.after(2 * PROBATION));
    if soon || hold.is_booked() {
        enter(hold);
    } else if !hold.registered.expects_keeper.load(Ordering::Acquire) {
        invite(&hold.registered);
    }
}

/// Enters the lease of `hold` in the book at once, unless it is over.
pub(crate) fn enter(hold: &Arc<Hold>) {
    let mut keeper = Keeper::lock();
    keeper.book(hold);
    Keeper::ensure_running(keeper);
}

/// Looks after it no more. Its lease has ended, or the keeper will find it anew.
pub(crate) fn unwatch(hold: &Hold) {
    if hold.is_booked() {
        let gone = Keeper::lock().strike(hold);
        drop(gone);
    }
}

/// The keeper comes by at `registered` soon.
#[cold]
fn invite(registered: &Arc<Registered>) {
    if registered.expects_keeper.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut keeper = Keeper::lock();
    let at = Moment::now().after(PROBATION);
    keeper.rounds.push_back((at, Arc::downgrade(registered)));
    if at < keeper.asleep_until {
        WAKE.notify_one();
    }
    if !Keeper::ensure_running(keeper) {
        registered.expects_keeper.store(false, Ordering::Release);
    }
}

/// Enters the leases of `registered` that are not entered yet.
fn come_by(registered: &Registered) {
    // Before the look: whoever takes a key that this does not see asks for the next one. Both go through the lock of its gate.
    registered.expects_keeper.store(false, Ordering::Release);
    for hold in registered.turnstile.holders() {
        if hold.is_booked() {
            continue;
        }
        guarded(&hold, || {
            if hold.next_look().is_some() {
                Keeper::lock().book(&hold);
            } else {
                // Somebody was the first to find that it is over.
                end(&hold, false);
            }
        });
    }
}

/// Lets the sibling of `registered` go.
pub(crate) fn dismiss(registered: &Registered) {
    if !registered.attended.swap(false, Ordering::AcqRel) {
        return;
    }
    let id = registered.id;
    submit(async move {
        let sibling = siblings()
            .as_mut()
            .and_then(|siblings| siblings.remove(&id));
        if let Some(sibling) = sibling {
            sibling.close().await;
        }
    });
}

impl Keeper {
    const fn new() -> Self {
        Self {
            book: BTreeMap::new(),
            rounds: VecDeque::new(),
            jobs: Vec::new(),
            asleep_until: Moment::NEVER,
            running: false,
        }
    }

    fn lock() -> MutexGuard<'static, Self> {
        KEEPER.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters `hold` under the moment of its next look, and nowhere else; not at all if it is over.
    fn book(&mut self, hold: &Arc<Hold>) {
        // Not the last reference: the caller has one.
        let _ = self.strike(hold);
        if hold.registered.turnstile.is_closed() {
            // It is the shutdown's from now on: that lets bodies stop before it releases.
            return;
        }
        let Some(at) = hold.next_look() else { return };
        hold.set_booked(Some(at));
        self.book.insert((at.as_nanos(), hold.id), Arc::clone(hold));
        if hold.has_ended() {
            // Just now: its guard may not have found it here.
            let _ = self.strike(hold);
            return;
        }
        if at < self.asleep_until {
            WAKE.notify_one();
        }
    }

    #[must_use = "to be dropped outside of the lock"]
    fn strike(&mut self, hold: &Hold) -> Option<Arc<Hold>> {
        let at = hold.booked()?;
        hold.set_booked(None);
        self.book.remove(&(at.as_nanos(), hold.id))
    }

    /// Whether there is a thread now.
    fn ensure_running(mut keeper: MutexGuard<'static, Self>) -> bool {
        if keeper.running {
            return true;
        }
        let thread = std::thread::Builder::new().name("verrou-keeper".to_owned());
        match thread.spawn(run) {
            Ok(_) => keeper.running = true,
            // Leases end on time all the same; the next one tries again. A subscriber may do anything: outside of the lock.
            Err(error) => {
                drop(keeper);
                observe::no_keeper(&error);
                return false;
            }
        }
        true
    }

    /// Where to come by now.
    fn invitations(&mut self, now: Moment) -> Vec<Weak<Registered>> {
        let due = self.rounds.partition_point(|(at, _)| *at <= now);
        self.rounds.drain(..due).map(|(_, whom)| whom).collect()
    }

    /// What is due now.
    fn round(&mut self, now: Moment) -> Round {
        let mut due = Vec::new();
        while let Some(first) = self.book.first_entry()
            && first.key().0 <= now.as_nanos()
        {
            let hold = first.remove();
            hold.set_booked(None);
            due.push(hold);
        }
        let look = self
            .book
            .first_key_value()
            .map_or(Moment::NEVER, |((at, _), _)| Moment::from_nanos(*at));
        let round = self.rounds.front().map_or(Moment::NEVER, |(at, _)| *at);
        self.asleep_until = look.min(round);
        Round {
            jobs: std::mem::take(&mut self.jobs),
            due,
            next: self.asleep_until,
        }
    }

    /// At most `limit` leases of `group` that are to be renewed a little later, and may as well be now.
    fn company(&mut self, group: Group, now: Moment, limit: usize) -> Vec<Arc<Hold>> {
        let until = now.after(group.ttl / EARLY);
        let soon = self.book.range((now.as_nanos(), 0)..(until.as_nanos(), 0));
        // Not what was entered for a renewal that is not wanted any more, nor the end of a lease.
        let is_renewal = |at: u64, hold: &Hold| {
            let at = Moment::from_nanos(at);
            !hold.loss.is_raised()
                && hold.next_look() == Some(at)
                && hold.deadline().is_some_and(|deadline| at < deadline)
        };
        let company: Vec<_> = soon
            .filter(|((at, _), hold)| Group::of(hold) == group && is_renewal(*at, hold))
            .take(limit)
            .map(|(_, hold)| Arc::clone(hold))
            .collect();
        for hold in &company {
            self.begin_renewal(hold);
        }
        company
    }

    /// Until the answer, the book holds the moment at which the lease ends without one.
    fn begin_renewal(&mut self, hold: &Arc<Hold>) {
        hold.renew_next_at(Moment::NEVER);
        self.book(hold);
    }

    /// Ends the thread if nothing came in meanwhile.
    fn stop_if_idle(&mut self) -> bool {
        let idle = self.book.is_empty()
            && self.rounds.is_empty()
            && self.jobs.is_empty()
            && ACTIVE.load(Ordering::Acquire) == 0
            && siblings().as_ref().is_none_or(HashMap::is_empty);
        if idle {
            self.running = false;
        }
        idle
    }
}

/// Leases that may be renewed together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Group {
    store: u64,
    ttl: Duration,
    struggling: bool,
}

impl Group {
    fn of(hold: &Hold) -> Self {
        Self {
            store: hold.registered.id,
            ttl: hold.terms.ttl,
            struggling: hold.struggling.load(Ordering::Relaxed),
        }
    }
}

struct Round {
    jobs: Vec<Boxed<()>>,
    due: Vec<Arc<Hold>>,
    next: Moment,
}

pub(crate) fn submit(job: impl Future<Output = ()> + Send + 'static) {
    let mut keeper = Keeper::lock();
    keeper.jobs.push(Box::pin(job));
    WAKE.notify_one();
    Keeper::ensure_running(keeper);
}

/// The thread. The runtime belongs to it, and is dropped nowhere else.
fn run() {
    /// However the thread ends, the next lease finds that it has.
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let siblings = siblings().take();
                drop(siblings);
                let mut keeper = Keeper::lock();
                keeper.running = false;
                let busy =
                    !keeper.book.is_empty() || !keeper.rounds.is_empty() || !keeper.jobs.is_empty();
                if busy {
                    Keeper::ensure_running(keeper);
                }
            }
        }
    }
    let _ended = Ended;
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(attend()),
        Err(error) => {
            let mut keeper = Keeper::lock();
            keeper.running = false;
            let rounds = std::mem::take(&mut keeper.rounds);
            drop(keeper);
            // The next lease tries again.
            for registered in rounds.iter().filter_map(|(_, whom)| whom.upgrade()) {
                registered.expects_keeper.store(false, Ordering::Release);
            }
            observe::no_keeper(&error);
        }
    }
}

async fn attend() {
    let mut idle_since = None;
    loop {
        let now = Moment::now();
        let invitations = Keeper::lock().invitations(now);
        for registered in invitations.iter().filter_map(Weak::upgrade) {
            come_by(&registered);
        }
        let Round {
            jobs,
            due,
            mut next,
        } = Keeper::lock().round(now);
        let idle = jobs.is_empty() && due.is_empty() && next == Moment::NEVER;
        for job in jobs {
            spawn(job);
        }
        look_after(due);
        if idle
            && ACTIVE.load(Ordering::Acquire) == 0
            && siblings().as_ref().is_none_or(HashMap::is_empty)
        {
            let end = idle_since.get_or_insert(now).after(IDLE);
            if end <= now && Keeper::lock().stop_if_idle() {
                // Another thread may be the keeper by now: a panic of a subscriber must not take it for this one.
                let _ = catch_unwind(observe::keeper_ended);
                return;
            }
            next = end;
        } else {
            idle_since = None;
        }
        let _ = clock::until(next, &mut pin!(WAKE.notified())).await;
    }
}

/// Runs `job` on this thread; when the last one ends, the thread looks up.
fn spawn(job: Boxed<()>) -> JoinHandle<()> {
    struct Active;
    impl Drop for Active {
        fn drop(&mut self) {
            if ACTIVE.fetch_sub(1, Ordering::AcqRel) == 1 {
                WAKE.notify_one();
            }
        }
    }
    ACTIVE.fetch_add(1, Ordering::AcqRel);
    let active = Active;
    tokio::spawn(async move {
        let _active = active;
        job.await;
    })
}

/// Renews those whose time has come, with those whose time comes soon, and gives up those whose lease is over.
fn look_after(due: Vec<Arc<Hold>>) {
    let mut groups: HashMap<Group, Vec<Arc<Hold>>> = HashMap::new();
    for hold in due {
        guarded(&hold, || {
            let revived = Bug::RenewalRevives.is_loose() && hold.terms.renew;
            let over = !hold.is_held() && !revived
                || Bug::HeldByTimer.is_loose() && hold.deadline().is_some_and(Moment::has_passed);
            if hold.loss.is_raised() || over {
                end(&hold, false);
            } else if hold.next_look().is_some_and(|look| !look.has_passed()) {
                Keeper::lock().book(&hold);
            } else {
                let group = groups.entry(Group::of(&hold)).or_default();
                group.push(Arc::clone(&hold));
                Keeper::lock().begin_renewal(&hold);
            }
        });
    }
    for (group, mut leases) in groups {
        loop {
            // In parts: those who take or release a lock meanwhile wait for ours.
            let company = Keeper::lock().company(group, Moment::now(), BATCH);
            if company.is_empty() {
                break;
            }
            leases.extend(company);
        }
        if group.struggling {
            for part in leases.chunks(leases.len().div_ceil(ALONE)) {
                spawn(Box::pin(renew(part.to_vec())));
            }
        } else {
            spawn(Box::pin(renew_in_parts(leases)));
        }
    }
}

/// Renews leases of one store in several calls, one after the other as long as it answers.
async fn renew_in_parts(leases: Vec<Arc<Hold>>) {
    for (number, part) in leases.chunks(BATCH).enumerate() {
        let mut part = part.to_vec();
        if number > 0 {
            // Its turn comes late: some may have been released.
            part.retain(|hold| hold.is_held());
        }
        let pause = patience(&part) / STAGGER;
        let mut call = spawn(Box::pin(renew(part)));
        let _ = clock::until(Moment::now().after(pause), &mut call).await;
    }
}

/// Gives up a lease that is over; in a shutdown only the guard hears of it.
fn end(hold: &Arc<Hold>, store_knows: bool) {
    if hold.registered.turnstile.is_closed() {
        hold.lose();
    } else {
        hold.give_up(store_knows);
    }
}

/// A panic of foreign code (a subscriber, a driver's release in place) costs the lock that it was about, and no other.
fn guarded(hold: &Arc<Hold>, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        Keeper::lock().book(hold);
    }
}

/// One renewal of leases of one store. A failure is no loss: it is tried again until the lease is over.
async fn renew(batch: Vec<Arc<Hold>>) {
    let Some(first) = batch.first() else { return };
    let registered = Arc::clone(&first.registered);
    let patience = patience(&batch);
    let store = sibling(&registered);
    let requests: Vec<_> = batch.iter().map(|hold| hold.renewal()).collect();
    let ttls: Vec<Duration> = requests.iter().map(|request| request.ttl).collect();
    let sent = Moment::now();
    let limit = sent.after(patience);
    let mut call = Caught(store.clone().renew_many(requests));
    let replies = clock::until(limit, &mut call)
        .await
        .ok()
        .flatten()
        .unwrap_or_default();
    // A driver's and a subscriber's code: its panic must cost no lock.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        for doubt in store.doubts() {
            observe::doubted(&registered.name, &doubt);
        }
    }));
    let mut replies = replies.into_iter();
    for (hold, ttl) in batch.into_iter().zip(ttls) {
        let reply = replies.next();
        guarded(&hold, || {
            settle(&hold, sent, ttl, reply);
            Keeper::lock().book(&hold);
        });
    }
}

/// How long a renewal may take; the leases are of one store.
fn patience(batch: &[Arc<Hold>]) -> Duration {
    let each = batch
        .iter()
        .map(|hold| (hold.terms.ttl / 6).min(hold.registered.request_timeout));
    each.min().unwrap_or_default()
}

/// What the answer to the renewal of one lease means.
fn settle(hold: &Arc<Hold>, sent: Moment, ttl: Duration, reply: Option<Result<Reply, StoreError>>) {
    match reply {
        Some(Ok(Reply::Done)) => {
            let late = hold.struggling.swap(false, Ordering::Relaxed);
            hold.renew_next_at(sent.after(hold.terms.ttl / 3));
            let sent = if Bug::DeadlineFromReply.is_loose() {
                Moment::now()
            } else {
                sent
            };
            if hold.confirm(sent, ttl) {
                observe::renewed(hold, late);
            } else {
                observe::renewal_ended_it(hold, "too_late");
                // The yes came too late for a loss that was already told: it is answered by a release.
                end(hold, false);
            }
        }
        Some(Ok(Reply::NotHeld)) => {
            observe::renewal_ended_it(hold, "not_held");
            end(hold, true);
        }
        failure => {
            let again = hold.struggling.swap(true, Ordering::Relaxed);
            let pause = (hold.terms.ttl / 20).max(Duration::from_millis(1));
            hold.renew_next_at(Moment::now().after(pause));
            observe::renewal_failed(hold, failure.and_then(Result::err).as_ref(), again);
        }
    }
}

/// The store that the keeper talks to in place of the one of `registered`.
fn sibling(registered: &Registered) -> AnyStore {
    if !registered.has_io {
        return registered.store.clone();
    }
    let known = siblings()
        .as_ref()
        .and_then(|siblings| siblings.get(&registered.id).cloned());
    if let Some(sibling) = known {
        return sibling;
    }
    // A driver's code, whose panic must cost no lease.
    let made = catch_unwind(AssertUnwindSafe(|| registered.store.for_keeper()));
    let Ok(Some(sibling)) = made else {
        return registered.store.clone();
    };
    // Only this thread makes them.
    let mut siblings = siblings();
    let siblings = siblings.get_or_insert_default();
    siblings.insert(registered.id, sibling.clone());
    registered.attended.store(true, Ordering::Release);
    sibling
}

fn siblings() -> MutexGuard<'static, Option<HashMap<u64, AnyStore>>> {
    SIBLINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A driver's call, which may panic: then it is ready with `None`, and the keeper lives on.
struct Caught<T>(Boxed<T>);

impl<T> Future for Caught<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::MemoryStore;
    use crate::{Error, LockFactory};

    #[tokio::test]
    async fn a_lease_whose_place_another_takes_is_looked_after_all_the_same() -> Result<(), Error> {
        let store = MemoryStore::new();
        let (locks, elsewhere) = (LockFactory::new(store.clone()), LockFactory::new(store));
        let lock = locks.create_lock("k").ttl(Duration::from_secs(60));
        let robbed = lock.acquire().await?;
        let hold = locks.registered.turnstile.holders().pop();
        lock.force_release().await?;
        let text = elsewhere
            .create_lock("k")
            .acquire()
            .await?
            .into_serialized()?;
        let heir = locks.restore_lock(&text).await?;
        assert!(hold.is_some_and(|hold| hold.is_booked()));
        drop(robbed);
        heir.release().await
    }

    #[tokio::test]
    async fn a_lease_is_entered_in_the_book_once_it_has_lasted_and_leaves_it_with_its_guard()
    -> Result<(), Error> {
        let locks = LockFactory::new(MemoryStore::new());
        let lock = locks.create_lock("k").ttl(Duration::from_secs(60));
        let booked = || {
            let holders = locks.registered.turnstile.holders();
            holders.iter().filter(|hold| hold.is_booked()).count()
        };
        for _ in 0..100 {
            lock.acquire().await?.release().await?;
            assert_eq!(booked(), 0);
        }
        let guard = lock.acquire().await?;
        let hold = locks.registered.turnstile.holders().pop();
        let limit = Moment::now().after(Duration::from_secs(20));
        while booked() == 0 {
            assert!(!limit.has_passed(), "the keeper has never come by");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        guard.release().await?;
        assert!(hold.is_some_and(|hold| !hold.is_booked()));
        // A short one needs it sooner.
        let short = locks.create_lock("s").ttl(Duration::from_secs(1));
        let guard = short.acquire().await?;
        assert_eq!(booked(), 1);
        guard.release().await
    }
}

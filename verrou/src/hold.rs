//! One held key: its lease, its local deadline, and its end.
//!
//! Guard, keeper and turnstile share it. All of its state is one number that only compare-and-swap moves, so that a
//! lease which was once seen to be over is never seen to be held again.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::keeper;
use crate::key::StoredKey;
use crate::observe::{self, Held};
use crate::options::{HeldTerms, MIN_TTL, Terms, margin};
use crate::registered::Registered;
use crate::sabotage::Bug;
use crate::store::{Owner, ReleaseRequest, RenewRequest, Sent};
use crate::token::FencingToken;
use crate::turnstile::{Leaving, Visit};

/// `Hold::deadline` of a lease that ended while its guard lived.
const LOST: u64 = 0;
/// `Hold::deadline` of a lease that its guard gave back or handed on.
const ENDED: u64 = 1;
/// `Hold::booked` of a lease that the keeper does not have in its book.
const UNBOOKED: u64 = 0;
/// An acquire that waits is polled each second; one that was not for this and a ttl is kept without being polled.
const POLLED_WITHIN: Duration = Duration::from_secs(2);

/// A key that this process holds, or held.
pub(crate) struct Hold {
    /// Tells holds apart in this process; never reused.
    pub(crate) id: u64,
    pub(crate) registered: Arc<Registered>,
    pub(crate) key: StoredKey,
    pub(crate) owner: Owner,
    pub(crate) token: FencingToken,
    pub(crate) terms: HeldTerms,
    /// When the request was sent that was granted: from here on counts `max_hold`.
    sent: Moment,
    /// When the grant came back: from here on counts `min_hold`.
    granted: Moment,
    /// What `max_hold` allows at the latest; never, as long as other keys of the guard are awaited.
    cap: AtomicU64,
    /// Until when the lease is held, as far as this process knows; or [`LOST`], or [`ENDED`].
    deadline: AtomicU64,
    /// The caller has the guard. Until then other keys of it are awaited: the lease is renewed whatever the terms say, as
    /// long as somebody polls the acquire.
    handed_out: AtomicBool,
    /// Until when the store may think that the key is held, whatever it was asked for so far.
    leased_until: AtomicU64,
    /// When the keeper should renew; moved by each renewal.
    renew_at: AtomicU64,
    /// The last renewal had no answer: the next one goes alone, or with others of that kind if there are very many.
    pub(crate) struggling: AtomicBool,
    /// The store has not been told of the end yet.
    owed: AtomicBool,
    /// The loss has been logged, and the other keys of the guard were told.
    told: AtomicBool,
    /// Under which moment the keeper has this hold in its book, if it has; only changed under the keeper's lock.
    booked: AtomicU64,
    /// Shared by the keys of one guard: one lost, all lost.
    pub(crate) loss: Arc<Loss>,
    /// The place at the gate; goes with the release.
    visit: Mutex<Option<Visit>>,
    /// Counted as held until the lease ends.
    held: Held,
}

/// A number that nothing else in this process has, for holds and for calls that were given up. Drawn for each thread in
/// blocks, for two threads that count together wait for each other.
pub(crate) fn unique() -> u64 {
    const BLOCK: u64 = 1 << 12;
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static LEFT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    }
    let drawn = LEFT.try_with(|left| {
        let (mut next, mut end) = left.get();
        if next == end {
            next = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
            end = next + BLOCK;
        }
        left.set((next + 1, end));
        next
    });
    // A thread that is ending.
    drawn.unwrap_or_else(|_| NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What an acquire has won.
pub(crate) struct Grant {
    pub(crate) key: StoredKey,
    pub(crate) owner: Owner,
    pub(crate) token: FencingToken,
    /// When the request was sent that was granted: from here on counts the lease.
    pub(crate) sent: Moment,
}

impl Hold {
    /// Takes over what `grant` says, which came back at `granted`, until the deadline that follows from it.
    pub(crate) fn new(
        registered: Arc<Registered>,
        grant: Grant,
        terms: &Terms,
        loss: Arc<Loss>,
        visit: Visit,
        granted: Moment,
    ) -> Arc<Self> {
        let terms = terms.held();
        let now = granted;
        let Grant {
            key,
            owner,
            token,
            sent,
        } = grant;
        let counted_from = if Bug::DeadlineFromReply.is_loose() {
            now
        } else {
            sent
        };
        let deadline = counted_from.after(terms.ttl).before(terms.margin());
        let held = registered.meters.held(&registered, terms.label);
        let hold = Arc::new(Self {
            id: unique(),
            registered,
            key,
            owner,
            token,
            sent,
            granted: now,
            cap: AtomicU64::new(Moment::NEVER.as_nanos()),
            deadline: AtomicU64::new(deadline.as_nanos()),
            renew_at: AtomicU64::new(sent.after(terms.ttl / 3).as_nanos()),
            handed_out: AtomicBool::new(false),
            leased_until: AtomicU64::new(now.after(terms.ttl).as_nanos()),
            struggling: AtomicBool::new(false),
            owed: AtomicBool::new(true),
            told: AtomicBool::new(false),
            booked: AtomicU64::new(UNBOOKED),
            terms,
            loss,
            visit: Mutex::new(None),
            held,
        });
        visit.occupy(&hold);
        *hold.visit.lock().unwrap_or_else(PoisonError::into_inner) = Some(visit);
        hold
    }

    /// Whether the lease is held now. Once it says no, it never says yes again.
    pub(crate) fn is_held(&self) -> bool {
        self.held_until().is_some()
    }

    /// The local deadline, passed or not; `None` once the lease has ended. Wakes nobody, so it may be called under a lock.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        // In one order with the keeper's book: see `is_booked`.
        let deadline = self.deadline.load(Ordering::SeqCst);
        (deadline > ENDED).then(|| Moment::from_nanos(deadline))
    }

    /// The local deadline, if it has not passed. A lease that is found to be over is lost from then on.
    pub(crate) fn held_until(&self) -> Option<Moment> {
        // No clock for what is over anyway.
        self.deadline().and_then(|_| self.held_at(Moment::now()))
    }

    fn held_at(&self, now: Moment) -> Option<Moment> {
        let mut deadline = self.deadline.load(Ordering::Acquire);
        loop {
            if deadline <= ENDED {
                return None;
            }
            if now.as_nanos() < deadline || Bug::HeldByTimer.is_loose() {
                return Some(Moment::from_nanos(deadline));
            }
            if Bug::RenewalRevives.is_loose() && self.is_to_renew() {
                return None;
            }
            // From now on it is lost for everybody: a renewal that was confirmed in time but is booked only now must
            // not bring it back.
            match self.deadline.compare_exchange(
                deadline,
                LOST,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.held.ended(|| self.held_for());
                    self.loss.raise(&self.key);
                    return None;
                }
                Err(moved) => deadline = moved,
            }
        }
    }

    /// Ends the lease as lost, unless its guard has given it back; whether it is lost now.
    pub(crate) fn lose(&self) -> bool {
        self.end_as(LOST);
        let lost = self.deadline.load(Ordering::Acquire) == LOST;
        if lost {
            self.loss.raise(&self.key);
        }
        lost
    }

    /// Ends the lease as given back; whether it was held at `now`.
    fn end(&self, now: Moment) -> bool {
        self.held_at(now).is_some() && self.end_as(ENDED)
    }

    fn end_as(&self, state: u64) -> bool {
        let ended = self
            .deadline
            .fetch_update(Ordering::SeqCst, Ordering::Acquire, |deadline| {
                (deadline > ENDED).then_some(state)
            })
            .is_ok();
        if ended {
            self.held.ended(|| self.held_for());
        }
        ended
    }

    /// The store has said yes to a lease of `ttl` that was asked for at `sent`; whether the lease is still held.
    pub(crate) fn confirm(&self, sent: Moment, ttl: Duration) -> bool {
        let mut deadline = self.deadline.load(Ordering::Acquire);
        loop {
            let late = Moment::from_nanos(deadline).has_passed() && !Bug::RenewalRevives.is_loose();
            if deadline <= ENDED || late {
                // Too late: `held_until` settles what it is.
                return self.is_held();
            }
            // Read anew each time: the cap comes with the hand-out.
            let confirmed = sent.after(ttl).before(margin(ttl)).min(self.cap());
            let later = deadline.max(confirmed.as_nanos());
            match self.deadline.compare_exchange(
                deadline,
                later,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(moved) => deadline = moved,
            }
        }
    }

    /// What `max_hold` allows at the latest.
    pub(crate) fn cap(&self) -> Moment {
        Moment::from_nanos(self.cap.load(Ordering::Acquire))
    }

    /// When the keeper has to look at this hold next; `None` once the lease has ended.
    pub(crate) fn next_look(&self) -> Option<Moment> {
        let deadline = self.deadline()?;
        if Bug::RenewalRevives.is_loose() && self.is_to_renew() {
            return Some(Moment::from_nanos(self.renew_at.load(Ordering::Acquire)));
        }
        if self.is_to_renew() && deadline < self.cap() {
            Some(deadline.min(Moment::from_nanos(self.renew_at.load(Ordering::Acquire))))
        } else {
            Some(deadline)
        }
    }

    /// As the terms say, once the guard is handed out. Before that in any case; but an acquire that is kept and not polled
    /// must not keep the keys that it has won so far.
    fn is_to_renew(&self) -> bool {
        if self.handed_out.load(Ordering::Acquire) {
            self.terms.renew
        } else {
            !self
                .loss
                .last_polled()
                .after(self.terms.ttl)
                .after(POLLED_WITHIN)
                .has_passed()
        }
    }

    /// The caller has the guard: from now on the terms hold, and `max_hold` counts from the grant of the last key.
    pub(crate) fn hand_out(self: &Arc<Self>, granted: Moment) {
        if let Some(max_hold) = self.terms.max_hold {
            let cap = granted.after(max_hold).as_nanos();
            self.cap.store(cap, Ordering::Release);
            // A deadline of a lease that is not over; zero and one are no deadlines.
            let _ = self
                .deadline
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |deadline| {
                    (deadline > ENDED).then_some(deadline.min(cap))
                });
        }
        self.handed_out.store(true, Ordering::Release);
        keeper::watch(self, self.granted);
    }

    /// Under which moment the keeper's book has it.
    pub(crate) fn booked(&self) -> Option<Moment> {
        let booked = self.booked.load(Ordering::SeqCst);
        (booked != UNBOOKED).then(|| Moment::from_nanos(booked))
    }

    /// Whether the keeper's book has it. Who has ended the lease before and finds that it has not may go: who enters it at
    /// the same time looks at the lease after that.
    pub(crate) fn is_booked(&self) -> bool {
        self.booked().is_some()
    }

    /// Under the keeper's lock.
    pub(crate) fn set_booked(&self, at: Option<Moment>) {
        let at = at.map_or(UNBOOKED, Moment::as_nanos);
        self.booked.store(at, Ordering::SeqCst);
    }

    /// The guard gave the lease back or handed it on, before it was lost.
    pub(crate) fn has_ended(&self) -> bool {
        self.deadline.load(Ordering::SeqCst) == ENDED
    }

    /// When the request was sent that won this key.
    pub(crate) fn sent(&self) -> Moment {
        self.sent
    }

    /// When the grant came back.
    pub(crate) fn granted(&self) -> Moment {
        self.granted
    }

    /// The store is about to be asked for a lease of `ttl`.
    pub(crate) fn leases(&self, ttl: Duration) {
        self.leased_until
            .fetch_max(Moment::now().after(ttl).as_nanos(), Ordering::AcqRel);
    }

    pub(crate) fn renew_next_at(&self, moment: Moment) {
        self.renew_at.store(moment.as_nanos(), Ordering::Release);
    }

    /// The lease that a renewal should ask for: not longer than `max_hold` has use for.
    pub(crate) fn renewal(&self) -> RenewRequest {
        let useful = self
            .cap()
            .remaining()
            .saturating_add(self.terms.margin())
            .max(MIN_TTL);
        RenewRequest {
            key: self.key.clone(),
            owner: self.owner,
            ttl: self.terms.ttl.min(useful),
            sent: Sent::default(),
        }
    }

    /// A release that keeps the key taken for what is left of `min_hold`.
    pub(crate) fn release_request(&self, sent: Sent) -> ReleaseRequest {
        ReleaseRequest {
            key: self.key.clone(),
            owner: self.owner,
            keep: self.min_hold_left(),
            sent,
        }
    }

    pub(crate) fn held_for(&self) -> Duration {
        Moment::now().since(self.granted)
    }

    /// Nothing for a key that was won but never handed out: nobody has worked under it.
    pub(crate) fn min_hold_left(&self) -> Duration {
        if !self.terms.min_hold.is_zero() && self.handed_out.load(Ordering::Acquire) {
            self.granted.after(self.terms.min_hold).remaining()
        } else {
            Duration::ZERO
        }
    }

    /// Until when the store may think that the key is held, if it is asked for nothing from now on.
    pub(crate) fn orphaned_until(&self) -> Moment {
        let leased = Moment::from_nanos(self.leased_until.load(Ordering::Acquire));
        leased.max(Moment::now().after(self.terms.ttl))
    }

    /// The store has to be told of the end, and it is now the caller's task; true once.
    pub(crate) fn take_owed(&self) -> bool {
        self.owed.swap(false, Ordering::AcqRel)
    }

    /// Steps out of the way: the key is being released, and those who wait for it wait for that.
    pub(crate) fn depart(&self, now: Moment) -> Option<Leaving> {
        let visit = self
            .visit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let until = now.after(self.registered.request_timeout);
        Some(visit.leave(self.id, until))
    }

    /// The guard gives the lease back, to be released by the one who called: `None` if it was lost before.
    pub(crate) fn give_back(self: &Arc<Self>, now: Moment) -> Option<Option<Leaving>> {
        let held = self.end(now);
        keeper::unwatch(self);
        if !held || !self.take_owed() {
            return None;
        }
        Some(self.depart(now))
    }

    /// The guard gives the key to another process: nothing is told to the store.
    pub(crate) fn hand_on(self: &Arc<Self>) -> bool {
        // Before the end, so that nobody who finds the lease ended releases what was handed on.
        if !self.take_owed() {
            return false;
        }
        let now = Moment::now();
        let held = self.end(now);
        keeper::unwatch(self);
        if held {
            drop(self.depart(now));
        } else {
            self.owed.store(true, Ordering::Release);
        }
        held
    }

    /// Frees the key without waiting: in place if the store does no I/O, else through the keeper.
    pub(crate) fn release_late(self: &Arc<Self>) {
        let now = Moment::now();
        self.end(now);
        keeper::unwatch(self);
        self.tell_loss(false);
        let leaving = self.depart(now);
        if self.take_owed() {
            keeper::release(self, leaving);
        }
    }

    /// The lease is over, as the store or the clock says: the guard hears of it, those who wait for the key may try, and
    /// the other keys of the guard go with it.
    pub(crate) fn give_up(self: &Arc<Self>, store_knows: bool) {
        keeper::unwatch(self);
        // After the deadline it is no news that the store says so too.
        let gone = store_knows && self.is_held();
        if !self.lose() {
            return;
        }
        if store_knows {
            self.owed.store(false, Ordering::Release);
        }
        if self.tell_loss(gone) {
            for kin in self.loss.kin() {
                kin.give_up(false);
            }
        }
        let leaving = self.depart(Moment::now());
        if self.take_owed() {
            keeper::release(self, leaving);
        }
    }

    /// Logs a loss, whoever has found it; true for the first who does. The end of an instance is no news of that kind.
    fn tell_loss(&self, gone: bool) -> bool {
        let lost = self.deadline.load(Ordering::Acquire) == LOST;
        let first = lost && !self.told.swap(true, Ordering::AcqRel);
        if first && !self.registered.turnstile.is_closed() {
            observe::lost(self, gone);
        }
        first
    }

    pub(crate) fn lost_error(&self) -> Error {
        Error::Lost {
            store: self.registered.name.clone(),
            key: self.key.key().to_owned(),
        }
    }

    pub(crate) fn not_held_error(&self) -> Error {
        Error::NotHeld {
            store: self.registered.name.clone(),
            key: self.key.key().to_owned(),
        }
    }
}

/// A signal that is raised once: the guard's lease is lost.
#[derive(Default)]
pub(crate) struct Loss {
    raised: AtomicBool,
    /// When the acquire was last polled, in nanoseconds of the boot-time clock.
    polled: AtomicU64,
    /// Made by the first one: a lock that is held seldom has any.
    listeners: Mutex<Option<Box<Listeners>>>,
}

#[derive(Default)]
struct Listeners {
    wakers: HashMap<u64, Waker>,
    next: u64,
    /// The holds of a guard of several keys.
    kin: Vec<Weak<Hold>>,
    /// The key that was lost first.
    lost: Option<StoredKey>,
}

impl Loss {
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Raised by the loss of `key`.
    fn raise(&self, key: &StoredKey) {
        let wakers = {
            let mut listeners = self.listeners();
            if self.raised.swap(true, Ordering::AcqRel) {
                return;
            }
            let listeners = listeners.get_or_insert_default();
            listeners.lost = Some(key.clone());
            std::mem::take(&mut listeners.wakers)
        };
        for waker in wakers.into_values() {
            // Foreign code, on the keeper's thread: its panic must cost no other lock.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// The key that was lost first.
    pub(crate) fn lost_key(&self) -> Option<StoredKey> {
        self.listeners()
            .as_ref()
            .and_then(|listeners| listeners.lost.clone())
    }

    /// Somebody polls the acquire that this belongs to, or waits for a call that ends by `moment`.
    pub(crate) fn polled_until(&self, moment: Moment) {
        self.polled.fetch_max(moment.as_nanos(), Ordering::AcqRel);
    }

    fn last_polled(&self) -> Moment {
        Moment::from_nanos(self.polled.load(Ordering::Acquire))
    }

    /// `hold` is lost when another one of this guard is, and the other way round.
    pub(crate) fn join(&self, hold: &Arc<Hold>) {
        let mut listeners = self.listeners();
        let kin = &mut listeners.get_or_insert_default().kin;
        kin.push(Arc::downgrade(hold));
    }

    fn kin(&self) -> Vec<Arc<Hold>> {
        let listeners = self.listeners();
        let kin = listeners.iter().flat_map(|listeners| &listeners.kin);
        kin.filter_map(Weak::upgrade).collect()
    }

    fn listeners(&self) -> MutexGuard<'_, Option<Box<Listeners>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ready once the lease is lost; never, if it is given back first.
pub(crate) struct Lost {
    loss: Arc<Loss>,
    listener: Option<u64>,
}

impl Lost {
    pub(crate) fn of(loss: &Arc<Loss>) -> Self {
        Self {
            loss: Arc::clone(loss),
            listener: None,
        }
    }
}

impl Future for Lost {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.loss.is_raised() {
            return Poll::Ready(());
        }
        let mut all = this.loss.listeners();
        let listeners = all.get_or_insert_default();
        let listener = *this.listener.get_or_insert_with(|| {
            listeners.next += 1;
            listeners.next
        });
        let known = listeners.wakers.insert(listener, cx.waker().clone());
        drop(all);
        drop(known);
        // It may have been raised between the first look and the entry in the list.
        if this.loss.is_raised() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Lost {
    fn drop(&mut self) {
        if let Some(listener) = self.listener {
            let mut all = self.loss.listeners();
            let waker = all
                .as_mut()
                .and_then(|listeners| listeners.wakers.remove(&listener));
            drop(all);
            drop(waker);
        }
    }
}

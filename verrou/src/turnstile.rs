//! The queue of a process in front of a store: per key, first come first served, and only its head asks the store.
//!
//! Being the head is a fact in the queue; a waker is only a hint, which may be lost or wake a task that does not care.
//! A head that is not polled by its due time goes to the end. The store alone decides who holds: if two tasks believe to
//! be the head, that costs traffic, never exclusion.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::error::Error;
use crate::hold::Hold;
use crate::key::StoredKey;
use crate::reentry::Chain;
use crate::sabotage::Bug;

/// How long a head that was woken may take to be polled before it goes to the end of the queue.
const GRACE: Duration = Duration::from_millis(50);
/// How many waiters a change wakes: the head, and the next ones to watch over it.
const WOKEN: usize = 3;
/// A waiter far from the head looks up now and then, in case all before it are kept but not polled.
const LOOK_UP: Duration = Duration::from_secs(1);

/// The queues of one store.
#[derive(Default)]
pub(crate) struct Turnstile {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    gates: Mutex<HashMap<StoredKey, Entry>>,
    closed: AtomicBool,
    emptied: Notify,
}

/// A key that somebody waits for or holds, and the number of visits to it: at zero the entry goes.
struct Entry {
    gate: Arc<Gate>,
    visits: usize,
}

struct Gate {
    key: StoredKey,
    queue: Mutex<Queue>,
}

struct Queue {
    waiting: BTreeMap<u64, Waiter>,
    next_place: u64,
    occupant: Option<Occupant>,
    /// When the head must have been polled; never while it has nothing to do.
    due: Moment,
    /// Those who wait for a late release without standing in the queue.
    bystanders: Vec<Waker>,
    /// The call to the store that is under way.
    asking: Option<Asking>,
}

/// A call of the head.
struct Asking {
    id: u64,
    since: Moment,
    until: Moment,
}

struct Waiter {
    waker: Option<Waker>,
    verdict: Option<Error>,
    /// Its wait is over, and it stays for the answer to the call that is under way.
    overdue: bool,
    /// Where this waiter stands; the queue changes it when it sends the waiter to the end.
    place: Arc<AtomicU64>,
}

/// Who of this process has the key, so that nobody needs to ask the store.
enum Occupant {
    /// Until its lease ends, however long its guard is kept.
    Holder { hold: Weak<Hold>, id: u64 },
    /// A release, or a call that was given up, is on its way to the store; nobody waits for it beyond `until`.
    Leaving { id: u64, until: Moment },
}

/// Membership at the gate of a key; the entry of a key lives while there is one.
pub(crate) struct Visit {
    shared: Arc<Shared>,
    gate: Arc<Gate>,
}

/// A place in the queue of a key; given back when dropped, and the next one is told.
pub(crate) struct Ticket<'a> {
    visit: &'a Visit,
    place: Arc<AtomicU64>,
}

/// Marks a key as being released; when dropped, the key counts as free and the head is told.
pub(crate) struct Leaving {
    visit: Visit,
    id: u64,
}

/// A call to the store is under way; when dropped, it is not any more.
pub(crate) struct Asked<'a> {
    visit: &'a Visit,
    id: u64,
}

/// What a waiter sees when it looks.
pub(crate) enum Look {
    /// It is the head and no one of this process has the key: ask the store.
    Turn,
    /// Not yet; look again at this moment at the latest.
    Wait(Moment),
    /// It is the head, and a late release is on its way, which is waited for until this moment.
    Leaving(Moment),
    /// It need not wait any more: it failed.
    Refused(Error),
    /// It waits for the body that it runs in.
    Reentrant,
}

/// What a try sees, which does not stand in the queue.
pub(crate) enum Glance {
    Free,
    Held,
    /// A late release is under way.
    Leaving,
}

impl Turnstile {
    /// Goes to the gate of `key`.
    pub(crate) fn enter(&self, key: &StoredKey) -> Result<Visit, Error> {
        let mut gates = self.shared.gates();
        if self.is_closed() {
            return Err(Error::ShutDown);
        }
        if let Some(entry) = gates.get_mut(key) {
            entry.visits += 1;
            return Ok(Visit {
                shared: Arc::clone(&self.shared),
                gate: Arc::clone(&entry.gate),
            });
        }
        let gate = Arc::new(Gate {
            key: key.clone(),
            queue: Mutex::new(Queue::new()),
        });
        gates.insert(
            key.clone(),
            Entry {
                gate: Arc::clone(&gate),
                visits: 1,
            },
        );
        Ok(Visit {
            shared: Arc::clone(&self.shared),
            gate,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether `key` is held by a body in `chain`.
    pub(crate) fn is_held_by(&self, key: &StoredKey, chain: &Chain) -> bool {
        let gate = self
            .shared
            .gates()
            .get(key)
            .map(|entry| Arc::clone(&entry.gate));
        gate.is_some_and(|gate| gate.queue().is_held_by(chain))
    }

    /// Lets nobody in any more and sends away those who wait.
    pub(crate) fn close(&self) {
        let gates: Vec<Arc<Gate>> = {
            let gates = self.shared.gates();
            self.shared.closed.store(true, Ordering::Release);
            gates
                .values()
                .map(|entry| Arc::clone(&entry.gate))
                .collect()
        };
        for gate in gates {
            let wakers = gate.queue().everybody();
            wake(wakers);
        }
    }

    /// The holds of this process whose guards were not released, lost ones too.
    pub(crate) fn holders(&self) -> Vec<Arc<Hold>> {
        let gates: Vec<_> = self
            .shared
            .gates()
            .values()
            .map(|entry| Arc::clone(&entry.gate))
            .collect();
        gates
            .iter()
            .filter_map(|gate| gate.queue().holder())
            .collect()
    }

    /// A key that somebody waits for, holds or releases.
    pub(crate) fn some_key(&self) -> Option<StoredKey> {
        self.shared.gates().keys().next().cloned()
    }

    /// The number of keys that somebody waits for, holds or releases.
    pub(crate) fn len(&self) -> usize {
        self.shared.gates().len()
    }

    /// Waits until nobody waits, holds or releases any more.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.shared.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            emptied.as_mut().enable();
            if self.shared.gates().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl Shared {
    fn gates(&self) -> MutexGuard<'_, HashMap<StoredKey, Entry>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    /// Takes a place at the end of the queue.
    pub(crate) fn queue(&self) -> Ticket<'_> {
        let mut queue = self.gate.queue();
        let place = queue.next_place;
        queue.next_place += 1;
        let place = Arc::new(AtomicU64::new(place));
        if queue.waiting.is_empty() {
            queue.due = Moment::now().after(GRACE);
        }
        let waiter = Waiter {
            waker: None,
            verdict: None,
            overdue: false,
            place: Arc::clone(&place),
        };
        queue.waiting.insert(place.load(Ordering::Relaxed), waiter);
        Ticket { visit: self, place }
    }

    /// Looks without standing in the queue; `waker` is called when a late release is done.
    pub(crate) fn glance(&self, waker: &Waker) -> Glance {
        let mut queue = self.gate.queue();
        match queue.occupied_until() {
            None => Glance::Free,
            Some(_) if matches!(queue.occupant, Some(Occupant::Leaving { .. })) => {
                if !queue.bystanders.iter().any(|known| known.will_wake(waker)) {
                    queue.bystanders.push(waker.clone());
                }
                Glance::Leaving
            }
            Some(_) => Glance::Held,
        }
    }

    /// `hold` has the key from now on.
    pub(crate) fn occupy(&self, hold: &Arc<Hold>) {
        let mut queue = self.gate.queue();
        queue.occupant = Some(Occupant::Holder {
            hold: Arc::downgrade(hold),
            id: hold.id,
        });
        queue.due = Moment::NEVER;
    }

    /// The lease of hold `id` is over: nobody of this process has the key any more.
    pub(crate) fn vacate(&self, id: u64) {
        let wakers = self.gate.queue().vacate(id);
        wake(wakers);
    }

    /// Number `id` is on its way out; those who wait for the key wait until that is done, or until `until`.
    pub(crate) fn leave(self, id: u64, until: Moment) -> Leaving {
        let mut queue = self.gate.queue();
        let other =
            matches!(&queue.occupant, Some(Occupant::Holder { id: held, .. }) if *held != id);
        if !other {
            queue.occupant = Some(Occupant::Leaving { id, until });
            queue.due = Moment::NEVER;
        }
        drop(queue);
        Leaving { visit: self, id }
    }
}

impl Clone for Visit {
    fn clone(&self) -> Self {
        if let Some(entry) = self.shared.gates().get_mut(&self.gate.key) {
            entry.visits += 1;
        }
        Self {
            shared: Arc::clone(&self.shared),
            gate: Arc::clone(&self.gate),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut gates = self.shared.gates();
        let Some(entry) = gates.get_mut(&self.gate.key) else {
            return;
        };
        entry.visits -= 1;
        if entry.visits == 0 {
            gates.remove(&self.gate.key);
            // A peak of keys is no reason to keep its room for ever.
            if gates.len() < gates.capacity() / 8 {
                let room = 2 * gates.len() + 64;
                gates.shrink_to(room);
            }
        }
        let emptied = gates.is_empty();
        drop(gates);
        if emptied {
            self.shared.emptied.notify_waiters();
        }
    }
}

impl Ticket<'_> {
    /// What this waiter has to do. `waker` is called when that may have changed.
    pub(crate) fn look(&self, waker: &Waker, chain: &Chain) -> Look {
        if self.visit.shared.closed.load(Ordering::Acquire) {
            return Look::Refused(Error::ShutDown);
        }
        let now = Moment::now();
        let mut queue = self.visit.gate.queue();
        let mut wakers = Vec::new();
        let place = self.place.load(Ordering::Relaxed);
        let Some(waiter) = queue.waiting.get_mut(&place) else {
            return Look::Wait(now.after(LOOK_UP));
        };
        if let Some(error) = waiter.verdict.take() {
            return Look::Refused(error);
        }
        let known = waiter
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker));
        // Foreign code may run when a waker is dropped: outside of the lock.
        let replaced = if known {
            None
        } else {
            waiter.waker.replace(waker.clone())
        };
        if queue.is_held_by(chain) {
            drop(queue);
            drop(replaced);
            return Look::Reentrant;
        }
        let occupied = queue.occupied_until();
        if occupied.is_none() && queue.due == Moment::NEVER {
            // The lease of the holder has ended while its guard is still kept.
            queue.due = now.after(GRACE);
        }
        if queue.head() != Some(place) && now >= queue.due {
            wakers = queue.send_head_to_end(now);
        }
        let look = if queue.head() == Some(place) {
            match occupied {
                Some(until) => {
                    queue.due = Moment::NEVER;
                    match queue.occupant {
                        Some(Occupant::Leaving { .. }) => Look::Leaving(until),
                        _ => Look::Wait(until),
                    }
                }
                None => {
                    queue.due = now.after(GRACE);
                    Look::Turn
                }
            }
        } else {
            // The nearer to the head, the earlier a waiter looks after it.
            let before = queue
                .head()
                .map_or(0, |head| place.saturating_sub(head))
                .min(queue.waiting.len() as u64);
            let turns = u32::try_from(before.saturating_sub(1)).unwrap_or(u32::MAX);
            let due = queue.due.after(GRACE.saturating_mul(turns));
            Look::Wait(due.min(now.after(LOOK_UP)))
        };
        drop(queue);
        drop(replaced);
        wake(wakers);
        look
    }

    /// This waiter, if it is the head, has something to do by itself at `moment`, and is to be polled soon after.
    pub(crate) fn due(&self, moment: Moment) {
        let mut queue = self.visit.gate.queue();
        if queue.head() == Some(self.place.load(Ordering::Relaxed)) {
            queue.due = moment.after(GRACE);
        }
    }

    /// This waiter asks the store, and has its answer by `until`.
    pub(crate) fn asks(&self, until: Moment) -> Asked<'_> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let asking = Asking {
            id,
            since: Moment::now(),
            until,
        };
        let mut queue = self.visit.gate.queue();
        let wakers = queue.answered();
        queue.asking = Some(asking);
        drop(queue);
        wake(wakers);
        Asked {
            visit: self.visit,
            id,
        }
    }

    /// Until when to stay for the answer to a call that was under way at `deadline`, when the wait of this waiter was over:
    /// whether the store answers at all is news for it too. It is woken when that is known.
    pub(crate) fn stays(&self, deadline: Moment) -> Option<Moment> {
        let mut queue = self.visit.gate.queue();
        let asking = queue.asking.as_ref()?;
        if asking.since > deadline {
            return None;
        }
        // The one who asks needs its time to pass it on that there was none.
        let until = asking.until.after(GRACE * 4);
        let place = self.place.load(Ordering::Relaxed);
        queue.waiting.get_mut(&place)?.overdue = true;
        Some(until)
    }

    /// The store failed: everybody who queued behind this waiter hears of it, and asks no more.
    pub(crate) fn fail_queue(&self, error: &Error) {
        let place = self.place.load(Ordering::Relaxed);
        let mut queue = self.visit.gate.queue();
        for (_, waiter) in queue
            .waiting
            .iter_mut()
            .filter(|(other, _)| **other != place)
        {
            waiter.verdict = Some(error.clone());
        }
        let wakers = queue.everybody();
        drop(queue);
        wake(wakers);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut queue = self.visit.gate.queue();
        let ours = |asking: &mut Asking| asking.id == self.id;
        let wakers = match queue.asking.take_if(ours) {
            Some(_) => queue.answered(),
            None => Vec::new(),
        };
        drop(queue);
        wake(wakers);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queue = self.visit.gate.queue();
        let place = self.place.load(Ordering::Relaxed);
        let was_head = queue.head() == Some(place);
        let granted = matches!(queue.occupant, Some(Occupant::Holder { .. }));
        if Bug::HeadLostOnCancel.is_loose() && was_head && !granted {
            queue.due = Moment::NEVER;
            return;
        }
        // Its waker may run foreign code when it is dropped: outside of the lock.
        let gone = queue.waiting.remove(&place);
        let wakers = if was_head {
            queue.next_turn(Moment::now())
        } else {
            Vec::new()
        };
        drop(queue);
        drop(gone);
        wake(wakers);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.visit.vacate(self.id);
    }
}

impl Gate {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next_place: 0,
            occupant: None,
            due: Moment::NEVER,
            bystanders: Vec::new(),
            asking: None,
        }
    }

    fn holder(&self) -> Option<Arc<Hold>> {
        match &self.occupant {
            Some(Occupant::Holder { hold, .. }) => hold.upgrade(),
            _ => None,
        }
    }

    fn head(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }

    /// Until when somebody of this process has the key; `None` if nobody has it now.
    fn occupied_until(&self) -> Option<Moment> {
        let until = match self.occupant.as_ref()? {
            Occupant::Holder { hold, .. } => hold.upgrade()?.deadline()?,
            Occupant::Leaving { until, .. } => *until,
        };
        (!until.has_passed()).then_some(until)
    }

    fn is_held_by(&self, chain: &Chain) -> bool {
        let holder =
            matches!(&self.occupant, Some(Occupant::Holder { id, .. }) if chain.contains(*id));
        holder && self.occupied_until().is_some()
    }

    fn vacate(&mut self, leaving: u64) -> Vec<Waker> {
        let (Some(Occupant::Holder { id, .. }) | Some(Occupant::Leaving { id, .. })) =
            &self.occupant
        else {
            return Vec::new();
        };
        if *id != leaving {
            return Vec::new();
        }
        self.occupant = None;
        let mut wakers = self.next_turn(Moment::now());
        wakers.append(&mut self.bystanders);
        wakers
    }

    /// Gives the head its time, and returns whom to wake.
    fn next_turn(&mut self, now: Moment) -> Vec<Waker> {
        self.due = now.after(GRACE);
        self.waiting
            .values()
            .take(WOKEN)
            .filter_map(|waiter| waiter.waker.clone())
            .collect()
    }

    fn send_head_to_end(&mut self, now: Moment) -> Vec<Waker> {
        if Bug::HeadLostOnCancel.is_loose() {
            return Vec::new();
        }
        if let Some((_, waiter)) = self.waiting.pop_first() {
            let place = self.next_place;
            self.next_place += 1;
            waiter.place.store(place, Ordering::Relaxed);
            self.waiting.insert(place, waiter);
        }
        self.next_turn(now)
    }

    /// Those who have stayed for the answer to a call.
    fn answered(&mut self) -> Vec<Waker> {
        self.waiting
            .values_mut()
            .filter_map(|waiter| {
                let overdue = std::mem::take(&mut waiter.overdue);
                overdue.then(|| waiter.waker.clone()).flatten()
            })
            .collect()
    }

    fn everybody(&mut self) -> Vec<Waker> {
        let mut wakers: Vec<Waker> = self
            .waiting
            .values()
            .filter_map(|waiter| waiter.waker.clone())
            .collect();
        wakers.append(&mut self.bystanders);
        wakers
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

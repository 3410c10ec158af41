//! The queue of a process in front of a store: per key, first come first served, and only its head asks the store.
//!
//! Being the head is a fact in the queue; a waker is only a hint, which may be lost or wake a task that does not care.
//! A head that is not polled by its due time goes to the end. The store alone decides who holds: if two tasks believe to
//! be the head, that costs traffic, never exclusion.

mod heir;
mod line;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use self::heir::{Heir, Wish};
use self::line::{Asking, Line};
use crate::clock::Moment;
use crate::error::Error;
use crate::hold::Hold;
use crate::keeper;
use crate::key::{Hashed, StoredKey};
use crate::pass::Given;
use crate::reentry::Chain;
use crate::sabotage::Bug;

/// How long a head that was woken may take to be polled before it goes to the end of the queue.
const GRACE: Duration = Duration::from_millis(50);
/// A waiter far from the head looks up now and then, in case all before it are kept but not polled.
const LOOK_UP: Duration = Duration::from_secs(1);
/// In so many parts is the table of gates cut: two threads seldom want the same one at the same moment.
const PARTS: usize = 32;

/// The queues of one store.
pub(crate) struct Turnstile {
    parts: Box<[Arc<Part>]>,
    closed: AtomicBool,
    emptied: Arc<Notify>,
}

/// A part of the table, on cache lines of its own.
#[repr(align(128))]
struct Part {
    gates: Mutex<HashSet<Entry, Hashed>>,
    /// Changed under the lock of the gates.
    closed: AtomicBool,
    emptied: Arc<Notify>,
}

/// A gate in the table, found by its key.
struct Entry(Arc<Gate>);

/// A key that somebody waits for or holds.
struct Gate {
    key: StoredKey,
    part: Arc<Part>,
    /// At zero the gate leaves the table; raised from zero only under the lock of that.
    visits: AtomicUsize,
    queue: Mutex<Queue>,
}

/// Who has the key and who wants it.
#[derive(Default)]
struct Queue {
    occupant: Option<Occupant>,
    /// Made by the first who waits or asks: most held keys are wanted by nobody else.
    line: Option<Box<Line>>,
}

/// Who of this process has the key, so that nobody needs to ask the store.
enum Occupant {
    /// Until its lease ends, however long its guard is kept.
    Holder { hold: Weak<Hold>, id: u64 },
    /// A release, or a call that was given up, is on its way to the store; nobody waits for it beyond `until`.
    Leaving { id: u64, until: Moment },
}

/// Membership at the gate of a key; the gate is in the table while there is one.
pub(crate) struct Visit {
    gate: Arc<Gate>,
}

/// A place in the queue of a key; given back when dropped, and the next one is told.
pub(crate) struct Ticket<'a> {
    visit: &'a Visit,
    id: u64,
    /// Where the waiter stood when it was last looked for.
    place: AtomicU64,
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
    /// The key was passed on to it.
    Given(Given),
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

impl Default for Turnstile {
    fn default() -> Self {
        let emptied = Arc::new(Notify::new());
        let part = || {
            Arc::new(Part {
                gates: Mutex::default(),
                closed: AtomicBool::new(false),
                emptied: Arc::clone(&emptied),
            })
        };
        Self {
            parts: std::iter::repeat_with(part).take(PARTS).collect(),
            closed: AtomicBool::new(false),
            emptied,
        }
    }
}

impl Turnstile {
    /// Goes to the gate of `key`.
    pub(crate) fn enter(&self, key: &StoredKey) -> Result<Visit, Error> {
        let part = self.part(key);
        let mut gates = part.gates();
        if part.is_closed() {
            return Err(Error::ShutDown);
        }
        if let Some(Entry(gate)) = gates.get(key) {
            gate.visits.fetch_add(1, Ordering::Relaxed);
            let gate = Arc::clone(gate);
            return Ok(Visit { gate });
        }
        let gate = Gate::new(key, part);
        gates.insert(Entry(Arc::clone(&gate)));
        Ok(Visit { gate })
    }

    /// Goes to the gate of `key` if nobody is there.
    pub(crate) fn enter_alone(&self, key: &StoredKey) -> Result<Option<Visit>, Error> {
        let part = self.part(key);
        let mut gates = part.gates();
        if part.is_closed() {
            return Err(Error::ShutDown);
        }
        if gates.contains(key) {
            return Ok(None);
        }
        let gate = Gate::new(key, part);
        gates.insert(Entry(Arc::clone(&gate)));
        Ok(Some(Visit { gate }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether `key` is held by a body in `chain`.
    pub(crate) fn is_held_by(&self, key: &StoredKey, chain: &Chain) -> bool {
        if chain.is_empty() {
            return false;
        }
        self.gate(key)
            .is_some_and(|gate| gate.queue().is_held_by(chain))
    }

    /// What this process holds of `key`, lost or not.
    pub(crate) fn holder(&self, key: &StoredKey) -> Option<Arc<Hold>> {
        self.gate(key)?.queue().holder()
    }

    fn gate(&self, key: &StoredKey) -> Option<Arc<Gate>> {
        let part = self.part(key);
        let gates = part.gates();
        gates.get(key).map(|Entry(gate)| Arc::clone(gate))
    }

    /// Lets nobody in any more and sends away those who wait.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for part in &self.parts {
            let gates = part.gates();
            part.closed.store(true, Ordering::Release);
            drop(gates);
        }
        for gate in self.gates() {
            let wakers = gate.queue().everybody();
            wake(wakers);
        }
    }

    /// The holds of this process whose guards were not released, lost ones too.
    pub(crate) fn holders(&self) -> Vec<Arc<Hold>> {
        self.gates()
            .iter()
            .filter_map(|gate| gate.queue().holder())
            .collect()
    }

    /// A key that somebody waits for, holds or releases.
    pub(crate) fn some_key(&self) -> Option<StoredKey> {
        let key = |part: &Arc<Part>| part.gates().iter().next().map(|gate| gate.0.key.clone());
        self.parts.iter().find_map(key)
    }

    /// The number of keys that somebody waits for, holds or releases.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.gates().len()).sum()
    }

    /// Waits until nobody waits, holds or releases any more; only after it was closed.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            let mut emptied = std::pin::pin!(emptied);
            emptied.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn part(&self, key: &StoredKey) -> &Arc<Part> {
        &self.parts[key.part_of(self.parts.len())]
    }

    /// Those that are in the table now, one part after the other.
    fn gates(&self) -> Vec<Arc<Gate>> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.extend(part.gates().iter().map(|Entry(gate)| Arc::clone(gate)));
        }
        all
    }
}

impl Part {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn gates(&self) -> MutexGuard<'_, HashSet<Entry, Hashed>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Entry {}

impl Borrow<StoredKey> for Entry {
    fn borrow(&self) -> &StoredKey {
        &self.0.key
    }
}

impl Visit {
    /// Takes a place at the end of the queue.
    pub(crate) fn queue(&self, wish: Wish) -> Ticket<'_> {
        let mut queue = self.gate.queue();
        let place = queue.line().join(wish);
        Ticket {
            visit: self,
            id: place,
            place: AtomicU64::new(place),
        }
    }

    /// Looks without standing in the queue; `waker` is called when a late release is done.
    pub(crate) fn glance(&self, waker: &Waker) -> Glance {
        let mut queue = self.gate.queue();
        match queue.occupied_until(Moment::now) {
            None => Glance::Free,
            Some(_) if matches!(queue.occupant, Some(Occupant::Leaving { .. })) => {
                let bystanders = &mut queue.line().bystanders;
                if !bystanders.iter().any(|known| known.will_wake(waker)) {
                    bystanders.push(waker.clone());
                }
                Glance::Leaving
            }
            Some(_) => Glance::Held,
        }
    }

    /// `hold` has the key from now on.
    pub(crate) fn occupy(&self, hold: &Arc<Hold>) {
        let mut queue = self.gate.queue();
        let before = queue.holder();
        queue.occupant = Some(Occupant::Holder {
            hold: Arc::downgrade(hold),
            id: hold.id,
        });
        queue.due(Moment::NEVER);
        let line = queue.line.as_mut();
        let wakers = line.map_or_else(Vec::new, |line| std::mem::take(&mut line.bystanders));
        drop(queue);
        if let Some(before) = before {
            // The keeper would not find it here any more.
            keeper::enter(&before);
        }
        wake(wakers);
    }

    /// The store has the key from somebody else than this process, and that one wants it back.
    pub(crate) fn heard_of_others(&self) {
        self.gate.queue().line().run.heard(Moment::now());
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
            queue.due(Moment::NEVER);
        }
        drop(queue);
        Leaving { visit: self, id }
    }
}

impl Clone for Visit {
    fn clone(&self) -> Self {
        // Not from zero: this one is there.
        self.gate.visits.fetch_add(1, Ordering::Relaxed);
        Self {
            gate: Arc::clone(&self.gate),
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.gate.visits.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let part = &self.gate.part;
        let mut gates = part.gates();
        // Somebody may have come meanwhile, and may have left again and taken the gate with it.
        let ours = gates
            .get(&self.gate.key)
            .is_some_and(|Entry(gate)| Arc::ptr_eq(gate, &self.gate));
        if !ours || self.gate.visits.load(Ordering::Acquire) != 0 {
            return;
        }
        let gone = gates.take(&self.gate.key);
        // A peak of keys is no reason to keep its room for ever.
        if gates.len() < gates.capacity() / 8 {
            let room = 2 * gates.len() + 8;
            gates.shrink_to(room);
        }
        let emptied = gates.is_empty() && part.is_closed();
        drop(gates);
        drop(gone);
        if emptied {
            part.emptied.notify_waiters();
        }
    }
}

impl Ticket<'_> {
    /// What this waiter has to do. `waker` is called when that may have changed.
    pub(crate) fn look(&self, waker: &Waker, chain: &Chain) -> Look {
        if self.visit.gate.part.is_closed() {
            return Look::Refused(Error::ShutDown);
        }
        let now = Moment::now();
        let mut queue = self.visit.gate.queue();
        let mut wakers = Vec::new();
        let occupied = queue.occupied_until(|| now);
        let reentrant = queue.is_held_by(chain);
        let leaving = matches!(queue.occupant, Some(Occupant::Leaving { .. }));
        let line = queue.line();
        let Some(waiter) = line.find(self) else {
            return Look::Wait(now.after(LOOK_UP));
        };
        if let Some(given) = waiter.given.take() {
            return Look::Given(given.taken());
        }
        if let Some(error) = waiter.verdict.take() {
            return Look::Refused(error);
        }
        waiter.looked = Some(now);
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
        if reentrant {
            drop(queue);
            drop(replaced);
            return Look::Reentrant;
        }
        if occupied.is_none() && line.due == Moment::NEVER {
            // The lease of the holder has ended while its guard is still kept.
            line.due = now.after(GRACE);
        }
        if !line.is_head(self) && now >= line.due {
            wakers = line.send_head_to_end(now);
        }
        let look = if line.is_head(self) {
            match occupied {
                Some(until) => {
                    line.due = Moment::NEVER;
                    if leaving {
                        Look::Leaving(until)
                    } else {
                        Look::Wait(until)
                    }
                }
                None => match line.run.rests_until(now) {
                    Some(until) => {
                        line.due = until.after(GRACE);
                        Look::Leaving(until)
                    }
                    None => {
                        line.due = now.after(GRACE);
                        Look::Turn
                    }
                },
            }
        } else {
            // The nearer to the head, the earlier a waiter looks after it.
            let turns = u32::try_from(line.before(self).saturating_sub(1)).unwrap_or(u32::MAX);
            let due = line.due.after(GRACE.saturating_mul(turns));
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
        if queue.line().is_head(self) {
            queue.due(moment.after(GRACE));
        }
    }

    /// This waiter asks the store, and has its answer by `until`.
    pub(crate) fn asks(&self, until: Moment) -> Asked<'_> {
        let mut queue = self.visit.gate.queue();
        let line = queue.line();
        let wakers = line.answered();
        let id = line.next_call();
        line.asking = Some(Asking {
            id,
            since: Moment::now(),
            until,
        });
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
        let line = queue.line();
        let asking = line.asking.as_ref()?;
        if asking.since > deadline {
            return None;
        }
        // The one who asks needs its time to pass it on that there was none.
        let until = asking.until.after(GRACE * 4);
        line.find(self)?.overdue = true;
        Some(until)
    }

    /// The store failed: everybody who queued behind this waiter hears of it, and asks no more.
    pub(crate) fn fail_queue(&self, error: &Error) {
        let mut queue = self.visit.gate.queue();
        queue.line().fail_others(self, error);
        let wakers = queue.everybody();
        drop(queue);
        wake(wakers);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut queue = self.visit.gate.queue();
        let ours = |asking: &mut Asking| asking.id == self.id;
        let line = queue.line();
        let wakers = match line.asking.take_if(ours) {
            Some(_) => line.answered(),
            None => Vec::new(),
        };
        drop(queue);
        wake(wakers);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut queue = self.visit.gate.queue();
        let granted = matches!(queue.occupant, Some(Occupant::Holder { .. }));
        let until = queue.occupied_until(Moment::now).filter(|_| granted);
        let line = queue.line();
        let was_head = line.is_head(self);
        if Bug::HeadLostOnCancel.is_loose() && was_head && !granted {
            line.due = Moment::NEVER;
            return;
        }
        // Its waker may run foreign code when it is dropped: outside of the lock.
        let gone = line.leave(self);
        let now = Moment::now();
        let wakers = if !was_head {
            Vec::new()
        } else if until.is_some_and(|until| now.after(LOOK_UP) < until) {
            // The next one finds out by itself that it is the head, long before it has anything to do.
            line.due = Moment::NEVER;
            Vec::new()
        } else {
            line.next_turn(now)
        };
        let idle = queue.without_idle_line();
        drop(queue);
        drop((gone, idle));
        wake(wakers);
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.visit.vacate(self.id);
    }
}

impl Gate {
    /// With the first visit.
    fn new(key: &StoredKey, part: &Arc<Part>) -> Arc<Self> {
        Arc::new(Self {
            key: key.clone(),
            part: Arc::clone(part),
            visits: AtomicUsize::new(1),
            queue: Mutex::default(),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn line(&mut self) -> &mut Line {
        self.line.get_or_insert_default()
    }

    /// The line, to be dropped outside of the lock, if nobody stands in it any more.
    fn without_idle_line(&mut self) -> Option<Box<Line>> {
        self.line.take_if(|line| line.is_idle())
    }

    /// When the head must have been polled.
    fn due(&mut self, due: Moment) {
        if let Some(line) = &mut self.line {
            line.due = due;
        }
    }

    fn holder(&self) -> Option<Arc<Hold>> {
        match &self.occupant {
            Some(Occupant::Holder { hold, .. }) => hold.upgrade(),
            _ => None,
        }
    }

    /// Until when somebody of this process has the key; `None` if nobody has it `now`.
    fn occupied_until(&self, now: impl FnOnce() -> Moment) -> Option<Moment> {
        let until = match self.occupant.as_ref()? {
            Occupant::Holder { hold, .. } => hold.upgrade()?.deadline()?,
            Occupant::Leaving { until, .. } => *until,
        };
        (now() < until).then_some(until)
    }

    fn is_held_by(&self, chain: &Chain) -> bool {
        let holder =
            matches!(&self.occupant, Some(Occupant::Holder { id, .. }) if chain.contains(*id));
        holder && self.occupied_until(Moment::now).is_some()
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
        let Some(line) = &mut self.line else {
            return Vec::new();
        };
        let now = Moment::now();
        line.run.ends(now);
        let mut wakers = line.next_turn(now);
        wakers.append(&mut line.bystanders);
        wakers
    }

    fn everybody(&mut self) -> Vec<Waker> {
        self.line
            .as_mut()
            .map_or_else(Vec::new, |line| line.everybody())
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_stays_while_it_is_visited_and_no_longer() -> Result<(), Error> {
        let turnstile = Turnstile::default();
        let keys: Vec<_> = ('a'..='e')
            .map(|key| StoredKey::new("", &key.to_string()))
            .collect::<Result<_, _>>()?;
        let held = turnstile.enter(&keys[0])?;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for key in keys.iter().cycle().take(20_000) {
                        let Ok(visit) = turnstile.enter(key) else {
                            panic!("it is open")
                        };
                        let other = visit.clone();
                        drop(visit);
                        // Whoever is at a gate is at the one that the others find.
                        let found = turnstile.enter(key);
                        assert!(found.is_ok_and(|found| Arc::ptr_eq(&found.gate, &other.gate)));
                    }
                });
            }
        });
        assert_eq!(turnstile.len(), 1);
        drop(held);
        assert_eq!(turnstile.len(), 0);
        turnstile.close();
        assert!(turnstile.enter(&keys[0]).is_err());
        Ok(())
    }
}

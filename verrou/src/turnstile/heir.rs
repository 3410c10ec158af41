//! To whom a key goes on inside of this process, how often in a row, and what becomes of a grant that its heir does not take.
//!
//! A release and the grant of the one at the head are one call to the store. Nobody who waits elsewhere hears of it, so a
//! process passes a key on only so many times before it frees it; and then it rests where others are known to want the key.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use super::line::Line;
use super::{GRACE, Gate, Leaving, Occupant, wake};
use crate::clock::{self, Moment};
use crate::keeper;
use crate::pass::Given;

/// So many grants in a row, then the key is free for a moment.
const MOST_IN_A_ROW: u32 = 16;
/// And for no longer than this, or what so many calls take if that is longer: long bodies are no reason to keep others away.
const SPAN: Duration = Duration::from_millis(30);
/// How long the key is left to those elsewhere, or two calls if that is longer.
const REST: Duration = Duration::from_micros(1500);
/// How often a process rests that has heard of nobody elsewhere: they may be too slow to be noticed.
const REST_EVERY: Duration = Duration::from_millis(50);
/// How long it is known that somebody elsewhere wants the key.
const KNOWN: Duration = Duration::from_secs(1);
/// A waiter is polled once a second; one that was not for this long is kept without being polled.
const POLLED_WITHIN: Duration = Duration::from_millis(1200);

/// What a waiter wants.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) ttl: Duration,
    /// When its wait is over.
    pub(crate) deadline: Moment,
    pub(crate) label: &'static str,
}

/// The waiter to whom a key goes on.
pub(crate) struct Heir {
    gate: Arc<Gate>,
    waiter: u64,
    /// Whose place it is to get.
    leaving: u64,
    pub(crate) wish: Wish,
}

/// The grants of a process in a row.
#[derive(Default)]
pub(super) struct Run {
    passes: u32,
    began: Option<Moment>,
    /// How long the last pass took.
    round_trip: Duration,
    /// When the store last said that somebody else holds the key.
    heard: Option<Moment>,
    /// What to leave to others once the key is free.
    rest: Option<Duration>,
    resting_until: Option<Moment>,
    /// When to rest even though nobody is known elsewhere.
    rest_at: Option<Moment>,
}

impl Run {
    /// Whether the key, held since `granted`, may be passed on once more.
    fn goes_on(&mut self, now: Moment, granted: Moment, has_io: bool) -> bool {
        let known = self.is_known(now);
        if known && !has_io {
            // A rest is longer than thousands of grants in memory, and a hint is as fast as a pass.
            return false;
        }
        let span = SPAN.max(self.round_trip * 2 * MOST_IN_A_ROW);
        let began = *self.began.get_or_insert(granted);
        if self.passes < MOST_IN_A_ROW && now < began.after(span) {
            self.passes += 1;
            return true;
        }
        let rest = REST.max(self.round_trip * 2);
        let rests_at = *self.rest_at.get_or_insert(now.after(REST_EVERY));
        if self.passes > 0 && (known || rests_at <= now) {
            self.rest = Some(rest);
            self.rest_at = Some(now.after(REST_EVERY.max(rest * 32)));
        }
        false
    }

    fn is_known(&self, now: Moment) -> bool {
        self.heard.is_some_and(|heard| now < heard.after(KNOWN))
    }

    /// The store has the key from somebody elsewhere.
    pub(super) fn heard(&mut self, now: Moment) {
        self.heard = Some(now);
    }

    /// The key is free at the store.
    pub(super) fn ends(&mut self, now: Moment) {
        self.passes = 0;
        self.began = None;
        self.resting_until = self.rest.take().map(|rest| now.after(rest));
    }

    /// Until when the key is left to others.
    pub(super) fn rests_until(&mut self, now: Moment) -> Option<Moment> {
        self.resting_until = self.resting_until.filter(|until| now < *until);
        self.resting_until
    }

    /// Nothing of it is worth remembering.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        let rests = self.rest_at.is_some_and(|at| now < at.after(REST_EVERY));
        self.passes == 0 && self.resting_until.is_none() && !self.is_known(now) && !rests
    }
}

/// What was granted to a waiter and not taken yet.
pub(super) struct Waiting {
    given: Given,
    until: Moment,
}

impl Waiting {
    pub(super) fn taken(self) -> Given {
        self.given
    }
}

impl Leaving {
    /// To whom the key, held since `granted`, goes with its release; `None` if it is to be freed.
    pub(crate) fn heir(&self, granted: Moment, has_io: bool) -> Option<Heir> {
        let gate = &self.visit.gate;
        if gate.part.is_closed() {
            return None;
        }
        let now = Moment::now();
        let mut queue = gate.queue();
        let ours = matches!(&queue.occupant, Some(Occupant::Leaving { id, .. }) if *id == self.id);
        let line = queue.line.as_mut().filter(|_| ours)?;
        let (waiter, wish) = line.heir(now)?;
        line.run.goes_on(now, granted, has_io).then(|| Heir {
            gate: Arc::clone(gate),
            waiter,
            leaving: self.id,
            wish,
        })
    }
}

impl Heir {
    /// Puts what it was given into its place and wakes it; gives it back if the heir has gone.
    pub(crate) fn give(self, given: Given) -> Result<(), Given> {
        if self.gate.part.is_closed() {
            return Err(given);
        }
        let now = Moment::now();
        let mut queue = self.gate.queue();
        let occupant = match &mut queue.occupant {
            Some(Occupant::Leaving { id, until }) if *id == self.leaving && now < *until => until,
            _ => return Err(given),
        };
        // If it has to be taken back, its release is waited for as any other.
        let patience = now.after(GRACE).after(given.patience());
        *occupant = patience.max(*occupant);
        let Some(line) = &mut queue.line else {
            return Err(given);
        };
        line.run.round_trip = given.round_trip(now);
        let waiting = Waiting {
            given,
            until: now.after(GRACE),
        };
        let waker = line
            .give(self.waiter, waiting)
            .map_err(|waiting| waiting.given)?;
        line.due = Moment::NEVER;
        line.gives = true;
        let watched = std::mem::replace(&mut line.watched, true);
        drop(queue);
        if !watched {
            keeper::submit(watch(Arc::downgrade(&self.gate)));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

/// Takes back what is not taken in time, as long as something is given now and then: a thread is woken for a run of
/// grants, and not for each.
async fn watch(gate: Weak<Gate>) {
    let mut next = Moment::now().after(GRACE);
    loop {
        clock::sleep_until(next).await;
        let Some(gate) = gate.upgrade() else { return };
        let now = Moment::now();
        let watched = gate.queue().line.as_mut().map(|line| line.watch(now));
        let Some((given, wakers, again)) = watched else {
            return;
        };
        wake(wakers);
        drop(given);
        match again {
            Some(again) => next = again,
            None => return,
        }
    }
}

impl Line {
    /// The head, if it is there to take what it gets.
    fn heir(&self, now: Moment) -> Option<(u64, Wish)> {
        let head = self.waiting.front()?;
        let there = head.waker.is_some()
            && head.verdict.is_none()
            && head.given.is_none()
            && self.asking.is_none()
            && head
                .looked
                .is_some_and(|looked| now < looked.after(POLLED_WITHIN))
            && now < head.wish.deadline;
        there.then_some((head.id, head.wish))
    }

    fn give(&mut self, waiter: u64, waiting: Waiting) -> Result<Option<Waker>, Waiting> {
        let found = self.waiting.iter_mut().find(|known| known.id == waiter);
        match found.filter(|heir| heir.verdict.is_none()) {
            Some(heir) => {
                heir.given = Some(waiting);
                Ok(heir.waker.clone())
            }
            None => Err(waiting),
        }
    }

    /// What was not taken in time, whom to wake for it, and when to look again; `None` when there is nothing to look for.
    fn watch(&mut self, now: Moment) -> (Option<Waiting>, Vec<Waker>, Option<Moment>) {
        let gives = std::mem::take(&mut self.gives);
        let index = self.waiting.iter().position(|known| known.given.is_some());
        match index.and_then(|index| self.waiting.get_mut(index)) {
            Some(heir) => match heir.given.take_if(|given| given.until <= now) {
                Some(kept) => {
                    // Not polled: it gets nothing more until it looks.
                    heir.looked = None;
                    let wakers = match index {
                        Some(0) => self.send_head_to_end(now),
                        _ => Vec::new(),
                    };
                    (Some(kept), wakers, Some(now.after(GRACE)))
                }
                None => (
                    None,
                    Vec::new(),
                    heir.given.as_ref().map(|given| given.until),
                ),
            },
            None => {
                self.watched = gives;
                (None, Vec::new(), gives.then(|| now.after(GRACE)))
            }
        }
    }
}

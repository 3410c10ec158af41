//! Those who wait for one key, in their order.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::Waker;

use super::heir::{Run, Waiting, Wish};
use super::{GRACE, Ticket};
use crate::clock::Moment;
use crate::error::Error;
use crate::sabotage::Bug;

/// How many waiters a change wakes: the head, and the next ones to watch over it.
const WOKEN: usize = 3;

/// The line in front of a gate. Nobody stands in it for long when the key is free, so it lives only while somebody does.
pub(super) struct Line {
    /// By their places, which rise: who comes, and who is sent to the end, gets the next one.
    pub(super) waiting: VecDeque<Waiter>,
    next_place: u64,
    next_call: u64,
    /// When the head must have been polled; never while it has nothing to do.
    pub(super) due: Moment,
    /// Those who wait for a late release without standing in the queue.
    pub(super) bystanders: Vec<Waker>,
    /// The call to the store that is under way.
    pub(super) asking: Option<Asking>,
    /// How often in a row the key was passed on.
    pub(super) run: Run,
    /// Somebody takes back what is not taken in time.
    pub(super) watched: bool,
    /// Something was given since that one last looked.
    pub(super) gives: bool,
}

/// A call of the head.
pub(super) struct Asking {
    pub(super) id: u64,
    pub(super) since: Moment,
    pub(super) until: Moment,
}

pub(super) struct Waiter {
    /// The first place it had.
    pub(super) id: u64,
    place: u64,
    pub(super) wish: Wish,
    /// When it was last polled.
    pub(super) looked: Option<Moment>,
    /// The key is its own, as soon as it looks.
    pub(super) given: Option<Waiting>,
    pub(super) waker: Option<Waker>,
    pub(super) verdict: Option<Error>,
    /// Its wait is over, and it stays for the answer to the call that is under way.
    pub(super) overdue: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            next_place: 0,
            next_call: 0,
            due: Moment::NEVER,
            bystanders: Vec::new(),
            asking: None,
            run: Run::default(),
            watched: false,
            gives: false,
        }
    }
}

impl Line {
    /// A new waiter at the end; its place.
    pub(super) fn join(&mut self, wish: Wish) -> u64 {
        if self.waiting.is_empty() {
            self.due = Moment::now().after(GRACE);
        }
        let place = self.place();
        self.waiting.push_back(Waiter {
            id: place,
            place,
            wish,
            looked: None,
            given: None,
            waker: None,
            verdict: None,
            overdue: false,
        });
        place
    }

    /// The waiter of `ticket` goes.
    pub(super) fn leave(&mut self, ticket: &Ticket<'_>) -> Option<Waiter> {
        let index = self.index(ticket)?;
        self.waiting.remove(index)
    }

    /// Nobody waits, looks on or asks, and nothing is to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.bystanders.is_empty()
            && self.asking.is_none()
            && !self.watched
            && self.run.is_over(Moment::now())
    }

    pub(super) fn is_head(&self, ticket: &Ticket<'_>) -> bool {
        self.waiting
            .front()
            .is_some_and(|waiter| waiter.id == ticket.id)
    }

    /// How many stand before the waiter of `ticket`.
    pub(super) fn before(&self, ticket: &Ticket<'_>) -> usize {
        self.index(ticket).unwrap_or(0)
    }

    pub(super) fn find(&mut self, ticket: &Ticket<'_>) -> Option<&mut Waiter> {
        let index = self.index(ticket)?;
        self.waiting.get_mut(index)
    }

    fn index(&self, ticket: &Ticket<'_>) -> Option<usize> {
        let place = ticket.place.load(Ordering::Relaxed);
        let found = self
            .waiting
            .binary_search_by_key(&place, |waiter| waiter.place);
        found.ok().or_else(|| {
            // It was sent to the end meanwhile.
            let index = self
                .waiting
                .iter()
                .position(|waiter| waiter.id == ticket.id)?;
            let place = self.waiting.get(index)?.place;
            ticket.place.store(place, Ordering::Relaxed);
            Some(index)
        })
    }

    fn place(&mut self) -> u64 {
        let place = self.next_place;
        self.next_place += 1;
        place
    }

    /// A number for a call.
    pub(super) fn next_call(&mut self) -> u64 {
        self.next_call += 1;
        self.next_call
    }

    /// Gives the head its time, and returns whom to wake.
    pub(super) fn next_turn(&mut self, now: Moment) -> Vec<Waker> {
        self.due = now.after(GRACE);
        self.waiting
            .iter()
            .take(WOKEN)
            .filter_map(|waiter| waiter.waker.clone())
            .collect()
    }

    pub(super) fn send_head_to_end(&mut self, now: Moment) -> Vec<Waker> {
        if Bug::HeadLostOnCancel.is_loose() {
            return Vec::new();
        }
        if let Some(mut waiter) = self.waiting.pop_front() {
            waiter.place = self.place();
            self.waiting.push_back(waiter);
        }
        self.next_turn(now)
    }

    /// Those who have stayed for the answer to a call.
    pub(super) fn answered(&mut self) -> Vec<Waker> {
        self.waiting
            .iter_mut()
            .filter_map(|waiter| {
                let overdue = std::mem::take(&mut waiter.overdue);
                overdue.then(|| waiter.waker.clone()).flatten()
            })
            .collect()
    }

    /// Everybody but the waiter of `ticket` hears of `error`.
    pub(super) fn fail_others(&mut self, ticket: &Ticket<'_>, error: &Error) {
        for waiter in &mut self.waiting {
            if waiter.id != ticket.id {
                waiter.verdict = Some(error.clone());
            }
        }
    }

    pub(super) fn everybody(&mut self) -> Vec<Waker> {
        let mut wakers: Vec<Waker> = self
            .waiting
            .iter()
            .filter_map(|waiter| waiter.waker.clone())
            .collect();
        wakers.append(&mut self.bystanders);
        wakers
    }
}

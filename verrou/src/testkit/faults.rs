//! What a [`FaultStore`](super::FaultStore) does to the calls that go through it, and what it has seen of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::store::StoredKey;

/// A call of the store contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`LockStore::acquire`](crate::LockStore::acquire).
    Acquire,
    /// A renewal, alone or in a batch.
    Renew,
    /// A whole batch of [`LockStore::renew_many`](crate::LockStore::renew_many), besides the renewals in it.
    RenewMany,
    /// [`LockStore::adopt`](crate::LockStore::adopt).
    Adopt,
    /// [`LockStore::release`](crate::LockStore::release).
    Release,
    /// [`LockStore::pass`](crate::LockStore::pass).
    Pass,
    /// [`LockStore::inspect`](crate::LockStore::inspect).
    Inspect,
    /// [`LockStore::force_release`](crate::LockStore::force_release).
    ForceRelease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    FailBefore,
    FailLost,
    FailAfter,
    DelayBefore(Duration),
    DelayAfter(Duration),
    HangUnsent,
    HangBefore,
    HangAfter,
}

/// Which calls fail, and how: made by [`FaultStore::on`](super::FaultStore::on).
///
/// First which of the calls, every one unless told otherwise: [`times`](Self::times), [`after`](Self::after),
/// [`on_key`](Self::on_key), [`when`](Self::when). Then how, which puts the rule into force:
///
/// | | sent | done by the store | answer |
/// |---|---|---|---|
/// | [`fail_before`](Self::fail_before) | no | no | `NotApplied` |
/// | [`fail_lost`](Self::fail_lost) | yes | no | `Unknown` |
/// | [`fail_after`](Self::fail_after) | yes | yes | `Unknown` |
/// | [`delay_before`](Self::delay_before) | yes | late | the store's, late |
/// | [`delay_after`](Self::delay_after) | yes | at once | the store's, late |
/// | [`hang_unsent`](Self::hang_unsent) | no | after `let_go` | none until `let_go` |
/// | [`hang_before`](Self::hang_before) | yes | after `let_go` | none until `let_go` |
/// | [`hang_after`](Self::hang_after) | yes | at once | none until `let_go` |
///
/// The first rule that fits a call is the one that applies.
#[must_use = "a rule is in force when it was told how the calls fail"]
pub struct Rule {
    plan: Arc<Plan>,
    op: Op,
    skip: usize,
    times: Option<usize>,
    #[expect(clippy::type_complexity, reason = "named by the method that takes it")]
    fits: Option<Box<dyn Fn(&StoredKey) -> bool + Send + Sync>>,
}

impl Rule {
    pub(super) fn new(plan: Arc<Plan>, op: Op) -> Self {
        Self {
            plan,
            op,
            skip: 0,
            times: None,
            fits: None,
        }
    }

    /// Only the next `times` calls.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Only after `calls` more calls have gone through.
    pub fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }

    /// Only calls for `key`, in whatever namespace.
    pub fn on_key(self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.when(move |stored| stored.key() == key)
    }

    /// Only calls for keys that `fits` says yes to; for a batch, if one of its keys does.
    pub fn when(mut self, fits: impl Fn(&StoredKey) -> bool + Send + Sync + 'static) -> Self {
        self.fits = Some(Box::new(fits));
        self
    }

    /// The request does not go out: the store did nothing, and everybody knows.
    pub fn fail_before(self) {
        self.enforce(Fault::FailBefore);
    }

    /// The request is lost on its way: the store did nothing, and nobody knows.
    pub fn fail_lost(self) {
        self.enforce(Fault::FailLost);
    }

    /// The answer is lost on its way: the store did it, and nobody knows.
    pub fn fail_after(self) {
        self.enforce(Fault::FailAfter);
    }

    /// The request takes `delay` to the store.
    pub fn delay_before(self, delay: Duration) {
        self.enforce(Fault::DelayBefore(delay));
    }

    /// The answer takes `delay` from the store.
    pub fn delay_after(self, delay: Duration) {
        self.enforce(Fault::DelayAfter(delay));
    }

    /// There is no connection to send the request on, until [`let_go`](super::FaultStore::let_go).
    pub fn hang_unsent(self) {
        self.enforce(Fault::HangUnsent);
    }

    /// The store stands still with the request in its inbox, until [`let_go`](super::FaultStore::let_go).
    pub fn hang_before(self) {
        self.enforce(Fault::HangBefore);
    }

    /// The store did it, and its answer is held back until [`let_go`](super::FaultStore::let_go).
    pub fn hang_after(self) {
        self.enforce(Fault::HangAfter);
    }

    fn enforce(self, fault: Fault) {
        let plan = Arc::clone(&self.plan);
        plan.change(|state| state.rules.push((self, fault)));
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("op", &self.op)
            .field("skip", &self.skip)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// Shared by a store, its clones and its siblings.
pub(super) struct Plan {
    state: Mutex<State>,
    /// Counts the changes of `state`.
    pub(super) changed: watch::Sender<u64>,
    /// Counts the times that hanging calls were let go.
    gate: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct State {
    rules: Vec<(Rule, Fault)>,
    calls: HashMap<Op, usize>,
    flights: HashMap<(Op, StoredKey), Flights>,
    hints_lost: bool,
}

#[derive(Clone, Copy, Default)]
struct Flights {
    now: usize,
    most: usize,
}

impl Plan {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            gate: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A rule's predicate is the user's code, and may panic before anything was changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The fault for a call of `op`; uses up one of a rule's times.
    pub(super) fn fault(&self, op: Op, keys: &[&StoredKey]) -> Option<Fault> {
        let mut state = self.state();
        for (rule, fault) in &mut state.rules {
            let fits = match &rule.fits {
                Some(fits) => keys.iter().any(|key| fits(key)),
                None => true,
            };
            if rule.op != op || !fits || rule.times == Some(0) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            return Some(*fault);
        }
        None
    }

    pub(super) fn count(&self, op: Op) {
        self.change(|state| *state.calls.entry(op).or_default() += 1);
    }

    /// Counts a call, and that it is in flight until what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>, op: Op, key: &StoredKey) -> InFlight {
        self.change(|state| {
            *state.calls.entry(op).or_default() += 1;
            let flights = state.flights.entry((op, key.clone())).or_default();
            flights.now += 1;
            flights.most = flights.most.max(flights.now);
        });
        InFlight {
            plan: Arc::clone(self),
            op,
            key: key.clone(),
        }
    }

    pub(super) fn calls(&self, op: Op) -> usize {
        self.state().calls.get(&op).copied().unwrap_or_default()
    }

    pub(super) fn in_flight(&self, op: Op) -> usize {
        let state = self.state();
        let of_op = state.flights.iter().filter(|((of, _), _)| *of == op);
        of_op.map(|(_, flights)| flights.now).sum()
    }

    pub(super) fn most_in_flight(&self, op: Op, key: &str) -> usize {
        let state = self.state();
        state
            .flights
            .iter()
            .filter(|((of, stored), _)| *of == op && stored.key() == key)
            .map(|(_, flights)| flights.most)
            .max()
            .unwrap_or_default()
    }

    pub(super) fn clear(&self) {
        self.change(|state| state.rules.clear());
    }

    pub(super) fn lose_hints(&self) {
        self.change(|state| state.hints_lost = true);
    }

    pub(super) fn hints_lost(&self) -> bool {
        self.state().hints_lost
    }

    pub(super) fn let_go(&self) {
        self.gate.send_modify(|times| *times += 1);
    }

    /// Waits for the next [`let_go`](Self::let_go). Needs no runtime.
    pub(super) async fn hang(&self) {
        let mut gate = self.gate.subscribe();
        if gate.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Plan")
            .field("rules", &state.rules)
            .field("calls", &state.calls)
            .finish_non_exhaustive()
    }
}

/// A call that has begun and was neither answered nor dropped.
pub(super) struct InFlight {
    plan: Arc<Plan>,
    op: Op,
    key: StoredKey,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.plan.change(|state| {
            if let Some(flights) = state.flights.get_mut(&(self.op, self.key.clone())) {
                flights.now -= 1;
            }
        });
    }
}

/// Waits by a thread and not by a timer of the runtime: a call that was handed to the keeper may outlive the runtime on
/// which it began.
pub(super) async fn pause(length: Duration) {
    let (over, wait) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        std::thread::sleep(length);
        drop(over);
    });
    // Ends with the error that the sender is gone.
    let _ = wait.await;
}

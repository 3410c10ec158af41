//! Counters, histograms and gauges, through the `metrics` crate.
//!
//! The handles of a series are made once for each store and template, and kept. Without a recorder there are none: what
//! is left is one look at whether there is one.

mod calls;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};

pub(crate) use self::calls::metered;
use crate::hold::Hold;
use crate::registered::Registered;

const ACQUIRES: &str = "verrou_acquires_total";
const WAIT: &str = "verrou_wait_seconds";
const HOLD: &str = "verrou_hold_seconds";
const WAITING: &str = "verrou_waiting_acquires";
const HELD: &str = "verrou_held_keys";
const RENEWALS: &str = "verrou_renewals_total";
const LOST: &str = "verrou_lost_total";
const LATE_RELEASES: &str = "verrou_late_releases_total";
const STORE_CALLS: &str = "verrou_store_call_seconds";
const DOUBTS: &str = "verrou_doubts_total";

/// How an acquire may end.
const ACQUIRED: [&str; 7] = [
    "granted",
    "restored",
    "busy",
    "timeout",
    "store_error",
    "refused",
    "cancelled",
];
/// What may come of a renewal.
const RENEWED: [&str; 4] = ["confirmed", "failed", "not_held", "too_late"];
/// What may come of a release that nobody waits for.
const RELEASED: [&str; 2] = ["done", "gave_up"];

/// The series of a store, each made when it is first of use.
#[derive(Default)]
pub(crate) struct Meters {
    templates: Cache<&'static str, Arc<Meter>>,
}

impl Meters {
    /// An acquire that waits from now on.
    pub(crate) fn waiter(&self, registered: &Registered, template: &'static str) -> Waiters {
        let meter = self.of(registered, template);
        if let Some(meter) = &meter {
            meter.waiting.increment(1);
        }
        Waiters(meter)
    }

    /// A key that is held from now on.
    pub(crate) fn held(&self, registered: &Registered, template: &'static str) -> Held {
        let meter = self.of(registered, template);
        if let Some(meter) = &meter {
            meter.held.increment(1);
        }
        Held {
            meter,
            ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn acquired(&self, hold: &Hold, outcome: &'static str) {
        if let Some(meter) = self.of(&hold.registered, hold.terms.label) {
            count(&meter.acquires, &ACQUIRED, outcome);
        }
    }

    pub(crate) fn lost(&self, hold: &Hold) {
        if let Some(meter) = self.of(&hold.registered, hold.terms.label) {
            meter.lost.increment(1);
        }
    }

    pub(crate) fn renewal(&self, hold: &Hold, outcome: &'static str) {
        if let Some(meter) = self.of(&hold.registered, hold.terms.label) {
            count(&meter.renewals, &RENEWED, outcome);
        }
    }

    pub(crate) fn late_release(
        &self,
        registered: &Registered,
        template: &'static str,
        outcome: &'static str,
    ) {
        if let Some(meter) = self.of(registered, template) {
            count(&meter.late_releases, &RELEASED, outcome);
        }
    }

    fn of(&self, registered: &Registered, template: &'static str) -> Option<Arc<Meter>> {
        self.templates.get(template, |recorder| {
            let made = Meter::new(recorder, &registered.name, template);
            Arc::new(made)
        })
    }
}

/// The series of one store and template.
struct Meter {
    acquires: [Counter; ACQUIRED.len()],
    wait: Histogram,
    hold: Histogram,
    waiting: Gauge,
    held: Gauge,
    renewals: [Counter; RENEWED.len()],
    lost: Counter,
    late_releases: [Counter; RELEASED.len()],
}

impl Meter {
    fn new(recorder: &dyn Recorder, store: &str, template: &'static str) -> Self {
        describe(recorder);
        let labels = || {
            vec![
                Label::new("store", store.to_owned()),
                Label::new("template", template),
            ]
        };
        let key = |name: &'static str| Key::from_parts(name, labels());
        let counter = |name: &'static str, outcome: &'static str| {
            let mut labels = labels();
            labels.push(Label::new("outcome", outcome));
            recorder.register_counter(&Key::from_parts(name, labels), &ABOUT)
        };
        Self {
            acquires: ACQUIRED.map(|outcome| counter(ACQUIRES, outcome)),
            wait: recorder.register_histogram(&key(WAIT), &ABOUT),
            hold: recorder.register_histogram(&key(HOLD), &ABOUT),
            waiting: recorder.register_gauge(&key(WAITING), &ABOUT),
            held: recorder.register_gauge(&key(HELD), &ABOUT),
            renewals: RENEWED.map(|outcome| counter(RENEWALS, outcome)),
            lost: recorder.register_counter(&key(LOST), &ABOUT),
            late_releases: RELEASED.map(|outcome| counter(LATE_RELEASES, outcome)),
        }
    }
}

/// An acquire that is counted as waiting until it has ended, or is dropped.
pub(crate) struct Waiters(Option<Arc<Meter>>);

impl Waiters {
    pub(crate) fn ended(
        &mut self,
        outcome: &'static str,
        waited: impl FnOnce() -> Option<Duration>,
    ) {
        if let Some(meter) = self.0.take() {
            meter.waiting.decrement(1);
            count(&meter.acquires, &ACQUIRED, outcome);
            if let Some(waited) = waited() {
                meter.wait.record(waited);
            }
        }
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        self.ended("cancelled", || None);
    }
}

/// A key that is counted as held until its lease has ended for its holder.
pub(crate) struct Held {
    meter: Option<Arc<Meter>>,
    ended: AtomicBool,
}

impl Held {
    pub(crate) fn ended(&self, held: impl FnOnce() -> Duration) {
        if let Some(meter) = &self.meter
            && !self.ended.swap(true, Ordering::Relaxed)
        {
            meter.held.decrement(1);
            meter.hold.record(held());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter
            && !*self.ended.get_mut()
        {
            meter.held.decrement(1);
        }
    }
}

/// A doubt of `store`, which may not be one of an instance yet.
pub(crate) fn doubt(store: &str, doubt: &'static str) {
    metrics::counter!(DOUBTS, "store" => store.to_owned(), "doubt" => doubt).increment(1);
}

fn count(counters: &[Counter], outcomes: &[&str], outcome: &str) {
    let place = outcomes.iter().position(|known| *known == outcome);
    if let Some(counter) = place.and_then(|place| counters.get(place)) {
        counter.increment(1);
    }
}

/// What belongs to the recorder that there is, by `K`.
struct Cache<K, V>(RwLock<Kept<K, V>>);

struct Kept<K, V> {
    /// Whose they are: a recorder may be set after the first lock was taken.
    recorder: usize,
    made: HashMap<K, V>,
}

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(RwLock::new(Kept {
            recorder: 0,
            made: HashMap::new(),
        }))
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    /// `None` if there is no recorder.
    fn get(&self, key: K, make: impl FnOnce(&dyn Recorder) -> V) -> Option<V> {
        metrics::with_recorder(|recorder| {
            let address = address_of(recorder)?;
            {
                let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
                if kept.recorder == address
                    && let Some(known) = kept.made.get(&key)
                {
                    return Some(known.clone());
                }
            }
            // The recorder is foreign code: outside of the lock. Whoever makes it twice gets the same series.
            let made = make(recorder);
            let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if kept.recorder != address {
                kept.recorder = address;
                kept.made.clear();
            }
            Some(kept.made.entry(key).or_insert(made).clone())
        })
    }
}

/// Tells recorders apart; `None` for the one that stands for nobody.
///
/// That one has no size, and a place of its own as a static. A recorder without a size that was set as the global one has
/// no place at all. So at the worst a local recorder without any state, in a test, is taken for nobody.
fn address_of(recorder: &dyn Recorder) -> Option<usize> {
    let address = std::ptr::from_ref(recorder).cast::<()>().addr();
    let is_nobody = size_of_val(recorder) == 0 && address > align_of_val(recorder);
    (!is_nobody).then_some(address)
}

static ABOUT: Metadata<'static> = Metadata::new("verrou", Level::INFO, Some("verrou"));

fn describe(recorder: &dyn Recorder) {
    let counters = [
        (ACQUIRES, "Acquires that have ended, by outcome."),
        (RENEWALS, "Renewals of leases, by outcome."),
        (LOST, "Leases that ended while their guard lived."),
        (
            LATE_RELEASES,
            "Releases that nobody waited for, by outcome.",
        ),
        (DOUBTS, "What was seen that may break a promise."),
    ];
    for (name, text) in counters {
        recorder.describe_counter(name.into(), None, text.into());
    }
    let gauges = [
        (WAITING, "Acquires under way."),
        (HELD, "Keys that this process holds."),
    ];
    for (name, text) in gauges {
        recorder.describe_gauge(name.into(), None, text.into());
    }
    let histograms = [
        (
            WAIT,
            "From the call of an acquire to its guard, or to its timeout.",
        ),
        (HOLD, "From the grant of a key to the end of its lease."),
        (STORE_CALLS, "Calls to the store, by operation and outcome."),
    ];
    for (name, text) in histograms {
        recorder.describe_histogram(name.into(), Some(Unit::Seconds), text.into());
    }
}

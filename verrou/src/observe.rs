//! The only place that names events and metrics; `docs/observing.md` lists them for who collects them.
//!
//! Events carry the key; metrics carry the label (the template of `#[locked]`), for a key would make a time series of its
//! own. A busy lock is no more than debug: it is what locks are for. A lost one is a warning.

use crate::clock::Moment;
use crate::error::Error;
use crate::guard::LockGuard;
use crate::hold::Hold;
use crate::key::{Shown, StoredKey};
use crate::options::Terms;
use crate::registered::Registered;
use crate::store::{Doubt, StoreError};
use crate::token::FencingToken;

/// A guard was handed out.
pub(crate) fn acquired(guard: &LockGuard, started: Moment) {
    let hold = guard.any_hold();
    let waited = Moment::now().since(started);
    for key in guard.keys() {
        let token = guard.token_of(key).map_or(0, crate::FencingToken::get);
        tracing::debug!(target: "verrou", store = %hold.registered.name, key = %Shown(key), token, ?waited, "lock acquired");
    }
    count("verrou_acquired_total", &hold.registered, hold.terms.label);
    measure(
        "verrou_wait_seconds",
        &hold.registered,
        hold.terms.label,
        waited,
    );
}

/// A try found the key held.
pub(crate) fn busy(registered: &Registered, key: &StoredKey, terms: &Terms) {
    tracing::debug!(target: "verrou", store = %registered.name, key = %Shown(key.key()), "lock busy");
    count("verrou_busy_total", registered, terms.label);
}

/// An acquire ended without a guard.
pub(crate) fn not_acquired(
    registered: &Registered,
    key: &StoredKey,
    terms: &Terms,
    started: Moment,
    error: &Error,
) {
    let (store, key) = (&registered.name, Shown(key.key()));
    let waited = Moment::now().since(started);
    if error.is_store() {
        tracing::warn!(target: "verrou", %store, %key, %error, cause = %Causes(error), ?waited, "lock not acquired");
        count("verrou_store_errors_total", registered, terms.label);
    } else {
        tracing::debug!(target: "verrou", %store, %key, %error, ?waited, "lock not acquired");
        if error.is_busy() {
            count("verrou_busy_total", registered, terms.label);
        }
    }
}

/// A guard was released by its holder.
pub(crate) fn released(hold: &Hold) {
    let held = hold.held_for();
    tracing::debug!(target: "verrou", store = %hold.registered.name, key = %Shown(hold.key.key()), ?held, "lock released");
    measure(
        "verrou_held_seconds",
        &hold.registered,
        hold.terms.label,
        held,
    );
}

/// The lease ended while the guard lived: by the local deadline, or `gone` from the store before it.
pub(crate) fn lost(hold: &Hold, gone: bool) {
    let held = hold.held_for();
    let (store, key, token) = (
        &hold.registered.name,
        Shown(hold.key.key()),
        hold.token.get(),
    );
    if gone {
        tracing::warn!(
            target: "verrou",
            doubt = "lease_gone", %store, %key, token, ?held,
            "lock lost: the store does not know its lease, which should still run"
        );
    } else {
        tracing::warn!(
            target: "verrou",
            doubt = "lease_lost", %store, %key, token, ?held,
            "lock lost: its lease ended before the guard was released"
        );
    }
    count("verrou_lost_total", &hold.registered, hold.terms.label);
}

/// A renewal had no yes; it is tried again while the lease lasts.
///
/// An outage of ten thousand locks is one warning for each of them: what fails `again` is no more than debug.
pub(crate) fn renewal_failed(hold: &Hold, error: Option<&StoreError>, again: bool) {
    let cause = error.map_or_else(
        || "no answer in time".to_owned(),
        |error| error.cause().to_string(),
    );
    let left = hold.deadline().map(Moment::remaining);
    let (store, key) = (&hold.registered.name, Shown(hold.key.key()));
    if again {
        tracing::debug!(target: "verrou", %store, %key, %cause, ?left, "renewal failed again, trying on");
    } else {
        tracing::warn!(target: "verrou", %store, %key, %cause, ?left, "renewal failed, trying again");
    }
    count(
        "verrou_renewal_failures_total",
        &hold.registered,
        hold.terms.label,
    );
}

/// The release after a body failed; the keeper goes on with it.
pub(crate) fn release_failed(
    registered: &Registered,
    key: &StoredKey,
    label: &'static str,
    error: &Error,
) {
    tracing::warn!(
        target: "verrou",
        store = %registered.name, key = %Shown(key.key()), %error, cause = %Causes(error), "lock not released"
    );
    count("verrou_release_failures_total", registered, label);
}

/// A release could not be done for as long as there was something to release.
pub(crate) fn release_given_up(
    registered: &Registered,
    key: &StoredKey,
    label: &'static str,
    error: &Error,
) {
    tracing::warn!(
        target: "verrou",
        doubt = "release_gave_up",
        store = %registered.name, key = %Shown(key.key()), %error, cause = %Causes(error),
        "lock not released: its key was blocked until the lease ended"
    );
    count("verrou_release_failures_total", registered, label);
}

/// A grant has no greater token than an earlier one of its key.
pub(crate) fn token_did_not_rise(hold: &Hold, last: FencingToken) {
    tracing::warn!(
        target: "verrou",
        doubt = "token_not_risen",
        store = %hold.registered.name, key = %Shown(hold.key.key()), token = hold.token.get(), last = last.get(),
        "fencing token did not rise: the store has lost its data and its clock is behind; the resource rejects this holder"
    );
}

/// A driver has seen something about its server that may break a promise.
pub(crate) fn doubted(store: &str, doubt: &Doubt) {
    match doubt {
        Doubt::ClockSetForward { by } => {
            tracing::warn!(
                target: "verrou",
                doubt = "clock_stepped", %store, ?by,
                "the store's clock was set forward, or this machine stood still: leases end too early, and a key may have had two holders; slew clocks"
            );
        }
        Doubt::ClockSetBack { by } => {
            tracing::warn!(
                target: "verrou",
                doubt = "clock_stepped", %store, ?by,
                "the store's clock was set back: dead holders block their keys longer by that; slew clocks"
            );
        }
        Doubt::OtherServer => {
            tracing::warn!(
                target: "verrou",
                doubt = "other_server", %store,
                "the server was started anew, or another one has taken over: what it did not keep is free, and may have two holders"
            );
        }
        Doubt::MayEvict => {
            tracing::warn!(
                target: "verrou",
                doubt = "may_evict", %store,
                "the server may evict a held lock when its memory is full; set maxmemory-policy to noeviction"
            );
        }
        Doubt::WeakPersistence => {
            tracing::warn!(
                target: "verrou",
                doubt = "weak_persistence", %store,
                "the server keeps no append-only file: when it restarts, every lock is free; set appendonly to yes"
            );
        }
        Doubt::AsynchronousFailover => {
            tracing::warn!(
                target: "verrou",
                doubt = "asynchronous_failover", %store,
                "the server has replicas: a failover may take the last grants back, so that a key has two holders"
            );
        }
    }
}

/// An instance was shut down.
pub(crate) fn shut_down(registered: &Registered, emptied: bool) {
    if emptied {
        tracing::debug!(target: "verrou", store = %registered.name, "store shut down");
    } else {
        tracing::warn!(target: "verrou", store = %registered.name, "store shut down with work left; leases bound it");
    }
}

/// The keeper's thread had nothing left to do.
pub(crate) fn keeper_ended() {
    tracing::debug!(target: "verrou", "keeper ended: there is nothing left to keep; the next lease starts it again");
}

/// The keeper's thread could not be started.
pub(crate) fn no_keeper(error: &std::io::Error) {
    tracing::error!(target: "verrou", %error, "the thread that renews leases could not be started; they end on time");
}

/// The causes of an error in one line.
struct Causes<'a>(&'a Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut cause = std::error::Error::source(self.0);
        let mut separator = "";
        while let Some(error) = cause {
            write!(f, "{separator}{error}")?;
            separator = ": ";
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(feature = "metrics")]
fn count(name: &'static str, registered: &Registered, label: &'static str) {
    metrics::counter!(name, "store" => registered.name.clone(), "label" => label).increment(1);
}

#[cfg(feature = "metrics")]
fn measure(
    name: &'static str,
    registered: &Registered,
    label: &'static str,
    time: std::time::Duration,
) {
    metrics::histogram!(name, "store" => registered.name.clone(), "label" => label)
        .record(time.as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: &Registered, _: &'static str) {}

#[cfg(not(feature = "metrics"))]
fn measure(_: &'static str, _: &Registered, _: &'static str, _: std::time::Duration) {}

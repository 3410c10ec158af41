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
use crate::store::StoreError;

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

/// The lease ended while the guard lived.
pub(crate) fn lost(hold: &Hold) {
    let held = hold.held_for();
    tracing::warn!(
        target: "verrou",
        store = %hold.registered.name, key = %Shown(hold.key.key()), token = hold.token.get(), ?held,
        "lock lost: its lease ended before the guard was released"
    );
    count("verrou_lost_total", &hold.registered, hold.terms.label);
}

/// A renewal had no yes; it is tried again while the lease lasts.
pub(crate) fn renewal_failed(hold: &Hold, error: Option<&StoreError>) {
    let cause = error.map_or_else(
        || "no answer in time".to_owned(),
        |error| error.cause().to_string(),
    );
    let left = hold.deadline().map(Moment::remaining);
    tracing::warn!(
        target: "verrou",
        store = %hold.registered.name, key = %Shown(hold.key.key()), %cause, ?left, "renewal failed, trying again"
    );
    count(
        "verrou_renewal_failures_total",
        &hold.registered,
        hold.terms.label,
    );
}

/// A release could not be done; the key is blocked until its lease ends.
pub(crate) fn release_failed(registered: &Registered, key: &StoredKey, error: &Error) {
    tracing::warn!(
        target: "verrou",
        store = %registered.name, key = %Shown(key.key()), %error, cause = %Causes(error), "lock not released"
    );
    count("verrou_release_failures_total", registered, "");
}

/// An instance was shut down.
pub(crate) fn shut_down(registered: &Registered, emptied: bool) {
    if emptied {
        tracing::debug!(target: "verrou", store = %registered.name, "store shut down");
    } else {
        tracing::warn!(target: "verrou", store = %registered.name, "store shut down with work left; leases bound it");
    }
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

//! The only place that names spans, events and metrics; `docs/observing.md` lists them for who collects them.
//!
//! Events carry the key; metrics carry the template (that of `#[locked]`), for a key would make a time series of its
//! own. A busy lock is no more than debug: it is what locks are for. A lost one is a warning.
//!
//! Where nobody listens nothing is made: no text, no clock is read.

#[cfg_attr(not(feature = "metrics"), path = "observe/unmetered.rs")]
mod meters;
mod spans;

use tracing::Level;

pub(crate) use self::meters::{Held, Meters, metered};
pub(crate) use self::spans::{HoldSpan, Waiting};
use crate::clock::Moment;
use crate::error::Error;
use crate::guard::LockGuard;
use crate::hold::Hold;
use crate::key::{Shown, StoredKey};
use crate::registered::Registered;
use crate::store::{Doubt, StoreError};
use crate::token::FencingToken;

/// A lock was taken up that another process has handed over.
pub(crate) fn restored(guard: &LockGuard, started: Moment) {
    let hold = guard.any_hold();
    acquired(guard, started);
    hold.registered.meters.acquired(hold, "restored");
}

/// A guard was handed out.
fn acquired(guard: &LockGuard, started: Moment) {
    if !tracing::enabled!(target: "verrou", Level::DEBUG) {
        return;
    }
    let store = &guard.any_hold().registered.name;
    let waited = Moment::now().since(started);
    for key in guard.keys() {
        let token = guard.token_of(key).map_or(0, FencingToken::get);
        tracing::debug!(target: "verrou", event = "granted", %store, key = %Shown(key), token, ?waited, "lock acquired");
    }
}

/// A guard was released, and its store has said so.
pub(crate) fn released(hold: &Hold) {
    tracing::debug!(
        target: "verrou", event = "released",
        store = %hold.registered.name, key = %Shown(hold.key.key()), held = ?hold.held_for(), "lock released"
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
        meters::doubt(store, "lease_gone");
        tracing::warn!(
            target: "verrou",
            event = "lost", doubt = "lease_gone", %store, %key, token, ?held,
            "lock lost: the store does not know its lease, which should still run"
        );
    } else {
        meters::doubt(store, "lease_lost");
        tracing::warn!(
            target: "verrou",
            event = "lost", doubt = "lease_lost", %store, %key, token, ?held,
            "lock lost: its lease ended before the guard was released"
        );
    }
    hold.registered.meters.lost(hold);
}

/// A renewal had its yes; `late`, if the last one had none.
pub(crate) fn renewed(hold: &Hold, late: bool) {
    if late {
        let left = hold.deadline().map(Moment::remaining);
        tracing::info!(
            target: "verrou", event = "renewed_late",
            store = %hold.registered.name, key = %Shown(hold.key.key()), ?left, "lock renewed late"
        );
    }
    hold.registered.meters.renewal(hold, "confirmed");
}

/// The answer to a renewal ends the lease: `not_held`, or a yes that came `too_late`. The loss has its own event.
pub(crate) fn renewal_ended_it(hold: &Hold, outcome: &'static str) {
    hold.registered.meters.renewal(hold, outcome);
}

/// A renewal had no yes; it is tried again while the lease lasts.
///
/// An outage of ten thousand locks is one warning for each of them: what fails `again` is no more than debug.
pub(crate) fn renewal_failed(hold: &Hold, error: Option<&StoreError>, again: bool) {
    let cause = || {
        error.map_or_else(
            || "no answer in time".to_owned(),
            |error| error.cause().to_string(),
        )
    };
    let left = hold.deadline().map(Moment::remaining);
    let (store, key) = (&hold.registered.name, Shown(hold.key.key()));
    if again {
        tracing::debug!(
            target: "verrou", event = "renewal_failed",
            %store, %key, cause = %cause(), ?left, "renewal failed again, trying on"
        );
    } else {
        tracing::warn!(
            target: "verrou", event = "renewal_failed",
            %store, %key, cause = %cause(), ?left, "renewal failed, trying again"
        );
    }
    hold.registered.meters.renewal(hold, "failed");
}

/// The release after a body failed; the keeper goes on with it.
pub(crate) fn release_failed(registered: &Registered, key: &StoredKey, error: &Error) {
    tracing::warn!(
        target: "verrou", event = "not_released",
        store = %registered.name, key = %Shown(key.key()), %error, cause = %Causes(error), "lock not released"
    );
}

/// A release was done that its holder did not wait for, or not any more.
pub(crate) fn released_late(
    registered: &Registered,
    key: &StoredKey,
    label: &'static str,
    tries: u32,
) {
    tracing::debug!(
        target: "verrou", event = "released_late",
        store = %registered.name, key = %Shown(key.key()), tries, "lock released late"
    );
    registered.meters.late_release(registered, label, "done");
}

/// A release could not be done for as long as there was something to release.
pub(crate) fn release_given_up(
    registered: &Registered,
    key: &StoredKey,
    label: &'static str,
    error: &Error,
) {
    meters::doubt(&registered.name, "release_gave_up");
    tracing::warn!(
        target: "verrou",
        event = "release_gave_up", doubt = "release_gave_up",
        store = %registered.name, key = %Shown(key.key()), %error, cause = %Causes(error),
        "lock not released: its key was blocked until the lease ended"
    );
    registered.meters.late_release(registered, label, "gave_up");
}

/// A grant has no greater token than an earlier one of its key.
pub(crate) fn token_did_not_rise(hold: &Hold, last: FencingToken) {
    meters::doubt(&hold.registered.name, "token_not_risen");
    tracing::warn!(
        target: "verrou",
        event = "doubt", doubt = "token_not_risen",
        store = %hold.registered.name, key = %Shown(hold.key.key()), token = hold.token.get(), last = last.get(),
        "fencing token did not rise: the store has lost its data and its clock is behind; the resource rejects this holder"
    );
}

/// A driver has seen something about its server that may break a promise.
pub(crate) fn doubted(store: &str, doubt: &Doubt) {
    match doubt {
        Doubt::ClockSetForward { by } => {
            meters::doubt(store, "clock_stepped");
            tracing::warn!(
                target: "verrou",
                event = "doubt", doubt = "clock_stepped", %store, ?by,
                "the store's clock was set forward, or this machine stood still: leases end too early, and a key may have had two holders; slew clocks"
            );
        }
        Doubt::ClockSetBack { by } => {
            meters::doubt(store, "clock_stepped");
            tracing::warn!(
                target: "verrou",
                event = "doubt", doubt = "clock_stepped", %store, ?by,
                "the store's clock was set back: dead holders block their keys longer by that; slew clocks"
            );
        }
        Doubt::OtherServer => {
            meters::doubt(store, "other_server");
            tracing::warn!(
                target: "verrou",
                event = "doubt", doubt = "other_server", %store,
                "the server was started anew, or another one has taken over: what it did not keep is free, and may have two holders"
            );
        }
        Doubt::MayEvict => {
            meters::doubt(store, "may_evict");
            tracing::warn!(
                target: "verrou",
                event = "doubt", doubt = "may_evict", %store,
                "the server may evict a held lock when its memory is full; set maxmemory-policy to noeviction"
            );
        }
        Doubt::WeakPersistence => {
            meters::doubt(store, "weak_persistence");
            tracing::warn!(
                target: "verrou",
                event = "doubt", doubt = "weak_persistence", %store,
                "the server keeps no append-only file: when it restarts, every lock is free; set appendonly to yes"
            );
        }
        Doubt::AsynchronousFailover => {
            meters::doubt(store, "asynchronous_failover");
            tracing::warn!(
                target: "verrou",
                event = "doubt", doubt = "asynchronous_failover", %store,
                "the server has replicas: a failover may take the last grants back, so that a key has two holders"
            );
        }
    }
}

/// An instance was shut down.
pub(crate) fn shut_down(registered: &Registered, emptied: bool) {
    if emptied {
        tracing::debug!(target: "verrou", event = "shut_down", store = %registered.name, "store shut down");
    } else {
        tracing::warn!(target: "verrou", event = "shut_down", store = %registered.name, "store shut down with work left; leases bound it");
    }
}

/// The keeper's thread had nothing left to do.
pub(crate) fn keeper_ended() {
    tracing::debug!(target: "verrou", event = "keeper_ended", "keeper ended: there is nothing left to keep; the next lease starts it again");
}

/// The keeper's thread could not be started.
pub(crate) fn no_keeper(error: &std::io::Error) {
    tracing::error!(target: "verrou", event = "no_keeper", %error, "the thread that renews leases could not be started; they end on time");
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

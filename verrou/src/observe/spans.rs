//! The spans: one for the wait, one for the hold.

use std::sync::Arc;
use std::time::Duration;

use tracing::field::{Empty, debug};
use tracing::{Instrument as _, Span};

use super::meters::Waiters;
use super::{Causes, acquired};
use crate::clock::Moment;
use crate::error::Error;
use crate::guard::LockGuard;
use crate::hold::Hold;
use crate::key::{Shown, StoredKey};
use crate::wait::Acquisition;

/// An acquire under way: its span, and its place among those that wait. Dropped without a word it was cancelled.
pub(crate) struct Waiting<'a> {
    acquisition: &'a Acquisition,
    started: Moment,
    span: Span,
    waiters: Waiters,
}

impl<'a> Waiting<'a> {
    pub(crate) fn begin(acquisition: &'a Acquisition, started: Moment) -> Self {
        let Acquisition {
            registered, terms, ..
        } = acquisition;
        let span = tracing::debug_span!(
            target: "verrou", "lock wait",
            store = %registered.name,
            template = terms.label,
            key = %Keys(|| acquisition.keys.iter().map(StoredKey::key)),
            token = Empty,
            waited = Empty,
            attempts = Empty,
        );
        Self {
            acquisition,
            started,
            span,
            waiters: registered.meters.waiter(registered, terms.label),
        }
    }

    /// `future`, inside of the span.
    pub(crate) fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.instrument(self.span.clone())
    }

    /// What came of it.
    pub(crate) fn ended(mut self, outcome: &Result<LockGuard, Error>) {
        match outcome {
            Ok(guard) => self.granted(guard),
            Err(error) => self.failed(error),
        }
    }

    /// What came of one try: busy is no error then, but the key that is held.
    pub(crate) fn tried(mut self, outcome: &Result<Result<LockGuard, StoredKey>, Error>) {
        match outcome {
            Ok(Ok(guard)) => self.granted(guard),
            Ok(Err(key)) => {
                let store = &self.acquisition.registered.name;
                tracing::debug!(target: "verrou", event = "busy", %store, key = %Shown(key.key()), "lock busy");
                self.tell();
                self.waiters.ended("busy", || None);
            }
            Err(error) => self.failed(error),
        }
    }

    fn granted(&mut self, guard: &LockGuard) {
        acquired(guard, self.started);
        if !self.span.is_disabled() {
            self.span.record("token", guard.token().get());
        }
        self.tell();
        guard.span().record(self.acquisition.asked(), self.started);
        let started = self.started;
        self.waiters.ended("granted", || Some(since(started)));
    }

    fn failed(&mut self, error: &Error) {
        let outcome = match error {
            Error::Busy { .. } => "busy",
            Error::Timeout { .. } => "timeout",
            Error::Store { .. } => "store_error",
            _ => "refused",
        };
        let store = &self.acquisition.registered.name;
        let key = KeyOf(error, self.acquisition);
        if error.is_store() {
            tracing::warn!(
                target: "verrou", event = "not_acquired",
                %store, %key, %error, cause = %Causes(error), waited = ?self.waited(), "lock not acquired"
            );
        } else if outcome == "busy" {
            tracing::debug!(target: "verrou", event = "busy", %store, %key, "lock busy");
        } else {
            tracing::debug!(
                target: "verrou", event = "not_acquired",
                %store, %key, %error, waited = ?self.waited(), "lock not acquired"
            );
        }
        self.tell();
        let started = self.started;
        let waited = || (outcome == "timeout").then(|| since(started));
        self.waiters.ended(outcome, waited);
    }

    fn waited(&self) -> Duration {
        since(self.started)
    }

    /// Writes into the span what is known at the end.
    fn tell(&self) {
        if !self.span.is_disabled() {
            self.span.record("waited", debug(self.waited()));
            self.span.record("attempts", self.acquisition.asked());
        }
    }
}

/// The span of a guard: it ends with it, and the body of `run` and `#[locked]` is polled inside of it.
pub(crate) struct HoldSpan(Span);

impl HoldSpan {
    pub(crate) fn of(holds: &[Arc<Hold>]) -> Self {
        let Some(hold) = holds.first() else {
            return Self(Span::none());
        };
        Self(tracing::debug_span!(
            target: "verrou", "lock hold",
            store = %hold.registered.name,
            template = hold.terms.label,
            key = %Keys(|| holds.iter().map(|hold| hold.key.key())),
            token = hold.token.get(),
            waited = Empty,
            attempts = Empty,
        ))
    }

    fn record(&self, attempts: u32, started: Moment) {
        if !self.0.is_disabled() {
            self.0.record("waited", debug(since(started)));
            self.0.record("attempts", attempts);
        }
    }

    /// Inside of it until the answer is dropped.
    pub(crate) fn enter(&self) -> impl Drop + '_ {
        self.0.enter()
    }
}

fn since(started: Moment) -> Duration {
    Moment::now().since(started)
}

/// Several keys in one field.
struct Keys<F>(F);

impl<'k, F: Fn() -> I, I: Iterator<Item = &'k str>> std::fmt::Display for Keys<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, key) in (self.0)().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", Shown(key))?;
        }
        Ok(())
    }
}

/// The key that `error` is about; all that were wanted, if it names none.
struct KeyOf<'a>(&'a Error, &'a Acquisition);

impl std::fmt::Display for KeyOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Error::Busy { key, .. }
            | Error::Timeout { key, .. }
            | Error::Lost { key, .. }
            | Error::Reentrant { key, .. }
            | Error::Store { key, .. } => write!(f, "{}", Shown(key)),
            _ => write!(f, "{}", Keys(|| self.1.keys.iter().map(StoredKey::key))),
        }
    }
}

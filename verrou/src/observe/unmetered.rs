//! What `meters.rs` is without the feature `metrics`: nothing.

use std::time::Duration;

use crate::hold::Hold;
use crate::registered::Registered;
use crate::store::erased::AnyStore;

#[derive(Default)]
pub(crate) struct Meters(());

impl Meters {
    pub(crate) fn waiter(&self, _: &Registered, _: &'static str) -> Waiters {
        Waiters
    }

    pub(crate) fn held(&self, _: &Registered, _: &'static str) -> Held {
        Held
    }

    pub(crate) fn acquired(&self, _: &Hold, _: &'static str) {}

    pub(crate) fn lost(&self, _: &Hold) {}

    pub(crate) fn renewal(&self, _: &Hold, _: &'static str) {}

    pub(crate) fn late_release(&self, _: &Registered, _: &'static str, _: &'static str) {}
}

pub(crate) struct Waiters;

impl Waiters {
    pub(crate) fn ended(&mut self, _: &'static str, _: impl FnOnce() -> Option<Duration>) {}
}

pub(crate) struct Held;

impl Held {
    pub(crate) fn ended(&self, _: impl FnOnce() -> Duration) {}
}

pub(crate) fn metered(_: &str, store: AnyStore) -> AnyStore {
    store
}

pub(crate) fn doubt(_: &str, _: &'static str) {}

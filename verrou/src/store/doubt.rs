//! What a driver has seen that may break a promise.

use std::time::Duration;

/// Something about the server that may break a promise, though no call has failed.
///
/// A driver notices it beside its work, and hands it out by [`LockStore::doubts`](super::LockStore::doubts): once for each
/// occurrence. verrou logs it as a warning; [the page of what can be observed](crate::docs::observing) has the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Doubt {
    /// The store's clock has gone further than this machine's: leases ended too early by this much.
    ClockSetForward {
        /// By about how much.
        by: Duration,
    },
    /// The store's clock has gone less far than this machine's: leases end too late by this much.
    ClockSetBack {
        /// By about how much.
        by: Duration,
    },
    /// The server is not the process that it was: it was started anew, or another one has taken over.
    OtherServer,
    /// The server may evict a held lock when its memory is full.
    MayEvict,
    /// The server forgets every lock, or the last ones, when it is started anew.
    WeakPersistence,
    /// A failover may take the last grants back.
    AsynchronousFailover,
}

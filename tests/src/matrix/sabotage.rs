//! The bugs that `verrou/src/sabotage.rs` can let loose, and where they have to be found.

use super::{Driver, Fault};

/// The variable of the environment that lets one loose, in a build with `--cfg verrou_sabotage`.
pub const VARIABLE: &str = "VERROU_SABOTAGE";

/// A bug and the cells that concern it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Bug {
    /// As the library knows it.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// The cells in which it has to be found: in one of them, within a few runs.
    pub cells: &'static [(Driver, Fault)],
}

/// All of them.
pub const BUGS: &[Bug] = &[
    Bug {
        name: "release-without-owner",
        what: "a release frees the key whoever holds it",
        cells: &[(Driver::Redis, Fault::PauseHolder)],
    },
    Bug {
        name: "deadline-from-reply",
        what: "a lease counts from the answer, not from before the request",
        cells: &[(Driver::Redis, Fault::Delayed)],
    },
    Bug {
        name: "renewal-revives",
        what: "a yes after the deadline makes a lost lease held again",
        cells: &[
            (Driver::Redis, Fault::Deaf),
            (Driver::Postgres, Fault::Deaf),
        ],
    },
    Bug {
        name: "renewal-after-release",
        what: "a renewal on its way takes the key again after its release",
        cells: &[(Driver::Postgres, Fault::Calm)],
    },
    Bug {
        name: "error-as-busy",
        what: "a failure of the store is taken for a busy key",
        cells: &[(Driver::Redis, Fault::FreezeServer)],
    },
    Bug {
        name: "busy-as-error",
        what: "a busy key is told as a failure of the store",
        cells: &[(Driver::Sqlite, Fault::Calm)],
    },
    Bug {
        name: "cancelled-acquire-forgotten",
        what: "what a dropped acquire wins is forgotten",
        cells: &[(Driver::Redis, Fault::Calm)],
    },
    Bug {
        name: "token-without-floor",
        what: "tokens begin again when the store has lost its data",
        cells: &[(Driver::Sqlite, Fault::Forget)],
    },
    Bug {
        name: "held-by-timer",
        what: "only a timer ends a lease, nobody looks at the clock",
        cells: &[
            (Driver::Redis, Fault::PauseHolder),
            (Driver::Sqlite, Fault::PauseHolder),
        ],
    },
    Bug {
        name: "keys-folded",
        what: "keys that differ by case are one",
        cells: &[(Driver::Memory, Fault::Calm)],
    },
    Bug {
        name: "client-clock",
        what: "the client's wall clock decides about expiry",
        cells: &[(Driver::Sqlite, Fault::Skew)],
    },
    Bug {
        name: "partial-left-behind",
        what: "keys won so far are kept when the rest cannot be had",
        cells: &[(Driver::MySql, Fault::Calm)],
    },
    Bug {
        name: "head-lost-on-cancel",
        what: "the place of a cancelled head of the queue stays taken",
        cells: &[(Driver::Redis, Fault::Calm)],
    },
    Bug {
        name: "hint-needed",
        what: "without a wake-up a waiter never asks again",
        cells: &[(Driver::Redis, Fault::KillHolder)],
    },
    Bug {
        name: "unknown-as-granted",
        what: "an acquire without an answer is taken for a yes",
        cells: &[(Driver::Redis, Fault::FreezeServer)],
    },
    Bug {
        name: "lease-too-long",
        what: "the store is told a longer lease than was asked for",
        cells: &[(Driver::Redis, Fault::KillHolder)],
    },
];

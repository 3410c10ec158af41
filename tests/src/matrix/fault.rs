//! What is done to the processes, their links and their store.

use std::time::Duration;

use super::stand::Driver;

/// A kind of fault; what it is on each driver is in [`Cell::run`](super::Cell::run).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum Fault {
    /// Nothing; leases are long, so that one that is forgotten is found.
    Calm,
    /// `kill -9` of a process of the load.
    KillHolder,
    /// `SIGSTOP` of one, for less and for more than a lease.
    PauseHolder,
    /// `kill -9` of the server, which starts again with what it has acknowledged.
    KillServer,
    /// The same, and it has kept nothing.
    Volatile,
    /// `SIGSTOP` of the server; for a file, an exclusive lock of somebody else's.
    FreezeServer,
    /// The link of one process is cut.
    Cut,
    /// Its link swallows everything, and delivers it late.
    Silent,
    /// Requests get through, replies do not until later.
    Deaf,
    /// Every reply comes late.
    Delayed,
    /// A reply is thrown away and its connection cut, so the request is executed twice.
    Twice,
    /// The server ends the sessions of its clients.
    Kick,
    /// The server loses what it knows, and goes on.
    Forget,
    /// The clocks of the clients are wrong by an hour, fast and slow.
    Skew,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Calm,
        Self::KillHolder,
        Self::PauseHolder,
        Self::KillServer,
        Self::Volatile,
        Self::FreezeServer,
        Self::Cut,
        Self::Silent,
        Self::Deaf,
        Self::Delayed,
        Self::Twice,
        Self::Kick,
        Self::Forget,
        Self::Skew,
    ];

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::KillHolder => "kill-holder",
            Self::PauseHolder => "pause-holder",
            Self::KillServer => "kill-server",
            Self::Volatile => "volatile-restart",
            Self::FreezeServer => "freeze-server",
            Self::Cut => "cut-link",
            Self::Silent => "black-hole",
            Self::Deaf => "replies-held-back",
            Self::Delayed => "replies-delayed",
            Self::Twice => "executed-twice",
            Self::Kick => "sessions-killed",
            Self::Forget => "data-lost",
            Self::Skew => "client-clocks",
        }
    }

    /// Whether there is such a thing on `driver`.
    #[must_use]
    pub fn concerns(self, driver: Driver) -> bool {
        match driver {
            // All of it is in one process.
            Driver::Memory => matches!(self, Self::Calm | Self::PauseHolder),
            Driver::Sqlite => matches!(
                self,
                Self::Calm
                    | Self::KillHolder
                    | Self::PauseHolder
                    | Self::FreezeServer
                    | Self::Forget
                    | Self::Skew
            ),
            Driver::Redis => true,
            Driver::Postgres | Driver::MySql => self != Self::Volatile,
        }
    }

    /// The length of the leases. In the calm they are long: what was forgotten is then free only long after.
    #[must_use]
    pub fn ttl(self) -> Duration {
        match self {
            Self::Calm => Duration::from_secs(10),
            _ => Duration::from_secs(1),
        }
    }
}

//! The history of a run: what each process saw of its locks, line by line, and the checks of it.
//!
//! A worker writes a line for each thing that happens to one of its attempts, in a file of its own and in one write, so
//! that a `kill -9` cuts nothing but the future. Times are of the boot-time clock, which all processes of a machine share:
//! an order in a history is an order in reality.

pub mod attempts;
pub mod check;
pub mod figures;
pub mod picture;

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The key that everybody wants.
pub const HOT: &str = "hot";

/// A moment: nanoseconds of the boot-time clock.
pub type Nanos = u64;

/// Now.
#[must_use]
pub fn boot_nanos() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One attempt to get a lock: a process of the run, and a number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Id {
    /// The process; one that is started in place of a killed one has a number of its own.
    pub process: u32,
    /// The attempt.
    pub number: u64,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.process, self.number)
    }
}

/// What an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum Work {
    /// The one key that everybody wants.
    Hot,
    /// One of many keys.
    Many,
    /// Several keys at once.
    Several,
    /// Given to another process.
    Give,
    /// Taken from another process.
    Take,
    /// Dropped before it is known how it ends.
    Cancel,
    /// One try.
    Try,
    /// Without renewal, kept until it is lost.
    Lose,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Event {
    /// When it was written down; for a question, after its answer.
    pub at: Nanos,
    /// Whose it is.
    pub id: Id,
    /// What happened.
    pub what: What,
}

/// What happened to an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum What {
    /// The lock was asked for.
    Invoke {
        /// What for.
        work: Work,
        /// Which keys.
        keys: Vec<String>,
        /// How long it may take.
        wait: Nanos,
        /// The lease is renewed.
        renew: bool,
        /// The attempt whose lock this one takes up.
        of: Option<Id>,
    },
    /// The guard came back, with these tokens in the order of its keys.
    Grant(Vec<u64>),
    /// `is_held()` said yes; it was asked at this moment.
    Held(Nanos),
    /// `is_held()` said no.
    Unheld,
    /// `lost()` resolved.
    Lost,
    /// The guarded write to the resource was accepted, or rejected for its token.
    Write(bool),
    /// The guard is gone, like this.
    End(End),
    /// There was no guard, for this reason.
    Fail(Fail),
    /// The future was dropped before it was ready.
    Cancel,
    /// No thread of the process ran for so long; of no attempt.
    Stall(Nanos),
}

/// How a guard ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum End {
    /// Released, says the store.
    Released,
    /// Lost, as known before.
    Lost,
    /// The store is the first to say that it was not held.
    NotHeld,
    /// The release failed.
    Failed,
    /// Dropped, to be released in the background.
    Dropped,
    /// Handed to whoever takes it.
    Given,
}

/// Why there was no guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum Fail {
    /// Somebody else holds it.
    Busy,
    /// Somebody else held it for as long as the wait.
    Timeout,
    /// The store did not do it.
    NotApplied,
    /// The store may have done it.
    Unknown,
    /// One of several keys was lost while others were awaited.
    Lost,
    /// There was nothing left to take up.
    NotHeld,
    /// Anything else, which is not expected.
    Other,
}

/// Where a process writes its history.
#[derive(Debug)]
pub struct Journal {
    file: File,
    process: u32,
}

impl Journal {
    /// Opens the file of `process` in `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path, process: u32) -> std::io::Result<Self> {
        let path = folder.join(format!("{process}.history"));
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, process })
    }

    /// Writes one line, with the time of now.
    ///
    /// # Panics
    /// If it cannot be written: a history with holes proves nothing.
    pub fn write(&self, number: u64, what: What) {
        let event = Event {
            at: boot_nanos(),
            id: Id {
                process: self.process,
                number,
            },
            what,
        };
        let written = serde_json::to_string(&event)
            .map_err(std::io::Error::from)
            .and_then(|line| (&self.file).write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            panic!("cannot write the history: {error}");
        }
    }
}

/// All lines of all processes in `folder`, in the order of their times.
///
/// # Panics
/// If a line cannot be read, but for the last one of a file: its process may have been killed in the middle of it.
#[must_use]
pub fn read(folder: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "history")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            match serde_json::from_str::<Event>(line) {
                Ok(event) => events.push(event),
                Err(error) => panic!("{}: `{line}`: {error}", path.display()),
            }
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

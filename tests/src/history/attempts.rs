//! The events of a history, put together by attempt.

use std::collections::BTreeMap;

use super::{End, Event, Fail, Id, Nanos, What, Work};

/// One attempt from its beginning to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// Which one.
    pub id: Id,
    /// What for.
    pub work: Work,
    /// Which keys.
    pub keys: Vec<String>,
    /// How long it might take to be granted.
    pub wait: Nanos,
    /// The lease was renewed.
    pub renew: bool,
    /// The attempt whose lock it took up.
    pub of: Option<Id>,
    /// When it was asked for.
    pub invoked: Nanos,
    /// When the guard came back.
    pub granted: Option<Nanos>,
    /// The tokens, in the order of the keys.
    pub tokens: Vec<u64>,
    /// Every answer of `is_held()` that was a yes: asked, answered.
    pub held: Vec<(Nanos, Nanos)>,
    /// The first no of `is_held()`.
    pub unheld: Option<Nanos>,
    /// When `lost()` resolved.
    pub lost: Option<Nanos>,
    /// The writes to the resource: when, and whether they were accepted.
    pub writes: Vec<(Nanos, bool)>,
    /// How and when the guard ended.
    pub end: Option<(Nanos, End)>,
    /// Why and when it was known that there is no guard.
    pub failed: Option<(Nanos, Fail)>,
    /// When the future was dropped.
    pub cancelled: Option<Nanos>,
    /// The last line of it.
    pub last: Nanos,
}

impl Attempt {
    /// The time in which its guard is known to have been held: from the answer to the first question to the last
    /// question that was answered with yes. As `is_held()` never goes from no to yes, it was yes all that time.
    #[must_use]
    pub fn claim(&self) -> Option<(Nanos, Nanos)> {
        let (_, first) = self.held.first()?;
        let (last, _) = self.held.last()?;
        Some((*first, (*last).max(*first)))
    }

    /// When it was known how the wait ended.
    #[must_use]
    pub fn settled(&self) -> Option<Nanos> {
        self.granted
            .or(self.failed.map(|(at, _)| at))
            .or(self.cancelled)
    }

    /// The token of `key`.
    #[must_use]
    pub fn token_of(&self, key: &str) -> Option<u64> {
        let place = self.keys.iter().position(|known| known == key)?;
        self.tokens.get(place).copied()
    }
}

/// A stretch of time in which a process, or the machine as a whole, did not get on.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Stall {
    /// The process whose threads did not run; none if a plain write to the store, past all faults, took that long.
    pub process: Option<u32>,
    /// From when on.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
}

/// Puts `events`, which are in the order of their times, together.
///
/// # Panics
/// If there is a line of an attempt that was never begun.
#[must_use]
pub fn attempts(events: &[Event]) -> (Vec<Attempt>, Vec<Stall>) {
    let mut found: BTreeMap<Id, Attempt> = BTreeMap::new();
    let mut stalls = Vec::new();
    for Event { at, id, what } in events {
        if let What::Invoke {
            work,
            keys,
            wait,
            renew,
            of,
        } = what
        {
            found.insert(*id, begun(*id, *at, *work, keys, *wait, *renew, *of));
            continue;
        }
        if let What::Stall(length) = what {
            stalls.push(Stall {
                process: Some(id.process),
                from: at.saturating_sub(*length),
                to: *at,
            });
            continue;
        }
        let Some(attempt) = found.get_mut(id) else {
            panic!("attempt {id} was never begun")
        };
        attempt.last = *at;
        match what {
            What::Invoke { .. } | What::Stall(_) => {}
            What::Grant(tokens) => {
                attempt.granted = Some(*at);
                attempt.tokens.clone_from(tokens);
            }
            What::Held(asked) => attempt.held.push((*asked, *at)),
            What::Unheld => attempt.unheld = attempt.unheld.or(Some(*at)),
            What::Lost => attempt.lost = attempt.lost.or(Some(*at)),
            What::Write(accepted) => attempt.writes.push((*at, *accepted)),
            What::End(end) => attempt.end = Some((*at, *end)),
            What::Fail(fail) => attempt.failed = Some((*at, *fail)),
            What::Cancel => attempt.cancelled = Some(*at),
        }
    }
    (found.into_values().collect(), stalls)
}

fn begun(
    id: Id,
    at: Nanos,
    work: Work,
    keys: &[String],
    wait: Nanos,
    renew: bool,
    of: Option<Id>,
) -> Attempt {
    Attempt {
        id,
        work,
        keys: keys.to_vec(),
        wait,
        renew,
        of,
        invoked: at,
        granted: None,
        tokens: Vec::new(),
        held: Vec::new(),
        unheld: None,
        lost: None,
        writes: Vec::new(),
        end: None,
        failed: None,
        cancelled: None,
        last: at,
    }
}

//! What happened in a run, in numbers.

use std::collections::BTreeMap;

use super::attempts::{Attempt, Stall};
use super::check::{AFTERMATH, Circumstances, MS};
use super::{Fail, HOT, Nanos, Work};

/// What happened in a run, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Guards.
    pub grants: u64,
    /// Guards that had to be waited for.
    pub contended: u64,
    /// The guards by what they were for.
    pub by_work: BTreeMap<Work, u64>,
    /// Guards that were told of their loss.
    pub lost: u64,
    /// Acquires that ended by an error of the store.
    pub failed: u64,
    /// Futures that were dropped.
    pub cancelled: u64,
    /// Writes that the resource has rejected for their token.
    pub stale_writes: u64,
    /// The longest time in which somebody waited for the key that everybody wants, and nobody said that it was held.
    pub longest_gap: Nanos,
    /// The longest wait for a guard.
    pub longest_wait: Nanos,
    /// The longest time in which a process did not run, other than by a fault.
    pub longest_stall: Nanos,
}

/// Counts.
#[must_use]
pub fn figures(attempts: &[Attempt], stalls: &[Stall], circumstances: &Circumstances) -> Figures {
    let mut figures = Figures::default();
    for attempt in attempts {
        if let Some(granted) = attempt.granted {
            let waited = granted - attempt.invoked;
            figures.grants += 1;
            figures.contended += u64::from(waited > 5 * MS);
            figures.longest_wait = figures.longest_wait.max(waited);
            *figures.by_work.entry(attempt.work).or_default() += 1;
        }
        figures.lost += u64::from(attempt.lost.is_some());
        figures.cancelled += u64::from(attempt.cancelled.is_some());
        let failed = matches!(attempt.failed, Some((_, Fail::NotApplied | Fail::Unknown)));
        figures.failed += u64::from(failed);
        let stale = attempt.writes.iter().filter(|(_, accepted)| !accepted);
        figures.stale_writes += stale.count() as u64;
    }
    figures.longest_gap = longest_gap(attempts);
    figures.longest_stall = stalls
        .iter()
        .filter(|stall| !struck(stall, circumstances))
        .map(|stall| stall.to - stall.from)
        .max()
        .unwrap_or(0);
    figures
}

/// The longest time in which somebody waited for the hot key and nobody said that it was held.
fn longest_gap(attempts: &[Attempt]) -> Nanos {
    // Who waits, who holds: one more or one less from that moment on.
    let mut steps: Vec<(Nanos, i64, i64)> = Vec::new();
    for attempt in attempts.iter().filter(|attempt| attempt.keys == [HOT]) {
        steps.push((attempt.invoked, 1, 0));
        steps.push((attempt.settled().unwrap_or(attempt.last), -1, 0));
        if let (Some(granted), Some((_, held))) = (attempt.granted, attempt.claim()) {
            steps.push((granted, 0, 1));
            steps.push((held.max(granted), 0, -1));
        }
    }
    steps.sort_unstable();
    let (mut waiting, mut holding, mut longest) = (0, 0, 0);
    let mut since = None;
    for (at, waits, holds) in steps {
        if let Some(since) = since {
            longest = longest.max(at - since);
        }
        waiting += waits;
        holding += holds;
        let starved = waiting > 0 && holding == 0;
        since = starved.then(|| since.unwrap_or(at));
    }
    longest
}

/// Whether a stall is a fault's doing.
fn struck(stall: &Stall, circumstances: &Circumstances) -> bool {
    circumstances.windows.iter().any(|window| {
        (stall.process.is_none() || window.victim.is_none() || window.victim == stall.process)
            && window.from <= stall.to
            && window.to + AFTERMATH >= stall.from
    })
}

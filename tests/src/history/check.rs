//! The checks of a history. Each is sound: what it reports cannot have happened if the promise was kept, whatever the
//! processes and their threads did meanwhile.
//!
//! | check | promise | what is compared |
//! |---|---|---|
//! | `exclusion` | G1 | the times in which guards of one key said that they were held, over all processes |
//! | `tokens` | G2 | the tokens of a key, in the order of the grants; the writes that a resource accepts |
//! | `loss is final` | G3 | a yes of `is_held()` after a no, or after `lost()` |
//! | `loss is told` | G3 | the time from the first no of `is_held()` to `lost()` |
//! | `loss has a cause` | G1 | a renewed lease that is lost while nothing was disturbed |
//! | `keys come back` | G4 | how long each key takes to be acquired after the last fault, when nobody works any more |
//! | `free keys are served` | G4, G6 | waiters of a key that nobody can hold |
//! | `waits end` | G5 | how long an acquire took, against `wait` and one request timeout; an attempt without an end |
//! | `errors have a cause` | G5 | errors of the store while nothing was disturbed |
//! | `busy has a holder` | G5 | an answer "busy" while nobody can hold the key |
//! | `dead stores are told` | G5 | errors of the store while nothing answered |

use std::collections::{BTreeMap, BTreeSet};

use super::attempts::{Attempt, Stall};
use super::figures::{Figures, figures};
use super::{End, Fail, Nanos};

/// One millisecond.
pub const MS: Nanos = 1_000_000;
/// What a busy machine may add to any bound.
const SLACK: Nanos = 300 * MS;
/// How soon `lost()` has to follow `is_held()`, and what a busy machine adds.
const TOLD: Nanos = 100 * MS + 100 * MS;
/// What is dropped is released at once; at once is this much at the most.
const AT_ONCE: Nanos = 500 * MS;
/// A waiter looks by itself each quarter of a second: with some tries more, no key stays free for this long.
const UNSERVED: Nanos = 1_500 * MS;
/// A process has so long to connect.
const STARTING: Nanos = 1_000 * MS;
/// For so long after a fault has ended, connections are found to be dead.
pub(super) const AFTERMATH: Nanos = 2_000 * MS;

/// Something that was done to the processes of a run.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Window {
    /// What.
    pub fault: &'static str,
    /// From when on.
    pub from: Nanos,
    /// Until when.
    pub to: Nanos,
    /// Whom; everybody if nobody is named.
    pub victim: Option<u32>,
    /// The store could answer nothing to the victim.
    pub dead: bool,
}

/// What the checks have to know beside the history.
#[derive(Clone, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Circumstances {
    /// The length of every lease.
    pub ttl: Nanos,
    /// The bound of every store call.
    pub request_timeout: Nanos,
    /// What was done.
    pub windows: Vec<Window>,
    /// The processes that were killed, and when.
    pub killed: BTreeMap<u32, Nanos>,
    /// When the store has lost its data: at some moment between these two.
    pub forgot: Vec<(Nanos, Nanos)>,
    /// When the processes were told to end.
    pub stopped: Nanos,
    /// How long each key took to be acquired when nobody worked any more, and how long it may have taken.
    pub probes: Vec<(String, Nanos, Nanos)>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The check that has found it, as in the table of this page.
    pub check: &'static str,
    /// What was seen.
    pub seen: String,
}

impl Violation {
    /// A process did not end as it should have.
    #[must_use]
    pub fn unwell(process: u32) -> Self {
        Self {
            check: "waits end",
            seen: format!("process {process} did not end, or failed"),
        }
    }
}

/// All checks on one run.
#[must_use]
pub fn check(
    attempts: &[Attempt],
    stalls: &[Stall],
    circumstances: &Circumstances,
) -> (Figures, Vec<Violation>) {
    let mut checker = Checker {
        attempts,
        stalls,
        circumstances,
        violations: Vec::new(),
    };
    checker.exclusion();
    checker.tokens();
    checker.loss();
    checker.waits();
    checker.errors();
    checker.busy();
    checker.served();
    checker.come_back();
    let figures = figures(attempts, stalls, circumstances);
    (figures, checker.violations)
}

struct Checker<'a> {
    attempts: &'a [Attempt],
    stalls: &'a [Stall],
    circumstances: &'a Circumstances,
    violations: Vec<Violation>,
}

impl Checker<'_> {
    fn found(&mut self, check: &'static str, seen: String) {
        self.violations.push(Violation { check, seen });
    }

    fn keys(&self) -> BTreeSet<&str> {
        let keys = self.attempts.iter().flat_map(|attempt| &attempt.keys);
        keys.map(String::as_str).collect()
    }

    fn of_key(&self, key: &str) -> impl Iterator<Item = &Attempt> {
        let with = move |attempt: &&Attempt| attempt.keys.iter().any(|known| known == key);
        self.attempts.iter().filter(with)
    }

    /// Whether a process was kept from running or from its store at some time between `from` and `to`; all of them, if
    /// none is named. What a fault has broken is found for some time after it.
    fn disturbed(&self, process: Option<u32>, from: Nanos, to: Nanos) -> bool {
        let touches = |start: Nanos, end: Nanos| start <= to && end >= from;
        let whom = |victim: Option<u32>| process.is_none() || victim.is_none() || victim == process;
        let by_fault = self
            .circumstances
            .windows
            .iter()
            .any(|window| whom(window.victim) && touches(window.from, window.to + AFTERMATH));
        by_fault || self.stalled(process, from, to)
    }

    fn stalled(&self, process: Option<u32>, from: Nanos, to: Nanos) -> bool {
        self.stalls.iter().any(|stall| {
            (process.is_none() || stall.process.is_none() || process == stall.process)
                && stall.from <= to
                && stall.to + SLACK >= from
        })
    }

    /// Whether the store may have lost its data between `from` and `to`.
    fn forgotten(&self, from: Nanos, to: Nanos) -> bool {
        let forgot = &self.circumstances.forgot;
        forgot
            .iter()
            .any(|(earliest, latest)| from < *latest && *earliest < to)
    }

    fn exclusion(&mut self) {
        let mut overlaps = Vec::new();
        for key in self.keys() {
            let mut claims: Vec<(Nanos, Nanos, &Attempt)> = self
                .of_key(key)
                .filter_map(|attempt| attempt.claim().map(|(from, to)| (from, to, attempt)))
                .collect();
            claims.sort_by_key(|(from, ..)| *from);
            let mut last: Option<(Nanos, &Attempt)> = None;
            for (from, to, attempt) in claims {
                if let Some((end, older)) = last
                    && from < end
                    // What a store has forgotten, it can give to another: that is not promised.
                    && !self.forgotten(older.invoked, from)
                {
                    overlaps.push(format!(
                        "`{key}`: {} was held until {end}, and {} from {from} on, {} ms too early",
                        older.id,
                        attempt.id,
                        (end - from) / MS
                    ));
                }
                if last.is_none_or(|(end, _)| to > end) {
                    last = Some((to, attempt));
                }
            }
        }
        for overlap in overlaps {
            self.found("exclusion", overlap);
        }
    }

    fn tokens(&mut self) {
        let mut wrong = Vec::new();
        for key in self.keys() {
            let token = |attempt: &Attempt| attempt.token_of(key).unwrap_or(0);
            let mut grants: Vec<&Attempt> = self
                .of_key(key)
                .filter(|attempt| attempt.granted.is_some())
                .collect();
            // A lock that was taken up has the token that it had, and is taken up once.
            let mut taken_up = BTreeSet::new();
            grants.retain(|taken| {
                let Some(of) = taken.of else { return true };
                if !taken_up.insert(of) {
                    wrong.push(format!(
                        "`{key}`: {of} was taken up twice, by {} as well",
                        taken.id
                    ));
                }
                let given = self.attempts.iter().find(|attempt| attempt.id == of);
                if given.is_none_or(|given| token(given) != token(taken)) {
                    wrong.push(format!("`{key}`: {} has not the token of {of}", taken.id));
                }
                false
            });
            // By the order in which the tokens rise; whoever was granted before another has asked must come before it.
            grants.sort_by_key(|attempt| token(attempt));
            let mut asked = (0, None::<&Attempt>);
            for grant in &grants {
                if let (latest, Some(before)) = asked
                    && grant.granted.is_some_and(|at| at < latest)
                {
                    wrong.push(format!(
                        "`{key}`: {} had {} before {} asked, which got {}",
                        grant.id,
                        token(grant),
                        before.id,
                        token(before)
                    ));
                }
                if grant.invoked > asked.0 {
                    asked = (grant.invoked, Some(grant));
                }
            }
            for pair in grants.windows(2) {
                if let [one, next] = pair
                    && token(one) == token(next)
                {
                    let twice = token(one);
                    wrong.push(format!("`{key}`: {} and {} have {twice}", one.id, next.id));
                }
            }
            // The times in which they were held are in the same order.
            let mut held: Vec<(Nanos, u64, &Attempt)> = grants
                .iter()
                .filter_map(|grant| grant.claim().map(|(from, _)| (from, token(grant), *grant)))
                .collect();
            held.sort_by_key(|(from, ..)| *from);
            for pair in held.windows(2) {
                if let [(_, before, one), (held, after, next)] = pair
                    && after <= before
                    // Of several keys one may have been won before the store forgot it, and its guard came after that.
                    && !self.forgotten(next.invoked, *held)
                {
                    wrong.push(format!(
                        "`{key}`: {} was held with {before}, and after it {} with {after}",
                        one.id, next.id
                    ));
                }
            }
        }
        for attempt in self.attempts {
            let rejected = attempt.writes.iter().find(|(_, accepted)| !accepted);
            if let (Some((at, _)), Some((asked, _))) = (rejected, attempt.held.last())
                && asked > at
                && self.circumstances.forgot.is_empty()
            {
                wrong.push(format!(
                    "{} was held, and its write was rejected as that of an older holder",
                    attempt.id
                ));
            }
        }
        for seen in wrong {
            self.found("tokens", seen);
        }
    }

    fn loss(&mut self) {
        let mut wrong = Vec::new();
        for attempt in self.attempts {
            let known = [attempt.unheld, attempt.lost].into_iter().flatten().min();
            if let (Some(known), Some((asked, _))) = (known, attempt.held.last())
                && *asked > known
            {
                let seen = format!("{} was held again after it was lost", attempt.id);
                wrong.push(("loss is final", seen));
            }
            if let Some(unheld) = attempt.unheld
                && !self.stalled(Some(attempt.id.process), unheld, unheld + TOLD)
                && !self.disturbed_itself(attempt.id.process, unheld, unheld + TOLD)
                && attempt.lost.is_none_or(|lost| lost > unheld + TOLD)
                && self.lived(attempt, unheld + TOLD)
            {
                let seen = match attempt.lost {
                    Some(lost) => format!(
                        "{} heard of its loss {} ms after it",
                        attempt.id,
                        (lost - unheld) / MS
                    ),
                    None => format!("{} never heard of its loss", attempt.id),
                };
                wrong.push(("loss is told", seen));
            }
            let lost = [attempt.unheld, attempt.lost].into_iter().flatten().min();
            if let (Some(lost), Some(granted), true) = (lost, attempt.granted, attempt.renew)
                && !self.disturbed(
                    Some(attempt.id.process),
                    granted.max(lost.saturating_sub(self.circumstances.ttl)),
                    lost,
                )
                && lost < self.circumstances.stopped
            {
                let seen = format!("{} was renewed and undisturbed, and lost", attempt.id);
                wrong.push(("loss has a cause", seen));
            }
        }
        for (check, seen) in wrong {
            self.found(check, seen);
        }
    }

    /// Whether `process` has only just begun: it opens all its connections at once, which may take longer than a call may.
    fn starting(&self, process: u32, at: Nanos) -> bool {
        let of_process = self
            .attempts
            .iter()
            .filter(|attempt| attempt.id.process == process);
        let first = of_process.map(|attempt| attempt.invoked).min();
        first.is_some_and(|first| at < first + STARTING)
    }

    /// Whether something was done to this very process.
    fn disturbed_itself(&self, process: u32, from: Nanos, to: Nanos) -> bool {
        self.circumstances.windows.iter().any(|window| {
            window.victim == Some(process) && window.from <= to && window.to + SLACK >= from
        })
    }

    /// Whether the process of `attempt` lived beyond `at`.
    fn lived(&self, attempt: &Attempt, at: Nanos) -> bool {
        let killed = self.circumstances.killed.get(&attempt.id.process);
        killed.is_none_or(|killed| *killed > at)
    }

    fn waits(&mut self) {
        let mut wrong = Vec::new();
        for attempt in self.attempts {
            let process = attempt.id.process;
            let bound = attempt.wait + self.circumstances.request_timeout + SLACK;
            match attempt.settled() {
                Some(at)
                    if at > attempt.invoked + bound
                        && !self.stalled(Some(process), attempt.invoked, at)
                        && !self.disturbed_itself(process, attempt.invoked, at) =>
                {
                    wrong.push(format!(
                        "{} took {} ms, and was to take {} ms at the most",
                        attempt.id,
                        (at - attempt.invoked) / MS,
                        bound / MS
                    ));
                }
                Some(_) => {}
                None if self.circumstances.killed.contains_key(&process) => {}
                None => wrong.push(format!("{} was never answered", attempt.id)),
            }
            if attempt.granted.is_some()
                && attempt.end.is_none()
                && !self.circumstances.killed.contains_key(&process)
            {
                wrong.push(format!("{} was granted and never ended", attempt.id));
            }
        }
        for seen in wrong {
            self.found("waits end", seen);
        }
    }

    fn errors(&mut self) {
        let mut wrong = Vec::new();
        for attempt in self.attempts {
            let failed = match (attempt.failed, attempt.end) {
                (Some((at, Fail::NotApplied | Fail::Unknown | Fail::Lost)), _)
                | (_, Some((at, End::Failed | End::NotHeld))) => at,
                (Some((at, Fail::Other)), _) => {
                    wrong.push(format!(
                        "{} ended by no error of a lock, at {at}",
                        attempt.id
                    ));
                    continue;
                }
                _ => continue,
            };
            let process = attempt.id.process;
            if !self.disturbed(Some(process), attempt.invoked, failed)
                && !self.starting(process, attempt.invoked)
            {
                wrong.push(format!(
                    "{} was told that the store failed ({:?}, {:?}), and nothing was disturbed",
                    attempt.id, attempt.failed, attempt.end
                ));
            }
        }
        for seen in wrong {
            self.found("errors have a cause", seen);
        }
        let mut untold = Vec::new();
        for window in self
            .circumstances
            .windows
            .iter()
            .filter(|window| window.dead)
        {
            let long = window.to - window.from > 2 * self.circumstances.request_timeout + SLACK;
            let told = self.attempts.iter().any(|attempt| {
                window
                    .victim
                    .is_none_or(|victim| victim == attempt.id.process)
                    && matches!(attempt.failed, Some((at, Fail::NotApplied | Fail::Unknown))
                        if at >= window.from && at <= window.to + AFTERMATH)
            });
            if long && !told {
                untold.push(format!("{} was told to nobody", window.fault));
            }
        }
        for seen in untold {
            self.found("dead stores are told", seen);
        }
    }

    /// From when to when `attempt` may have held its keys at the store. Strictly: if the link works, as soon as what was
    /// done ought to have arrived there.
    fn reign(&self, attempt: &Attempt, strictly: bool) -> Option<(Nanos, Nanos)> {
        let Circumstances {
            ttl,
            request_timeout,
            ..
        } = *self.circumstances;
        let orphan = ttl + SLACK;
        let process = attempt.id.process;
        let at_once = |from: Nanos, to: Nanos| {
            if strictly && !self.disturbed(Some(process), from, to + AT_ONCE) {
                AT_ONCE
            } else {
                orphan
            }
        };
        let recent = |at: Nanos| {
            if strictly {
                attempt.invoked.max(at.saturating_sub(request_timeout))
            } else {
                attempt.invoked
            }
        };
        let killed = self.circumstances.killed.get(&process).copied();
        if let Some(granted) = attempt.granted {
            let to = match attempt.end {
                Some((at, End::Released)) => at,
                Some((at, End::Given | End::Failed | End::NotHeld)) => at + orphan,
                Some((at, End::Lost | End::Dropped)) => at + at_once(granted, at),
                None => killed.unwrap_or(attempt.last) + orphan,
            };
            return Some((recent(granted), to));
        }
        match (attempt.failed, attempt.cancelled) {
            (Some((at, Fail::Unknown)), _) => Some((recent(at), at + orphan)),
            // Keys that were won while others were awaited.
            (Some((at, Fail::Timeout | Fail::Lost | Fail::NotApplied)), _)
                if attempt.keys.len() > 1 =>
            {
                Some((attempt.invoked, at + at_once(attempt.invoked, at)))
            }
            // Taking up something that had another end.
            (Some((at, Fail::NotHeld)), _) => Some((recent(at), at)),
            (Some(_), _) => None,
            (None, Some(at)) if attempt.keys.len() > 1 => {
                Some((attempt.invoked, at + at_once(attempt.invoked, at)))
            }
            (None, Some(at)) => Some((recent(at), at + at_once(attempt.invoked, at))),
            (None, None) => Some((attempt.invoked, killed.unwrap_or(attempt.last) + orphan)),
        }
    }

    fn busy(&mut self) {
        let mut wrong = Vec::new();
        for attempt in self.attempts {
            let Some((at, Fail::Busy | Fail::Timeout)) = attempt.failed else {
                continue;
            };
            let held = attempt.keys.iter().any(|key| {
                self.of_key(key).any(|other| {
                    other.id != attempt.id
                        && self
                            .reign(other, false)
                            .is_some_and(|(from, to)| from <= at && to >= attempt.invoked)
                })
            });
            if !held {
                wrong.push(format!("{} found {:?} busy", attempt.id, attempt.keys));
            }
        }
        for seen in wrong {
            self.found("busy has a holder", seen);
        }
    }

    fn served(&mut self) {
        let mut wrong = Vec::new();
        // Nothing is expected while something is done to a link or the store, and until the leases that it cost are over.
        // Whoever is paused or killed keeps no key beyond its own leases.
        let after = self.circumstances.ttl + AFTERMATH;
        let mut disturbances: Vec<(Nanos, Nanos)> = self
            .circumstances
            .windows
            .iter()
            .filter(|window| window.dead || window.victim.is_none())
            .map(|window| (window.from, window.to + after))
            .collect();
        disturbances.extend(
            self.stalls
                .iter()
                .map(|stall| (stall.from, stall.to + after)),
        );
        let end = self.attempts.iter().map(|attempt| attempt.last).max();
        let end = end.unwrap_or(0);
        for key in self.keys() {
            let mut taken: Vec<(Nanos, Nanos)> = self
                .of_key(key)
                .filter_map(|attempt| self.reign(attempt, true))
                .collect();
            taken.extend(&disturbances);
            // Who is still waiting at the end was waiting for nobody.
            taken.push((end, end));
            taken.sort_unstable();
            let mut free_from = 0;
            for (from, to) in taken {
                if free_from > 0 && from > free_from + UNSERVED {
                    let waiter = self.of_key(key).find(|attempt| {
                        let unserved = attempt.invoked.max(free_from) + UNSERVED;
                        attempt.keys.len() == 1
                            && attempt.of.is_none()
                            && from > unserved
                            && attempt.settled().unwrap_or(attempt.last) > unserved
                            && self.lived(attempt, unserved)
                            && !self.disturbed_itself(attempt.id.process, attempt.invoked, from)
                    });
                    if let Some(waiter) = waiter {
                        wrong.push(format!(
                            "`{key}` was free for {} ms, and {} waited for it",
                            (from - free_from) / MS,
                            waiter.id
                        ));
                    }
                }
                free_from = free_from.max(to);
            }
        }
        for seen in wrong {
            self.found("free keys are served", seen);
        }
    }

    fn come_back(&mut self) {
        let late: Vec<String> = self
            .circumstances
            .probes
            .iter()
            .filter(|(_, took, bound)| took > bound)
            .map(|(key, took, bound)| {
                let (took, bound) = (took / MS, bound / MS);
                format!("`{key}` could be had after {took} ms only, not after {bound} ms")
            })
            .collect();
        for seen in late {
            self.found("keys come back", seen);
        }
    }
}

#[cfg(test)]
mod tests;

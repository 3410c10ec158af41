//! Each check finds what it is for, and nothing in a history as it should be.

use super::*;
use crate::history::{HOT, Id, Work};

const SECOND: Nanos = 1_000 * MS;

/// A guard of `k` that was asked for at `invoked`, held from there to `ended`, and released.
fn guard(process: u32, number: u64, token: u64, invoked: Nanos, ended: Nanos) -> Attempt {
    Attempt {
        id: Id { process, number },
        work: Work::Hot,
        keys: vec!["k".to_owned()],
        wait: SECOND,
        renew: true,
        of: None,
        invoked,
        granted: Some(invoked + MS),
        tokens: vec![token],
        held: vec![(invoked + 2 * MS, invoked + 3 * MS), (ended - MS, ended)],
        unheld: None,
        lost: None,
        writes: Vec::new(),
        end: Some((ended + MS, End::Released)),
        failed: None,
        cancelled: None,
        last: ended + MS,
    }
}

/// An attempt that was told `fail` at `failed`.
fn failure(process: u32, number: u64, fail: Fail, invoked: Nanos, failed: Nanos) -> Attempt {
    Attempt {
        granted: None,
        tokens: Vec::new(),
        held: Vec::new(),
        end: None,
        failed: Some((failed, fail)),
        last: failed,
        ..guard(process, number, 0, invoked, invoked + 10 * MS)
    }
}

fn undisturbed() -> Circumstances {
    Circumstances {
        ttl: SECOND,
        request_timeout: 500 * MS,
        stopped: 1000 * SECOND,
        ..Circumstances::default()
    }
}

fn window(from: Nanos, to: Nanos, victim: Option<u32>, dead: bool) -> Window {
    Window {
        fault: "a fault",
        from,
        to,
        victim,
        dead,
    }
}

/// The checks that find something.
fn finds(attempts: &[Attempt], circumstances: &Circumstances) -> Vec<&'static str> {
    let (_, violations) = check(attempts, &[], circumstances);
    let mut checks: Vec<_> = violations.iter().map(|violation| violation.check).collect();
    checks.dedup();
    checks
}

#[test]
fn a_history_as_it_should_be_has_no_violation() {
    let busy = failure(
        2,
        1,
        Fail::Busy,
        10 * SECOND + 20 * MS,
        10 * SECOND + 30 * MS,
    );
    let attempts = [
        guard(0, 1, 5, 10 * SECOND, 10 * SECOND + 100 * MS),
        guard(1, 1, 6, 10 * SECOND + 101 * MS, 10 * SECOND + 200 * MS),
        busy,
    ];
    assert_eq!(finds(&attempts, &undisturbed()), [""; 0]);
}

#[test]
fn two_that_hold_at_a_time_are_found() {
    let attempts = [
        guard(0, 1, 5, 10 * SECOND, 11 * SECOND),
        guard(1, 1, 6, 10 * SECOND + 500 * MS, 12 * SECOND),
    ];
    assert_eq!(finds(&attempts, &undisturbed()), ["exclusion"]);
    // What a store forgets, it may grant again.
    let forgetful = Circumstances {
        forgot: vec![(10 * SECOND + 400 * MS, 10 * SECOND + 410 * MS)],
        ..undisturbed()
    };
    assert_eq!(finds(&attempts, &forgetful), [""; 0]);
    // Before both, or after both, it is no excuse.
    for moment in [9 * SECOND, 13 * SECOND] {
        let forgetful = Circumstances {
            forgot: vec![(moment, moment + MS)],
            ..undisturbed()
        };
        assert_eq!(finds(&attempts, &forgetful), ["exclusion"]);
    }
}

#[test]
fn one_within_the_time_of_a_longer_one_is_found() {
    let attempts = [
        guard(0, 1, 5, 10 * SECOND, 20 * SECOND),
        guard(1, 1, 6, 11 * SECOND, 11 * SECOND + 20 * MS),
        guard(1, 2, 7, 12 * SECOND, 12 * SECOND + 20 * MS),
    ];
    let (_, violations) = check(&attempts, &[], &undisturbed());
    assert_eq!(violations.len(), 2, "{violations:?}");
}

#[test]
fn tokens_that_fall_or_repeat_are_found() {
    let two = |first, second| {
        [
            guard(0, 1, first, 10 * SECOND, 10 * SECOND + 100 * MS),
            guard(1, 1, second, 11 * SECOND, 11 * SECOND + 100 * MS),
        ]
    };
    assert_eq!(finds(&two(6, 5), &undisturbed()), ["tokens"]);
    assert_eq!(finds(&two(5, 5), &undisturbed()), ["tokens"]);
    let forgetful = Circumstances {
        forgot: vec![(10 * SECOND + 500 * MS, 10 * SECOND + 510 * MS)],
        ..undisturbed()
    };
    assert_eq!(finds(&two(6, 5), &forgetful), ["tokens"]);
}

#[test]
fn a_lock_that_was_taken_up_keeps_its_token() {
    let mut given = guard(0, 1, 5, 10 * SECOND, 10 * SECOND + 100 * MS);
    given.end = Some((10 * SECOND + 101 * MS, End::Given));
    let mut taken = guard(1, 1, 5, 10 * SECOND + 102 * MS, 10 * SECOND + 200 * MS);
    taken.of = Some(given.id);
    assert_eq!(
        finds(&[given.clone(), taken.clone()], &undisturbed()),
        [""; 0]
    );
    let mut twice = taken.clone();
    (twice.id.number, twice.invoked) = (2, 10 * SECOND + 300 * MS);
    twice.granted = Some(10 * SECOND + 301 * MS);
    twice.held = vec![(10 * SECOND + 302 * MS, 10 * SECOND + 303 * MS)];
    twice.end = Some((10 * SECOND + 400 * MS, End::Released));
    assert_eq!(
        finds(&[given.clone(), taken.clone(), twice], &undisturbed()),
        ["tokens"]
    );
    taken.tokens = vec![6];
    assert_eq!(finds(&[given, taken], &undisturbed()), ["tokens"]);
}

#[test]
fn a_write_of_the_holder_that_is_rejected_is_found() {
    let mut held = guard(0, 1, 5, 10 * SECOND, 11 * SECOND);
    held.writes = vec![(10 * SECOND + 500 * MS, false)];
    assert_eq!(finds(&[held.clone()], &undisturbed()), ["tokens"]);
    // One who has lost his lock meanwhile is an older holder.
    held.held.truncate(1);
    assert_eq!(finds(&[held], &undisturbed()), [""; 0]);
}

#[test]
fn a_loss_that_is_taken_back_or_not_told_is_found() {
    let lost = |told: Option<Nanos>, again: bool| {
        let mut lost = guard(0, 1, 5, 10 * SECOND, 12 * SECOND);
        lost.renew = false;
        lost.unheld = Some(12 * SECOND + 10 * MS);
        lost.lost = told;
        lost.end = Some((13 * SECOND, End::Lost));
        if again {
            lost.held
                .push((12 * SECOND + 20 * MS, 12 * SECOND + 21 * MS));
        }
        [lost]
    };
    let at_once = Some(12 * SECOND + 50 * MS);
    assert_eq!(finds(&lost(at_once, false), &undisturbed()), [""; 0]);
    assert_eq!(
        finds(&lost(at_once, true), &undisturbed()),
        ["loss is final"]
    );
    let late = Some(12 * SECOND + 500 * MS);
    assert_eq!(finds(&lost(late, false), &undisturbed()), ["loss is told"]);
    assert_eq!(finds(&lost(None, false), &undisturbed()), ["loss is told"]);
    let mut paused = undisturbed();
    paused.windows = vec![window(12 * SECOND, 13 * SECOND, Some(0), false)];
    assert_eq!(finds(&lost(late, false), &paused), [""; 0]);
}

#[test]
fn a_renewed_lease_that_is_lost_for_nothing_is_found() {
    let mut lost = guard(0, 1, 5, 10 * SECOND, 12 * SECOND);
    (lost.unheld, lost.lost) = (Some(12 * SECOND), Some(12 * SECOND + MS));
    lost.end = Some((12 * SECOND + 50 * MS, End::Lost));
    assert_eq!(finds(&[lost.clone()], &undisturbed()), ["loss has a cause"]);
    let mut cut = undisturbed();
    cut.windows = vec![window(11 * SECOND, 12 * SECOND, None, true)];
    assert_eq!(finds(&[lost], &cut), [""; 0]);
}

#[test]
fn a_wait_that_is_too_long_or_has_no_end_is_found() {
    let holder = guard(0, 1, 5, 10 * SECOND, 15 * SECOND);
    let slow = failure(1, 1, Fail::Timeout, 10 * SECOND, 12 * SECOND);
    assert_eq!(
        finds(&[holder.clone(), slow], &undisturbed()),
        ["waits end"]
    );
    let mut unanswered = failure(1, 1, Fail::Timeout, 10 * SECOND, 11 * SECOND);
    unanswered.failed = None;
    assert_eq!(
        finds(&[holder.clone(), unanswered.clone()], &undisturbed()),
        ["waits end"]
    );
    let mut killed = undisturbed();
    killed.killed.insert(1, 11 * SECOND);
    assert_eq!(finds(&[holder.clone(), unanswered], &killed), [""; 0]);
    let mut kept = holder;
    kept.end = None;
    assert_eq!(finds(&[kept], &undisturbed()), ["waits end"]);
}

#[test]
fn an_error_without_a_cause_is_found() {
    let failed = failure(0, 2, Fail::Unknown, 10 * SECOND, 10 * SECOND + 500 * MS);
    // A process that has just begun is given some time.
    assert_eq!(
        finds(std::slice::from_ref(&failed), &undisturbed()),
        [""; 0]
    );
    let before = guard(0, 1, 5, 8 * SECOND, 8 * SECOND + 100 * MS);
    let finds = |failed: Attempt, circumstances: &Circumstances| {
        finds(&[before.clone(), failed], circumstances)
    };
    assert_eq!(
        finds(failed.clone(), &undisturbed()),
        ["errors have a cause"]
    );
    let mut cut = undisturbed();
    cut.windows = vec![window(10 * SECOND, 11 * SECOND, Some(0), true)];
    assert_eq!(finds(failed.clone(), &cut), [""; 0]);
    // Somebody else's link.
    cut.windows = vec![window(10 * SECOND, 11 * SECOND, Some(1), false)];
    assert_eq!(finds(failed, &cut), ["errors have a cause"]);
}

#[test]
fn a_dead_store_that_nobody_hears_of_is_found() {
    let mut frozen = undisturbed();
    frozen.windows = vec![window(10 * SECOND, 12 * SECOND, None, true)];
    assert_eq!(finds(&[], &frozen), ["dead stores are told"]);
    let told = failure(0, 1, Fail::NotApplied, 11 * SECOND, 11 * SECOND + 100 * MS);
    assert_eq!(finds(&[told], &frozen), [""; 0]);
}

#[test]
fn busy_without_a_holder_is_found() {
    let holder = guard(0, 1, 5, 10 * SECOND, 10 * SECOND + 100 * MS);
    let busy = failure(1, 1, Fail::Busy, 11 * SECOND, 11 * SECOND + 10 * MS);
    assert_eq!(
        finds(&[holder.clone(), busy.clone()], &undisturbed()),
        ["busy has a holder"]
    );
    // One that was killed may have had it.
    let mut killed = undisturbed();
    killed.killed.insert(0, 10 * SECOND + 100 * MS);
    let mut dead = holder;
    dead.end = None;
    assert_eq!(finds(&[dead, busy], &killed), [""; 0]);
}

#[test]
fn a_waiter_of_a_free_key_is_found() {
    let waiter = |granted| {
        let mut waiter = guard(1, 1, 6, 10 * SECOND, 20 * SECOND);
        waiter.wait = 10 * SECOND;
        waiter.granted = Some(granted);
        waiter.held = vec![(granted, granted)];
        waiter.end = Some((granted + 10 * MS, End::Released));
        waiter
    };
    let holder = guard(0, 1, 5, 9 * SECOND, 11 * SECOND);
    let soon = [holder.clone(), waiter(11 * SECOND + 100 * MS)];
    assert_eq!(finds(&soon, &undisturbed()), [""; 0]);
    let late = [holder, waiter(15 * SECOND)];
    assert_eq!(finds(&late, &undisturbed()), ["free keys are served"]);
    // Not while the store answers nothing.
    let mut frozen = undisturbed();
    frozen.windows = vec![window(12 * SECOND, 13 * SECOND, None, false)];
    assert_eq!(finds(&late, &frozen), [""; 0]);
}

#[test]
fn a_key_that_does_not_come_back_is_found() {
    let mut probed = undisturbed();
    probed.probes = vec![("k".to_owned(), 1400 * MS, 1500 * MS)];
    assert_eq!(finds(&[], &probed), [""; 0]);
    probed.probes.push(("l".to_owned(), 1600 * MS, 1500 * MS));
    assert_eq!(finds(&[], &probed), ["keys come back"]);
}

#[test]
fn the_longest_gap_is_that_of_somebody_who_waits_for_nobody() {
    let hot = |mut attempt: Attempt| {
        attempt.keys = vec![HOT.to_owned()];
        attempt
    };
    let first = hot(guard(0, 1, 5, 10 * SECOND, 11 * SECOND));
    let mut second = hot(guard(1, 1, 6, 10 * SECOND + 500 * MS, 14 * SECOND));
    second.granted = Some(13 * SECOND);
    second.held = vec![(13 * SECOND + MS, 13 * SECOND + MS)];
    let (figures, _) = check(&[first, second], &[], &undisturbed());
    let gap = figures.longest_gap;
    assert!((1990 * MS..=2010 * MS).contains(&gap), "{gap}");
}

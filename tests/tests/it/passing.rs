//! A release that is the next grant: in order, only so often in a row, and to nobody who does not take it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tests::{eventually, soon};
use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op, Rule};
use verrou::{Error, LockFactory, LockGuard, Outcome, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);
/// A lease that no test waits for: what is free before was released.
const TTL: Duration = Duration::from_secs(120);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);

/// An instance on a store that acts as one with connections; the store; and an instance elsewhere.
struct Stage {
    verrou: Verrou,
    store: FaultStore<MemoryStore>,
    memory: MemoryStore,
    elsewhere: LockFactory,
}

type Waiting = tokio::task::JoinHandle<Result<LockGuard, Error>>;

impl Stage {
    fn new() -> Self {
        let memory = MemoryStore::new();
        let store = FaultStore::new(memory.clone()).with_io();
        let verrou = Verrou::builder()
            .store("s", store.clone())
            .request_timeout(REQUEST_TIMEOUT)
            .build()
            .unwrap();
        Self {
            verrou,
            store,
            elsewhere: LockFactory::new(memory.clone()),
            memory,
        }
    }

    fn lock(&self) -> verrou::Lock {
        self.verrou.create_lock("k").ttl(TTL).wait(Wait::Forever)
    }

    async fn hold(&self) -> LockGuard {
        soon("the key", self.lock().acquire()).await.unwrap()
    }

    /// Somebody who stands in the queue by now.
    async fn waits(&self, lock: verrou::Lock) -> Waiting {
        let mut waiting = Box::pin(async move { lock.acquire().await });
        assert!(polled(waiting.as_mut()).is_pending());
        tokio::spawn(waiting)
    }

    async fn becomes_free(&self) {
        eventually("the key is free", || self.memory.is_empty()).await;
    }
}

fn polled<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn got(waiting: Waiting) -> LockGuard {
    soon("the grant", waiting).await.unwrap().unwrap()
}

#[tokio::test]
async fn waiters_get_the_key_in_their_order_with_one_call_each() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let grants = Arc::new(Mutex::new(vec![(0, held.token())]));
    let mut waiting = Vec::new();
    for number in 1..=8 {
        let (lock, grants) = (stage.lock(), Arc::clone(&grants));
        let mut works = Box::pin(async move {
            let guard = lock.acquire().await.unwrap();
            grants.lock().unwrap().push((number, guard.token()));
            tokio::task::yield_now().await;
            assert!(guard.is_held());
            guard.release().await.unwrap();
        });
        assert!(polled(works.as_mut()).is_pending());
        waiting.push(tokio::spawn(works));
    }
    held.release().await.unwrap();
    for works in waiting {
        soon("a grant", works).await.unwrap();
    }
    let grants = grants.lock().unwrap().clone();
    assert_eq!(grants.len(), 9);
    assert!(
        grants.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1),
        "{grants:?}"
    );
    assert_eq!(stage.store.calls(Op::Pass), 8);
    assert_eq!(stage.store.calls(Op::Acquire), 1);
    assert_eq!(stage.store.calls(Op::Release), 1);
    assert!(stage.memory.is_empty());
}

#[tokio::test]
async fn a_waiter_elsewhere_gets_its_turn_while_a_crowd_passes_the_key_on() {
    let stage = Stage::new();
    let stop = Arc::new(AtomicBool::new(false));
    let grants = Arc::new(AtomicUsize::new(0));
    let mut crowd = Vec::new();
    for _ in 0..4 {
        let (lock, stop, grants) = (stage.lock(), Arc::clone(&stop), Arc::clone(&grants));
        crowd.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let guard = lock.acquire().await.unwrap();
                grants.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                guard.release().await.unwrap();
            }
        }));
    }
    eventually("the crowd is at work", || {
        grants.load(Ordering::Relaxed) > 100
    })
    .await;
    for _ in 0..20 {
        let lock = stage.elsewhere.create_lock("k");
        let guard = soon("a turn elsewhere", lock.wait(Wait::Forever).acquire()).await;
        guard.unwrap().release().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for works in crowd {
        soon("the end of the crowd", works).await.unwrap();
    }
    let grants = grants.load(Ordering::Relaxed);
    let (passes, releases) = (stage.store.calls(Op::Pass), stage.store.calls(Op::Release));
    assert!(passes > 0);
    assert!(
        releases * 17 >= grants,
        "{passes} passes and {releases} releases of {grants} grants"
    );
}

/// What a fault of the pass means for the one who releases.
#[derive(Clone, Copy, Debug)]
enum Told {
    Done,
    NotApplied,
    Unknown,
}

/// Puts a rule into force.
type Fault = fn(Rule);

#[tokio::test]
async fn whatever_becomes_of_a_pass_the_next_one_gets_the_key() {
    let faults: [(&str, Fault, Told); 8] = [
        ("fail_before", Rule::fail_before, Told::NotApplied),
        ("fail_lost", Rule::fail_lost, Told::Unknown),
        ("fail_after", Rule::fail_after, Told::Unknown),
        ("hang_unsent", Rule::hang_unsent, Told::NotApplied),
        ("hang_before", Rule::hang_before, Told::Unknown),
        ("hang_after", Rule::hang_after, Told::Unknown),
        (
            "delay_before",
            |rule| rule.delay_before(20 * MS),
            Told::Done,
        ),
        ("delay_after", |rule| rule.delay_after(20 * MS), Told::Done),
    ];
    for (name, fault, told) in faults {
        // The one behind the head is its neighbour: it hears nothing of a failure that is not its own.
        let stage = Stage::new();
        let held = stage.hold().await;
        let next = stage.waits(stage.lock()).await;
        let neighbour = stage.waits(stage.lock()).await;
        fault(stage.store.on(Op::Pass).times(1));
        let before = held.token();
        let released = held.release().await;
        let as_told = match (&released, told) {
            (Ok(()), Told::Done) => true,
            (Err(Error::Store { outcome, .. }), Told::NotApplied) => {
                *outcome == Outcome::NotApplied
            }
            (Err(Error::Store { outcome, .. }), Told::Unknown) => *outcome == Outcome::Unknown,
            _ => false,
        };
        assert!(as_told, "{name}: {released:?}");
        let next = got(next).await;
        assert!(next.is_held() && next.token() > before, "{name}");
        // What was hanging goes on now, and must not touch the lease of the next one.
        stage.store.let_go();
        tokio::time::sleep(20 * MS).await;
        assert!(stage.lock().is_locked().await.unwrap(), "{name}");
        let before = next.token();
        next.release().await.unwrap();
        let neighbour = got(neighbour).await;
        assert!(neighbour.token() > before, "{name}");
        neighbour.release().await.unwrap();
        stage.becomes_free().await;
    }
}

#[tokio::test]
async fn what_was_passed_to_a_waiter_that_has_gone_is_released() {
    for others in [false, true] {
        let stage = Stage::new();
        let held = stage.hold().await;
        let next = stage.waits(stage.lock()).await;
        let other = match others {
            true => Some(stage.waits(stage.lock()).await),
            false => None,
        };
        stage.store.on(Op::Pass).times(1).hang_after();
        let releasing = tokio::spawn(held.release());
        stage
            .store
            .until(|store| store.in_flight(Op::Pass) == 1)
            .await;
        next.abort();
        assert!(next.await.is_err());
        stage.store.let_go();
        soon("the release", releasing).await.unwrap().unwrap();
        if let Some(other) = other {
            drop(got(other).await);
        }
        stage.becomes_free().await;
    }
}

#[tokio::test]
async fn what_was_passed_to_a_waiter_that_goes_without_a_look_is_released() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let mut next = Box::pin(stage.lock().acquire());
    assert!(polled(next.as_mut()).is_pending());
    held.release().await.unwrap();
    assert_eq!(stage.store.calls(Op::Pass), 1);
    drop(next);
    stage.becomes_free().await;
}

#[tokio::test]
async fn a_waiter_that_is_kept_and_not_polled_stops_nobody() {
    for elsewhere in [false, true] {
        let stage = Stage::new();
        let held = stage.hold().await;
        let mut kept = Box::pin(stage.lock().acquire());
        assert!(polled(kept.as_mut()).is_pending());
        let lock = match elsewhere {
            true => stage.elsewhere.create_lock("k").wait(Wait::Forever),
            false => stage.lock(),
        };
        let other = stage.waits(lock).await;
        let started = Instant::now();
        held.release().await.unwrap();
        assert_eq!(stage.store.calls(Op::Pass), 1);
        let guard = got(other).await;
        let blocked = started.elapsed();
        assert!(blocked < 1000 * MS, "it was in the way for {blocked:?}");
        guard.release().await.unwrap();
        drop(soon("the kept one", kept).await.unwrap());
        stage.becomes_free().await;
    }
}

#[tokio::test]
async fn a_wait_that_ends_while_the_key_is_passed_on_blocks_nobody() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let lock = stage.lock().wait(Wait::For(50 * MS));
    let mut next = Box::pin(async move { lock.acquire().await.map(drop) });
    assert!(polled(next.as_mut()).is_pending());
    let next = tokio::spawn(next);
    let other = stage.waits(stage.lock()).await;
    stage.store.on(Op::Pass).times(1).delay_after(150 * MS);
    held.release().await.unwrap();
    drop(got(other).await);
    // What this process is just giving back is waited for before the first try, so both ends are right.
    let next = soon("the end of the wait", next).await.unwrap();
    assert!(
        matches!(next, Ok(()) | Err(Error::Timeout { .. })),
        "{next:?}"
    );
    stage.becomes_free().await;
}

#[tokio::test]
async fn a_grant_whose_lease_is_over_before_it_is_seen_is_asked_for_anew() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let next = stage.waits(stage.lock().ttl(60 * MS)).await;
    stage.store.on(Op::Pass).times(1).delay_after(100 * MS);
    held.release().await.unwrap();
    let guard = got(next).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
    stage.becomes_free().await;
}

#[tokio::test]
async fn a_shutdown_leaves_nothing_that_was_passed_on() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let next = stage.waits(stage.lock()).await;
    stage.store.on(Op::Pass).times(1).delay_after(100 * MS);
    let releasing = tokio::spawn(held.release());
    stage
        .store
        .until(|store| store.in_flight(Op::Pass) == 1)
        .await;
    stage.verrou.shutdown().await.unwrap();
    assert!(stage.memory.is_empty());
    assert!(matches!(next.await.unwrap(), Err(Error::ShutDown)));
    soon("the release", releasing).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_key_among_several_is_passed_on_as_any_other() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let several = stage.verrou.create_lock_all(["a", "k", "z"]).ttl(TTL);
    let several = stage.waits(several).await;
    eventually("the first of several is won", || stage.memory.len() == 2).await;
    let next = stage.waits(stage.lock()).await;
    held.release().await.unwrap();
    let several = got(several).await;
    assert!(several.is_held());
    assert_eq!(stage.store.calls(Op::Pass), 1);
    several.release().await.unwrap();
    got(next).await.release().await.unwrap();
    assert_eq!(stage.store.calls(Op::Pass), 2);
    stage.becomes_free().await;
}

#[tokio::test]
async fn a_key_that_stays_taken_after_its_holder_is_not_passed_on() {
    let stage = Stage::new();
    let lock = stage.lock().min_hold(100 * MS);
    let held = soon("the key", lock.acquire()).await.unwrap();
    let granted = Instant::now();
    let next = stage.waits(stage.lock()).await;
    held.release().await.unwrap();
    let guard = got(next).await;
    assert!(granted.elapsed() >= 90 * MS, "{:?}", granted.elapsed());
    assert_eq!(stage.store.calls(Op::Pass), 0);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_is_gone_is_not_passed_on() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let next = stage.waits(stage.lock()).await;
    assert!(stage.lock().force_release().await.unwrap());
    let released = held.release().await;
    assert!(
        matches!(released, Err(Error::NotHeld { .. })),
        "{released:?}"
    );
    assert_eq!(stage.store.calls(Op::Pass), 1);
    got(next).await.release().await.unwrap();
    stage.becomes_free().await;
}

#[tokio::test]
async fn a_try_beside_a_pass_waits_for_it_and_finds_the_key_held() {
    let stage = Stage::new();
    let held = stage.hold().await;
    let next = stage.waits(stage.lock()).await;
    stage.store.on(Op::Pass).times(1).hang_after();
    let releasing = tokio::spawn(held.release());
    stage
        .store
        .until(|store| store.in_flight(Op::Pass) == 1)
        .await;
    let lock = stage.lock();
    let mut trying = Box::pin(lock.try_acquire());
    assert!(polled(trying.as_mut()).is_pending());
    stage.store.let_go();
    assert!(soon("the try", trying).await.unwrap().is_none());
    soon("the release", releasing).await.unwrap().unwrap();
    got(next).await.release().await.unwrap();
    assert_eq!(stage.store.calls(Op::Acquire), 1, "the try needs no call");
}

//! Every future may be dropped at any await, whatever the store does meanwhile: nothing stays held beyond a lease, and
//! nothing is left behind.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tests::{DEADLINE, Folder, dropping};
use tokio::task::JoinSet;
use verrou::drivers::{MemoryStore, SqliteStore};
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockFactory, LockGuard, LockOptions, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_millis(300);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(60);

/// Every call that the store counts in flight.
const OPS: [Op; 7] = [
    Op::Acquire,
    Op::Renew,
    Op::Adopt,
    Op::Release,
    Op::Pass,
    Op::Inspect,
    Op::ForceRelease,
];

/// What the store does with a call.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Ok,
    ErrorBefore,
    ErrorLost,
    ErrorAfter,
    SlowBefore,
    SlowAfter,
    NeverSent,
    NeverBefore,
    NeverAfter,
}

const FAULTS: [Fault; 9] = [
    Fault::Ok,
    Fault::ErrorBefore,
    Fault::ErrorLost,
    Fault::ErrorAfter,
    Fault::SlowBefore,
    Fault::SlowAfter,
    Fault::NeverSent,
    Fault::NeverBefore,
    Fault::NeverAfter,
];

impl Fault {
    fn plan(self, store: &FaultStore<MemoryStore>, op: Op) {
        let rule = store.on(op).times(1);
        match self {
            Self::Ok => {}
            Self::ErrorBefore => rule.fail_before(),
            Self::ErrorLost => rule.fail_lost(),
            Self::ErrorAfter => rule.fail_after(),
            Self::SlowBefore => rule.delay_before(15 * MS),
            Self::SlowAfter => rule.delay_after(15 * MS),
            Self::NeverSent => rule.hang_unsent(),
            Self::NeverBefore => rule.hang_before(),
            Self::NeverAfter => rule.hang_after(),
        }
    }
}

/// One cell: which call fails how, whether the store does I/O, and whether somebody else has the key at first.
#[derive(Clone, Copy, Debug)]
struct Cell {
    op: Op,
    fault: Fault,
    io: bool,
    contended: bool,
}

/// Polls `future` `polls` times, as it asks for it, and then drops it; whether it was still pending.
async fn cut<F: Future>(future: F, polls: u32) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(true);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if left == 0 => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops `work` after its n-th poll, for each n until it ends by itself; returns the number of polls.
async fn every_poll<F: Future>(cell: Cell, work: impl Fn(LockFactory) -> F) -> u32 {
    for polls in 0.. {
        assert!(polls < 200, "{cell:?} does not end");
        let memory = MemoryStore::new();
        let store = FaultStore::new(memory.clone());
        let store = if cell.io { store.with_io() } else { store };
        let verrou = Verrou::builder()
            .store("s", store.clone())
            .request_timeout(REQUEST_TIMEOUT)
            .options(LockOptions::new().ttl(TTL).wait(Wait::For(150 * MS)))
            .build()
            .unwrap();
        let elsewhere = LockFactory::new(memory.clone());
        let blocker = match cell.contended {
            true => Some(elsewhere.create_lock("k").acquire().await.unwrap()),
            false => None,
        };
        cell.fault.plan(&store, cell.op);
        let unblock = tokio::spawn(async move {
            tokio::time::sleep(10 * MS).await;
            drop(blocker);
        });
        let pending = cut(work(verrou.store("s").unwrap()), polls).await;
        unblock.await.unwrap();

        // G4: whatever was left behind blocks the key no longer than its lease after the store's last call.
        let limit = TTL + 2 * REQUEST_TIMEOUT + 500 * MS;
        let dropped = Instant::now();
        while !memory.is_empty() && elsewhere.create_lock("k").is_locked().await.unwrap() {
            assert!(
                dropped.elapsed() < limit,
                "{cell:?} after {polls} polls: held for {:?}",
                dropped.elapsed()
            );
            tokio::time::sleep(2 * MS).await;
        }
        // G6: the keeper's jobs end, and with them every call.
        for op in OPS {
            while store.in_flight(op) > 0 {
                assert!(
                    dropped.elapsed() < DEADLINE,
                    "{cell:?} after {polls} polls: a call never ends"
                );
                tokio::time::sleep(2 * MS).await;
            }
        }
        // The queue is whole: the next one gets the key.
        store.clear();
        store.let_go();
        let next = verrou
            .create_lock("k")
            .wait(Wait::For(DEADLINE))
            .acquire()
            .await;
        drop(next.unwrap_or_else(|error| {
            panic!("{cell:?} after {polls} polls: the next one got {error:?}")
        }));
        verrou.shutdown().await.unwrap();
        if !pending {
            return polls;
        }
    }
    0
}

fn cells(op: Op) -> Vec<Cell> {
    let mut cells = Vec::new();
    for fault in FAULTS {
        for io in [false, true] {
            for contended in [false, true] {
                cells.push(Cell {
                    op,
                    fault,
                    io,
                    contended,
                });
            }
        }
    }
    cells
}

async fn matrix<F>(op: Op, work: impl Fn(LockFactory) -> F + Copy + Send + Sync + 'static)
where
    F: Future + Send + 'static,
{
    let mut running = JoinSet::new();
    for cell in cells(op) {
        running.spawn(every_poll(cell, work));
    }
    let mut polls = Vec::new();
    while let Some(cell) = running.join_next().await {
        polls.push(cell.unwrap());
    }
    assert_eq!(polls.len(), 36);
    assert!(
        polls.iter().any(|polls| *polls > 1),
        "nothing was ever cut in the middle: {polls:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquire_may_be_dropped_at_any_poll() {
    matrix(Op::Acquire, |locks| async move {
        locks.create_lock("k").acquire().await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_may_be_dropped_at_any_poll() {
    matrix(Op::Acquire, |locks| async move {
        locks.create_lock("k").try_acquire().await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_may_be_dropped_at_any_poll() {
    matrix(Op::Release, |locks| async move {
        locks
            .create_lock("k")
            .run(async |_| tokio::time::sleep(5 * MS).await)
            .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_may_be_dropped_at_any_poll() {
    matrix(Op::Release, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        guard.release().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_may_be_dropped_at_any_poll_while_the_key_is_passed_on() {
    matrix(Op::Pass, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        let next = locks.create_lock("k");
        let next = tokio::spawn(async move { next.acquire().await.map(drop) });
        tokio::time::sleep(2 * MS).await;
        let released = guard.release().await;
        // It goes on by itself if this is dropped.
        let _ = next.await;
        released
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_may_be_dropped_at_any_poll_while_the_key_is_passed_on() {
    matrix(Op::Pass, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        tokio::spawn(async move {
            tokio::time::sleep(2 * MS).await;
            guard.release().await
        });
        locks.create_lock("k").acquire().await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquire_of_several_keys_may_be_dropped_at_any_poll() {
    matrix(Op::Acquire, |locks| async move {
        locks
            .create_lock_all(["a", "k", "z"])
            .acquire()
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_may_be_dropped_at_any_poll() {
    matrix(Op::Adopt, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        let serialized = guard.into_serialized()?;
        locks.restore_lock(&serialized).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extend_may_be_dropped_at_any_poll() {
    matrix(Op::Renew, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        guard.extend(TTL).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inspect_may_be_dropped_at_any_poll() {
    matrix(Op::Inspect, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        let holder = locks.create_lock("k").inspect().await?;
        guard.release().await.map(|()| holder)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_force_release_may_be_dropped_at_any_poll() {
    matrix(Op::ForceRelease, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        let freed = locks.create_lock("k").force_release().await;
        drop(guard);
        freed
    })
    .await;
}

/// The answer to a restore gets lost, or never comes: nobody knows who has the lock, so nobody shall have it for long.
#[tokio::test]
async fn a_restore_without_an_answer_frees_the_key() {
    for hang in [false, true] {
        let memory = MemoryStore::new();
        let store = FaultStore::new(memory.clone()).with_io();
        let verrou = Verrou::builder()
            .store("s", store.clone())
            .request_timeout(REQUEST_TIMEOUT)
            .build()
            .unwrap();
        let lock = verrou.create_lock("k").ttl(Duration::from_secs(120));
        let serialized = lock.acquire().await.unwrap().into_serialized().unwrap();
        let rule = store.on(Op::Adopt).times(1);
        if hang {
            rule.hang_after();
        } else {
            rule.fail_after();
        }
        let error = verrou.restore_lock(&serialized).await.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Store {
                    outcome: verrou::Outcome::Unknown,
                    ..
                }
            ),
            "{error:?}"
        );
        tests::eventually("what may have been taken up is released", || {
            memory.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn an_unpolled_acquire_whose_runtime_is_gone_is_released() {
    for io in [false, true] {
        let memory = MemoryStore::new();
        let store = FaultStore::new(memory.clone());
        let store = if io { store.with_io() } else { store };
        store.on(Op::Acquire).times(1).hang_after();
        let locks = LockFactory::new(store.clone());
        let acquiring = locks
            .create_lock("k")
            .ttl(Duration::from_secs(30))
            .acquire();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        std::thread::spawn(move || {
            let mut acquiring = Box::pin(acquiring);
            runtime.block_on(poll_fn(|cx| {
                assert!(acquiring.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            }));
            drop(runtime);
            drop(acquiring);
        })
        .join()
        .unwrap();
        assert_eq!(memory.len(), 1, "the store has granted it");
        store.let_go();
        tests::eventually("what was won is released", || memory.is_empty()).await;
    }
}

#[tokio::test]
async fn a_call_without_an_answer_is_unknown_and_cleaned_up() {
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone()).with_io();
    let verrou = Verrou::builder()
        .store("s", store.clone())
        .request_timeout(REQUEST_TIMEOUT)
        .build()
        .unwrap();
    store.on(Op::Acquire).times(1).hang_after();
    let lock = verrou.create_lock("k").wait(Wait::Forever);
    let started = Instant::now();
    let error = lock.acquire().await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Store {
                outcome: verrou::Outcome::Unknown,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        started.elapsed() < 10 * REQUEST_TIMEOUT,
        "{:?}",
        started.elapsed()
    );
    tests::eventually("the late release frees the key", || memory.is_empty()).await;

    // Without a connection the request never went out: then it is known that nothing was done.
    store.on(Op::Acquire).times(1).hang_unsent();
    let error = lock.acquire().await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Store {
                outcome: verrou::Outcome::NotApplied,
                ..
            }
        ),
        "{error:?}"
    );
    drop(Pin::new(&mut Box::pin(lock.acquire())).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_or_a_future_may_be_dropped_anywhere() {
    let memory = MemoryStore::new();
    let (one, other) = (
        LockFactory::new(memory.clone()),
        LockFactory::new(memory.clone()),
    );
    dropping::anywhere(one, other).await;
    assert!(memory.is_empty());
    let folder = Folder::new();
    let opened = async || SqliteStore::connect(&folder.sqlite()).await.unwrap();
    let (one, other) = (
        LockFactory::new(opened().await),
        LockFactory::new(opened().await),
    );
    dropping::anywhere(one, other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_may_be_dropped_at_any_poll() {
    matrix(Op::Inspect, |locks| async move {
        let guard = locks.create_lock("k").acquire().await?;
        let locked = locks.create_lock("k").is_locked().await?;
        guard.release().await.map(|()| locked)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_of_a_body_may_be_dropped_at_any_poll() {
    matrix(Op::Release, |locks| async move {
        let nap = async |_: &LockGuard| tokio::time::sleep(5 * MS).await;
        locks.create_lock("k").try_run(nap).await
    })
    .await;
}

/// Nothing is remembered of a shutdown that was dropped: the next one goes on, and is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_may_be_dropped_at_any_poll_and_is_begun_anew() {
    let mut cut_in_the_middle = false;
    for fault in [
        Fault::Ok,
        Fault::ErrorLost,
        Fault::SlowBefore,
        Fault::SlowAfter,
    ] {
        for io in [false, true] {
            for polls in 0.. {
                assert!(polls < 200, "{fault:?} does not end");
                let memory = MemoryStore::new();
                let store = FaultStore::new(memory.clone());
                let store = if io { store.with_io() } else { store };
                let verrou = Verrou::builder()
                    .store("s", store.clone())
                    .request_timeout(REQUEST_TIMEOUT)
                    .build()
                    .unwrap();
                let guard = verrou.create_lock("guard").acquire().await.unwrap();
                let lock = verrou.create_lock("body");
                let body = tokio::spawn(async move {
                    let body = lock.run(async |_| std::future::pending::<()>().await);
                    body.await
                });
                tests::eventually("both are held", || memory.len() == 2).await;
                fault.plan(&store, Op::Release);
                let pending = cut(verrou.shutdown(), polls).await;
                cut_in_the_middle |= pending && polls > 1;
                store.clear();
                verrou.shutdown().await.unwrap();
                assert!(memory.is_empty(), "{fault:?} {io} after {polls} polls");
                let ended = tests::soon("the body", body).await.unwrap();
                assert!(ended.is_err(), "the body goes on");
                let refused = verrou.create_lock("guard").acquire().await;
                assert!(matches!(refused, Err(Error::ShutDown)));
                drop(guard);
                if !pending {
                    break;
                }
            }
        }
    }
    assert!(cut_in_the_middle);
}

/// Each `lost()` is one of its own: those that are dropped, polled or not, take nothing from the others.
#[tokio::test]
async fn a_wait_for_the_loss_may_be_dropped_at_any_poll() {
    let locks = LockFactory::new(MemoryStore::new());
    let lock = locks.create_lock("k").ttl(100 * MS).renew(false);
    let guard = lock.acquire().await.unwrap();
    let kept = tokio::spawn(guard.lost());
    for polls in [0, 1, 1] {
        assert!(cut(guard.lost(), polls).await, "lost already");
    }
    tests::soon("the loss", kept).await.unwrap();
    // Of one that is lost there is nothing to wait for.
    assert!(!cut(guard.lost(), 1).await);
}

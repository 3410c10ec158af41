//! What a held lock promises: loss, renewal, release, hand-over.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tests::{eventually, soon};
use verrou::drivers::MemoryStore;
use verrou::testkit::FaultStore;
use verrou::{Error, Lock, LockFactory, OnLost, SerializedLock, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);

fn factory() -> (LockFactory, MemoryStore) {
    let store = MemoryStore::new();
    (LockFactory::new(store.clone()), store)
}

#[tokio::test]
async fn a_free_key_leaves_no_entry() {
    let (locks, store) = factory();
    let guard = locks.create_lock("k").acquire().await.unwrap();
    assert!(guard.is_held());
    assert_eq!(store.len(), 1);
    guard.release().await.unwrap();
    assert!(store.is_empty());
    drop(locks.create_lock("k").acquire().await.unwrap());
    assert!(
        store.is_empty(),
        "a dropped guard of a store in memory is released in the drop"
    );
}

#[tokio::test]
async fn tokens_rise_with_every_grant() {
    let (locks, _) = factory();
    let mut last = None;
    for _ in 0..50 {
        let guard = locks.create_lock("k").acquire().await.unwrap();
        assert!(Some(guard.token()) > last);
        assert_eq!(guard.token_of("k"), Some(guard.token()));
        assert_eq!(guard.token_of("other"), None);
        last = Some(guard.token());
    }
}

#[tokio::test]
async fn a_held_lock_is_renewed_until_it_is_released() {
    let (locks, _) = factory();
    let guard = locks
        .create_lock("k")
        .ttl(400 * MS)
        .acquire()
        .await
        .unwrap();
    let started = Instant::now();
    while started.elapsed() < 1200 * MS {
        assert!(guard.is_held(), "lost after {:?}", started.elapsed());
        assert!(
            locks
                .create_lock("k")
                .try_acquire()
                .await
                .unwrap()
                .is_none()
        );
        tokio::time::sleep(5 * MS).await;
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_body_that_blocks_its_only_thread_keeps_its_lock() {
    let (locks, _) = factory();
    let lock = locks.create_lock("k").ttl(400 * MS);
    let other = LockFactory::clone(&locks);
    let held = lock
        .run(async |guard| {
            std::thread::sleep(1600 * MS);
            let busy = other
                .create_lock("k")
                .try_acquire()
                .await
                .unwrap()
                .is_none();
            busy && guard.is_held()
        })
        .await
        .unwrap();
    assert!(held);
}

#[tokio::test]
async fn without_renewal_the_lock_is_lost_at_its_deadline_and_for_good() {
    let (locks, _) = factory();
    let started = Instant::now();
    let guard = locks
        .create_lock("k")
        .ttl(100 * MS)
        .renew(false)
        .acquire()
        .await
        .unwrap();
    soon("the loss", guard.lost()).await;
    let elapsed = started.elapsed();
    // ttl - margin of 10 ms, counted from when the request was sent; then as soon as a thread runs.
    assert!(elapsed >= 90 * MS && elapsed < 5000 * MS, "{elapsed:?}");
    assert!(!guard.is_held());
    assert!(matches!(guard.check(), Err(Error::Lost { .. })));
    assert_eq!(guard.remaining(), Duration::ZERO);
    assert!(matches!(
        guard.extend(50 * MS).await,
        Err(Error::Lost { .. })
    ));
    let next = locks.create_lock("k").acquire().await.unwrap();
    assert!(next.token() > guard.token());
    assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
    assert!(
        next.is_held(),
        "the late release must not free another's lock"
    );
}

#[tokio::test]
async fn the_body_of_run_is_stopped_when_its_lock_is_lost() {
    let (locks, _) = factory();
    let (polls, again) = (AtomicU32::new(0), AtomicU32::new(0));
    let lock = locks.create_lock("k").ttl(60 * MS).renew(false);
    let result: Result<(), Error> = soon(
        "the end of run",
        lock.run(async |guard| {
            let mut lost = false;
            poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                if lost {
                    // It has seen the loss in an earlier poll, so the one who polls it has to know as well.
                    again.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(());
                }
                lost = !guard.is_held();
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }),
    )
    .await;
    assert_eq!(
        again.load(Ordering::Relaxed),
        0,
        "a lost body was polled again"
    );
    assert!(matches!(result, Err(Error::Lost { .. })), "{result:?}");
    assert!(polls.load(Ordering::Relaxed) > 1, "the body did not run");
}

#[tokio::test]
async fn a_body_that_blocked_past_its_deadline_is_stopped_at_its_next_await() {
    let (locks, _) = factory();
    let reached = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&reached);
    let lock = locks.create_lock("k").ttl(50 * MS).renew(false);
    let result: Result<(), Error> = lock
        .run(async move |_guard| {
            std::thread::sleep(200 * MS);
            seen.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            seen.fetch_add(1, Ordering::Relaxed);
        })
        .await;
    assert!(matches!(result, Err(Error::Lost { .. })), "{result:?}");
    assert_eq!(reached.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_body_that_may_go_on_ends_by_itself() {
    let (locks, _) = factory();
    let lock = locks
        .create_lock("k")
        .ttl(40 * MS)
        .renew(false)
        .on_lost(OnLost::Continue);
    let held = lock
        .run(async |guard| {
            guard.lost().await;
            guard.is_held()
        })
        .await
        .unwrap();
    assert!(!held);
}

#[tokio::test]
async fn the_value_of_a_body_that_ended_wins() {
    let (locks, _) = factory();
    let lock = locks.create_lock("k").ttl(40 * MS).renew(false);
    let value = lock
        .run(async |_guard| {
            std::thread::sleep(100 * MS);
            7
        })
        .await
        .unwrap();
    assert_eq!(value, 7);
}

#[tokio::test]
async fn max_hold_ends_a_lock_whatever_renews_it() {
    let (locks, _) = factory();
    let started = Instant::now();
    let guard = locks
        .create_lock("k")
        .ttl(60 * MS)
        .max_hold(200 * MS)
        .acquire()
        .await
        .unwrap();
    assert!(matches!(
        guard.extend(300 * MS).await,
        Err(Error::InvalidOption {
            option: "extend",
            ..
        })
    ));
    soon("the cap", guard.lost()).await;
    assert!(started.elapsed() > 150 * MS, "{:?}", started.elapsed());
    drop(
        soon("the key", locks.create_lock("k").acquire())
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn min_hold_keeps_the_key_after_the_release() {
    let (locks, _) = factory();
    let lock = locks.create_lock("k").min_hold(200 * MS);
    let started = Instant::now();
    lock.acquire().await.unwrap().release().await.unwrap();
    drop(soon("the key", lock.acquire()).await.unwrap());
    assert!(started.elapsed() >= 200 * MS, "{:?}", started.elapsed());

    let lock = locks.create_lock("long").min_hold(Duration::from_secs(15));
    let started = Instant::now();
    lock.acquire().await.unwrap().release().await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "release must not wait"
    );
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert_eq!(lock.inspect().await.unwrap().unwrap().holder, "");
}

/// The end of a holder with a `min_hold` of 15 s, on a store without I/O and on one with it: the key stays taken, by nobody.
async fn ends_and_keeps<F: Future<Output = ()>>(end: impl Fn(Verrou, Lock) -> F) {
    for io in [false, true] {
        let memory = MemoryStore::new();
        let store = FaultStore::new(memory.clone());
        let store = if io { store.with_io() } else { store };
        let verrou = Verrou::builder()
            .store("s", store)
            .request_timeout(200 * MS)
            .build()
            .unwrap();
        let lock = verrou.create_lock("k").min_hold(Duration::from_secs(15));
        end(verrou, lock).await;
        let seen = LockFactory::new(memory).create_lock("k");
        soon("the release", async {
            loop {
                let holder = seen.inspect().await.unwrap();
                let holder = holder.unwrap_or_else(|| panic!("the key was freed, io: {io}"));
                if holder.holder.is_empty() {
                    break;
                }
                tokio::time::sleep(2 * MS).await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn min_hold_keeps_the_key_after_an_error_of_the_body() {
    ends_and_keeps(|_, lock| async move {
        let result = lock.run(async |_| Err::<(), _>("on purpose")).await;
        assert_eq!(result.unwrap(), Err("on purpose"));
    })
    .await;
}

#[tokio::test]
async fn min_hold_keeps_the_key_after_a_panic() {
    ends_and_keeps(|_, lock| async move {
        let body = tokio::spawn(async move { lock.run(async |_| panic!("on purpose")).await });
        assert!(body.await.unwrap_err().is_panic());
    })
    .await;
}

#[tokio::test]
async fn min_hold_keeps_the_key_after_a_drop_of_guard_or_body() {
    ends_and_keeps(|_, lock| async move { drop(lock.acquire().await.unwrap()) }).await;
    ends_and_keeps(|_, lock| async move {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let body = tokio::spawn(async move {
            lock.run(async |_| {
                begun.send(()).unwrap();
                std::future::pending::<()>().await;
            })
            .await
        });
        soon("the body", begins).await.unwrap();
        body.abort();
        assert!(body.await.unwrap_err().is_cancelled());
    })
    .await;
}

#[tokio::test]
async fn min_hold_keeps_the_key_after_a_shutdown() {
    ends_and_keeps(|verrou, lock| async move {
        let guard = lock.acquire().await.unwrap();
        soon("shutdown", verrou.shutdown()).await.unwrap();
        assert!(!guard.is_held());
    })
    .await;
}

#[tokio::test]
async fn extend_moves_the_deadline_and_never_shortens_it() {
    let (locks, _) = factory();
    let guard = locks
        .create_lock("k")
        .ttl(100 * MS)
        .renew(false)
        .acquire()
        .await
        .unwrap();
    guard.extend(Duration::from_secs(10)).await.unwrap();
    assert!(guard.remaining() > Duration::from_secs(9));
    guard.extend(20 * MS).await.unwrap();
    assert!(guard.remaining() > Duration::from_secs(8));
    assert!(matches!(
        guard.extend(Duration::ZERO).await,
        Err(Error::InvalidOption { .. })
    ));
}

#[tokio::test]
async fn force_release_frees_the_key_and_the_holder_hears_of_it() {
    let (locks, _) = factory();
    let lock = locks.create_lock("k").ttl(90 * MS);
    let guard = lock.acquire().await.unwrap();
    let token = guard.token();
    assert!(lock.force_release().await.unwrap());
    assert!(!lock.force_release().await.unwrap());
    soon("the loss", guard.lost()).await;
    let next = lock.acquire().await.unwrap();
    assert!(next.token() > token);
    drop(guard);
    assert!(next.is_held() && lock.is_locked().await.unwrap());
}

#[tokio::test]
async fn a_first_definite_no_is_not_held() {
    let (locks, _) = factory();
    let lock = locks.create_lock("k").renew(false);
    let guard = lock.acquire().await.unwrap();
    assert!(lock.force_release().await.unwrap());
    assert!(matches!(guard.release().await, Err(Error::NotHeld { .. })));
    let guard = lock.acquire().await.unwrap();
    assert!(lock.force_release().await.unwrap());
    assert!(matches!(
        guard.extend(Duration::from_secs(1)).await,
        Err(Error::NotHeld { .. })
    ));
    assert!(matches!(guard.check(), Err(Error::Lost { .. })));
}

#[tokio::test]
async fn inspect_shows_the_holder_and_not_its_secret() {
    let verrou = Verrou::builder()
        .store("m", MemoryStore::new())
        .holder("api-7")
        .build()
        .unwrap();
    let lock = verrou.create_lock("k");
    assert_eq!(lock.inspect().await.unwrap(), None);
    let guard = lock.acquire().await.unwrap();
    let holder = lock.inspect().await.unwrap().unwrap();
    assert_eq!(
        (holder.holder.as_str(), holder.token),
        ("api-7", guard.token())
    );
    assert!(holder.remaining <= Duration::from_secs(20));
    assert!(holder.since.elapsed().unwrap() < Duration::from_secs(5));
    let listed = verrou.store("m").unwrap().list("").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].0.as_str(), listed[0].1.token),
        ("k", guard.token())
    );
    assert!(
        verrou
            .store("m")
            .unwrap()
            .list("other")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_guard_may_be_dropped_anywhere() {
    let (locks, store) = factory();
    let guard = locks.create_lock("k").acquire().await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert!(store.is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let inner = locks.clone();
    let guard = std::thread::spawn(move || {
        let guard = runtime.block_on(inner.create_lock("k").acquire()).unwrap();
        drop(runtime);
        guard
    })
    .join()
    .unwrap();
    assert!(guard.is_held());
    drop(guard);
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_panic_releases() {
    let (locks, store) = factory();
    let inner = locks.clone();
    let task = tokio::spawn(async move {
        let _guard = inner.create_lock("k").acquire().await.unwrap();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_lock_is_handed_over_once() {
    let verrou = Verrou::builder()
        .store("m", MemoryStore::new())
        .build()
        .unwrap();
    let guard = verrou
        .create_lock("k")
        .ttl(200 * MS)
        .acquire()
        .await
        .unwrap();
    let token = guard.token();
    let text = serde_json::to_string(&guard.into_serialized().unwrap()).unwrap();
    assert!(
        verrou
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none(),
        "still held while under way"
    );
    let serialized: SerializedLock = serde_json::from_str(&text).unwrap();
    let restored = verrou.restore_lock(&serialized).await.unwrap();
    assert_eq!(restored.token(), token);
    assert!(matches!(
        verrou.restore_lock(&serialized).await,
        Err(Error::NotHeld { .. })
    ));
    tokio::time::sleep(400 * MS).await;
    assert!(restored.is_held(), "the taker renews");
    restored.release().await.unwrap();
    assert!(matches!(
        verrou.restore_lock(&serialized).await,
        Err(Error::NotHeld { .. })
    ));
}

#[tokio::test]
async fn a_serialized_lock_is_refused_elsewhere() {
    let here = Verrou::builder()
        .store("m", MemoryStore::new())
        .namespace("a")
        .build()
        .unwrap();
    let serialized = here
        .create_lock("k")
        .acquire()
        .await
        .unwrap()
        .into_serialized()
        .unwrap();
    let elsewhere = Verrou::builder()
        .store("n", MemoryStore::new())
        .build()
        .unwrap();
    assert!(matches!(
        elsewhere.restore_lock(&serialized).await,
        Err(Error::InvalidSerialized { .. })
    ));
    let elsewhere = Verrou::builder()
        .store("m", MemoryStore::new())
        .namespace("b")
        .build()
        .unwrap();
    assert!(matches!(
        elsewhere.restore_lock(&serialized).await,
        Err(Error::InvalidSerialized { .. })
    ));
    let several = here.create_lock_all(["x", "y"]).acquire().await.unwrap();
    assert!(matches!(
        several.into_serialized(),
        Err(Error::InvalidOption { .. })
    ));
    assert!(
        !here.create_lock("x").is_locked().await.unwrap(),
        "a refused hand-over releases"
    );
}

#[tokio::test]
async fn shutdown_stops_bodies_sends_waiters_away_and_releases() {
    let store = MemoryStore::new();
    let verrou = Verrou::builder().store("m", store.clone()).build().unwrap();
    let (body, waiter) = (
        verrou.create_lock("k"),
        verrou.create_lock("k").wait(Wait::Forever),
    );
    let body =
        tokio::spawn(async move { body.run(async |_| std::future::pending::<()>().await).await });
    eventually("the body holds", || store.len() == 1).await;
    let waiter = tokio::spawn(async move { waiter.acquire().await.map(drop) });
    let kept = verrou.create_lock("kept").acquire().await.unwrap();
    tokio::task::yield_now().await;
    let started = Instant::now();
    let shutdown = tokio::spawn({
        let verrou = verrou.clone();
        async move { verrou.shutdown().await }
    });
    assert!(matches!(
        soon("the waiter", waiter).await.unwrap(),
        Err(Error::ShutDown)
    ));
    assert!(matches!(
        soon("the body", body).await.unwrap(),
        Err(Error::Lost { .. })
    ));
    soon("the guard's loss", kept.lost()).await;
    drop(kept);
    soon("shutdown", shutdown).await.unwrap().unwrap();
    assert!(
        started.elapsed() < 3 * Duration::from_secs(2),
        "three request timeouts at most: {:?}",
        started.elapsed()
    );
    assert!(store.is_empty());
    assert!(matches!(
        verrou.create_lock("k").acquire().await,
        Err(Error::ShutDown)
    ));
    assert!(matches!(
        verrou.create_lock("k").is_locked().await,
        Err(Error::ShutDown)
    ));
}

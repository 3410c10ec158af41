//! A store that fails: what the holder, the waiters and the queue behind them see.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::{eventually, soon};
use tokio::task::JoinSet;
use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockFactory, Retry, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);

fn faulty() -> (Verrou, FaultStore<MemoryStore>, MemoryStore) {
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone()).with_io();
    let verrou = Verrou::builder()
        .store("s", store.clone())
        .request_timeout(200 * MS)
        .build()
        .unwrap();
    (verrou, store, memory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_of_the_process_talks_to_the_store_whatever_number_waits() {
    let (verrou, store, memory) = faulty();
    let elsewhere = LockFactory::new(memory.clone())
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    // So slow that two at a time would be seen.
    store.on(Op::Acquire).delay_before(2 * MS);
    let mut waiters = JoinSet::new();
    let waiting = Arc::new(AtomicUsize::new(0));
    for _ in 0..64 {
        let lock = verrou.create_lock("k").wait(Wait::Forever);
        let waiting = Arc::clone(&waiting);
        waiters.spawn(async move {
            waiting.fetch_add(1, Ordering::SeqCst);
            let guard = lock.acquire().await.unwrap();
            waiting.fetch_sub(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            guard.release().await.unwrap();
        });
    }
    eventually("all 64 wait", || waiting.load(Ordering::SeqCst) == 64).await;
    let before = store.calls(Op::Acquire);
    store
        .until(|store| store.calls(Op::Acquire) > before + 3)
        .await;
    assert_eq!(
        waiting.load(Ordering::SeqCst),
        64,
        "somebody got a key that is held elsewhere"
    );
    elsewhere.release().await.unwrap();
    while let Some(waiter) = soon("a waiter", waiters.join_next()).await {
        waiter.unwrap();
    }
    assert_eq!(store.most_in_flight(Op::Acquire, "k"), 1);
    assert!(memory.is_empty());
}

#[tokio::test]
async fn a_local_wait_costs_the_store_nothing() {
    let (verrou, store, _) = faulty();
    let guard = verrou.create_lock("k").acquire().await.unwrap();
    assert_eq!(store.calls(Op::Acquire), 1);
    let waiter = tokio::spawn(verrou.create_lock("k").acquire());
    assert!(
        verrou
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    tokio::time::sleep(300 * MS).await;
    assert_eq!(
        store.calls(Op::Acquire),
        1,
        "a waiter behind a guard of its own process asked the store"
    );
    guard.release().await.unwrap();
    soon("the waiter", waiter)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
    assert_eq!(
        (store.calls(Op::Acquire), store.calls(Op::Release)),
        (2, 2),
        "two calls a cycle, and no more"
    );
}

#[tokio::test]
async fn a_dead_store_is_an_error_for_everybody_in_the_queue_at_once() {
    for hang in [false, true] {
        let (verrou, store, memory) = faulty();
        let elsewhere = LockFactory::new(memory)
            .create_lock("k")
            .acquire()
            .await
            .unwrap();
        let mut waiters = JoinSet::new();
        for _ in 0..10 {
            waiters.spawn(verrou.create_lock("k").wait(Wait::Forever).acquire());
        }
        store.until(|store| store.calls(Op::Acquire) > 1).await;
        if hang {
            store.on(Op::Acquire).hang_before();
        } else {
            store.on(Op::Acquire).fail_before();
        }
        let started = Instant::now();
        while let Some(waiter) = soon("a waiter", waiters.join_next()).await {
            let error = waiter.unwrap().unwrap_err();
            assert!(
                matches!(error, Error::Store { .. }) && error.is_store() && !error.is_busy(),
                "{error:?}"
            );
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
        store.clear();
        drop(elsewhere);
    }
}

#[tokio::test]
async fn a_wait_ends_within_one_request_timeout_of_its_time() {
    let (verrou, store, memory) = faulty();
    let _elsewhere = LockFactory::new(memory)
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    store.on(Op::Acquire).delay_after(150 * MS);
    let started = Instant::now();
    let error = verrou
        .create_lock("k")
        .wait(Wait::For(100 * MS))
        .acquire()
        .await
        .unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    assert!(
        started.elapsed() < 100 * MS + 200 * MS + 150 * MS,
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_renewal_that_fails_is_no_loss_while_the_lease_lasts() {
    let (verrou, store, _) = faulty();
    let guard = verrou
        .create_lock("k")
        .ttl(300 * MS)
        .acquire()
        .await
        .unwrap();
    for _ in 0..3 {
        let before = store.calls(Op::RenewMany);
        // Half a lease without an answer, or with answers that get lost.
        store.on(Op::RenewMany).times(2).fail_lost();
        store.on(Op::RenewMany).times(1).fail_after();
        store
            .until(|store| store.calls(Op::RenewMany) > before + 3)
            .await;
        assert!(guard.is_held());
    }
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_renewal_that_hangs_does_not_hold_up_the_others() {
    let (verrou, store, _) = faulty();
    store.on(Op::RenewMany).on_key("stuck").hang_before();
    let started = Instant::now();
    let stuck = verrou
        .create_lock("stuck")
        .ttl(200 * MS)
        .acquire()
        .await
        .unwrap();
    let fine = verrou
        .create_lock("fine")
        .ttl(200 * MS)
        .acquire()
        .await
        .unwrap();
    soon("the loss", stuck.lost()).await;
    let lost = started.elapsed();
    assert!(lost > 100 * MS && lost < 5000 * MS, "{lost:?}");
    assert!(fine.is_held());
    tokio::time::sleep(300 * MS).await;
    assert!(
        fine.is_held(),
        "the lock beside the stuck one was lost with it"
    );
    drop(stuck);
}

#[tokio::test]
async fn a_store_that_is_gone_costs_the_lock_at_its_deadline() {
    let (verrou, store, _) = faulty();
    let lock = verrou.create_lock("k").ttl(150 * MS);
    let body = lock.run(async |_| {
        store.on(Op::RenewMany).fail_before();
        std::future::pending::<()>().await;
    });
    let started = Instant::now();
    assert!(matches!(
        soon("the end of the body", body).await,
        Err(Error::Lost { .. })
    ));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_release_that_failed_is_tried_again() {
    let (verrou, store, memory) = faulty();
    let guard = verrou.create_lock("k").acquire().await.unwrap();
    store.on(Op::Release).times(3).fail_before();
    assert!(matches!(
        guard.release().await,
        Err(Error::Store {
            attempted: "release",
            ..
        })
    ));
    eventually("the key is free", || memory.is_empty()).await;

    let guard = verrou.create_lock("k").acquire().await.unwrap();
    store.on(Op::Release).times(2).fail_lost();
    drop(guard);
    let again = soon(
        "the key after the late release",
        verrou.create_lock("k").acquire(),
    )
    .await
    .unwrap();
    drop(again);
}

#[tokio::test]
async fn the_value_of_a_body_wins_over_a_failed_release() {
    let (verrou, store, _) = faulty();
    store.on(Op::Release).times(1).fail_before();
    assert_eq!(verrou.create_lock("k").run(async |_| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn a_dropped_guard_is_released_before_a_try_of_the_same_process_asks() {
    let store = FaultStore::new(MemoryStore::new()).with_io();
    // A try waits for half of the request timeout: more than the keeper, which all tests share, ever stands still.
    let verrou = Verrou::builder().store("s", store.clone()).build().unwrap();
    for _ in 0..20 {
        let guard = verrou.create_lock("k").acquire().await.unwrap();
        store.on(Op::Release).times(1).delay_before(5 * MS);
        drop(guard);
        assert!(
            verrou
                .create_lock("k")
                .try_acquire()
                .await
                .unwrap()
                .is_some_and(|guard| guard.is_held())
        );
    }
}

#[tokio::test]
async fn a_grant_that_comes_too_late_is_no_grant() {
    let (verrou, store, memory) = faulty();
    // Each answer takes longer than the lease is long.
    store.on(Op::Acquire).delay_after(60 * MS);
    let error = verrou
        .create_lock("k")
        .ttl(30 * MS)
        .acquire()
        .await
        .unwrap_err();
    assert!(error.is_store(), "{error:?}");
    store.clear();
    eventually("the key is free", || {
        memory.is_empty()
            || futures_now(
                LockFactory::new(memory.clone())
                    .create_lock("k")
                    .is_locked(),
            ) == Some(false)
    })
    .await;
    // Only the first one does: asked again by the same owner, it is held.
    store.on(Op::Acquire).times(1).delay_after(60 * MS);
    let guard = verrou
        .create_lock("k")
        .ttl(50 * MS)
        .acquire()
        .await
        .unwrap();
    assert!(guard.is_held());
}

fn futures_now<F: Future<Output = Result<bool, Error>>>(future: F) -> Option<bool> {
    let mut future = std::pin::pin!(future);
    match future
        .as_mut()
        .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    {
        std::task::Poll::Ready(answer) => answer.ok(),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_lost_hint_costs_a_pause_and_no_more() {
    let (verrou, store, memory) = faulty();
    store.lose_hints();
    let elsewhere = LockFactory::new(memory)
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    let retry = Retry::new().delays(5 * MS, 20 * MS);
    let waiter = tokio::spawn(verrou.create_lock("k").retry(retry).acquire());
    store.until(|store| store.calls(Op::Acquire) > 2).await;
    elsewhere.release().await.unwrap();
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
}

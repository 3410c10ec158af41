//! How an acquire waits: in order, no longer than told, not for itself, and for several keys at once.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::{eventually, soon};
use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockFactory, Retry, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);

fn factory() -> (LockFactory, MemoryStore) {
    let store = MemoryStore::new();
    (LockFactory::new(store.clone()), store)
}

/// Two instances on one store: two processes, as far as the queue of a process is concerned.
fn two_processes() -> (LockFactory, LockFactory) {
    let store = MemoryStore::new();
    (LockFactory::new(store.clone()), LockFactory::new(store))
}

#[tokio::test]
async fn a_busy_lock_is_busy_or_times_out_as_told() {
    let (here, there) = two_processes();
    let _guard = here.create_lock("k").acquire().await.unwrap();
    for other in [&here, &there] {
        let lock = other.create_lock("k");
        assert!(lock.try_acquire().await.unwrap().is_none());
        assert!(matches!(
            lock.clone().wait(Wait::Never).acquire().await,
            Err(Error::Busy { .. })
        ));
        let started = Instant::now();
        let error = lock
            .clone()
            .wait(Wait::For(100 * MS))
            .acquire()
            .await
            .unwrap_err();
        let elapsed = started.elapsed();
        assert!(
            matches!(error, Error::Timeout { waited, .. } if waited >= 100 * MS),
            "{error:?}"
        );
        // The time and one request timeout: 2 s unless the builder says otherwise.
        assert!(
            (100 * MS..=100 * MS + Duration::from_secs(2)).contains(&elapsed),
            "{elapsed:?}"
        );
        assert!(error.is_busy() && !error.is_store());
    }
    let few = there
        .create_lock("k")
        .retry(Retry::new().attempts(3).delays(2 * MS, 4 * MS));
    let error = few.acquire().await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { attempts: 3, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_waiter_whose_wait_ends_hears_that_the_store_does_not_answer() {
    let store = FaultStore::new(MemoryStore::new()).with_io();
    let verrou = Verrou::builder().store("s", store.clone());
    let verrou = verrou.request_timeout(600 * MS).build().unwrap();
    store.on(Op::Acquire).hang_before();
    let first = verrou.create_lock("k").wait(Wait::Forever);
    let first = tokio::spawn(async move { first.acquire().await.map(drop) });
    store.until(|store| store.in_flight(Op::Acquire) == 1).await;
    let started = Instant::now();
    let waiting = verrou.create_lock("k").wait(Wait::For(100 * MS));
    let error = waiting.acquire().await.unwrap_err();
    assert!(error.is_store(), "it looks like contention: {error:?}");
    assert!(started.elapsed() >= 100 * MS);
    assert!(first.await.unwrap().unwrap_err().is_store());
    store.clear();
    store.let_go();
}

#[tokio::test]
async fn a_waiter_whose_wait_has_ended_does_not_stay_for_a_later_call() {
    let memory = MemoryStore::new();
    let elsewhere = LockFactory::new(memory.clone());
    let _held = elsewhere.create_lock("k").acquire().await.unwrap();
    let store = FaultStore::new(memory).with_io();
    let verrou = Verrou::builder().store("s", store.clone()).build().unwrap();
    let first = verrou.create_lock("k").wait(Wait::Forever);
    let first = tokio::spawn(async move { first.acquire().await.map(drop) });
    store.until(|store| store.calls(Op::Acquire) >= 1).await;
    let waiting = verrou.create_lock("k").wait(Wait::For(50 * MS));
    let mut waiting = Box::pin(waiting.acquire());
    // It takes its place, and is looked at again when its wait is over and another call is under way.
    let short = tokio::time::timeout(5 * MS, &mut waiting).await;
    assert!(short.is_err());
    tokio::time::sleep(50 * MS).await;
    store.on(Op::Acquire).delay_after(1000 * MS);
    store.until(|store| store.in_flight(Op::Acquire) == 1).await;
    let started = Instant::now();
    let error = waiting.await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    let took = started.elapsed();
    assert!(took < 700 * MS, "it has stayed for a later call: {took:?}");
    first.abort();
}

#[tokio::test]
async fn a_slow_answer_at_the_end_of_a_wait_is_no_error_for_those_behind() {
    let memory = MemoryStore::new();
    let elsewhere = LockFactory::new(memory.clone());
    let held = elsewhere.create_lock("k").acquire().await.unwrap();
    let store = FaultStore::new(memory).with_io();
    let verrou = Verrou::builder().store("s", store.clone());
    let verrou = verrou.request_timeout(1000 * MS).build().unwrap();
    store.on(Op::Acquire).times(1).delay_after(900 * MS);
    // Longer than what the wait of the second one leaves to a call then.
    store.on(Op::Acquire).delay_after(300 * MS);
    let wait = |wait| {
        let lock = verrou.create_lock("k").wait(wait);
        tokio::spawn(async move { lock.acquire().await.map(drop) })
    };
    let first = wait(Wait::For(50 * MS));
    store.until(|store| store.in_flight(Op::Acquire) == 1).await;
    let second = wait(Wait::For(40 * MS));
    tokio::task::yield_now().await;
    let third = wait(Wait::Forever);
    for over in [first, second] {
        let error = over.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    }
    held.release().await.unwrap();
    soon("the third", third).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_wait_still_tries_once() {
    let (locks, _) = factory();
    drop(
        locks
            .create_lock("k")
            .wait(Wait::For(Duration::ZERO))
            .acquire()
            .await
            .unwrap(),
    );
    drop(
        locks
            .create_lock("k")
            .wait(Wait::For(Duration::MAX))
            .acquire()
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn tasks_of_a_process_are_served_in_the_order_in_which_they_asked() {
    let (locks, store) = factory();
    let order = Arc::new(Mutex::new(Vec::new()));
    let first = locks.create_lock("k").acquire().await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..20 {
        let (lock, order) = (locks.create_lock("k"), Arc::clone(&order));
        let acquiring = lock.acquire();
        tasks.push(tokio::spawn(async move {
            let guard = acquiring.await.unwrap();
            order.lock().unwrap().push(number);
            guard.release().await.unwrap();
        }));
        // Polled once, so that it stands in the queue.
        tokio::task::yield_now().await;
    }
    drop(first);
    for task in tasks {
        soon("a waiter", task).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_release_elsewhere_wakes_the_waiter() {
    let (here, memory) = factory();
    let store = FaultStore::new(memory);
    let there = LockFactory::new(store.clone());
    let guard = here.create_lock("k").acquire().await.unwrap();
    let slow = Retry::new().delays(Duration::from_secs(20), Duration::from_secs(20));
    let waiter = tokio::spawn(there.create_lock("k").retry(slow).acquire());
    let refused =
        |store: &FaultStore<_>| store.calls(Op::Acquire) == 1 && store.in_flight(Op::Acquire) == 0;
    soon("its first try", store.until(refused)).await;
    let started = Instant::now();
    guard.release().await.unwrap();
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "it polled: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_dead_holder_is_waited_for_until_its_expiry() {
    let (here, there) = two_processes();
    let guard = here
        .create_lock("k")
        .ttl(150 * MS)
        .renew(false)
        .acquire()
        .await
        .unwrap();
    let slow = Retry::new().delays(Duration::from_secs(20), Duration::from_secs(20));
    let started = Instant::now();
    let next = soon("the key", there.create_lock("k").retry(slow).acquire())
        .await
        .unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    assert!(next.is_held() && !guard.is_held());
}

#[tokio::test]
async fn a_head_that_is_not_polled_stops_nobody() {
    let (locks, _) = factory();
    let guard = locks.create_lock("k").acquire().await.unwrap();
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut acquiring = Box::pin(locks.create_lock("k").acquire());
        assert!(futures_poll_once(acquiring.as_mut()).await);
        kept.push(acquiring);
    }
    let third = tokio::spawn(locks.create_lock("k").acquire());
    tokio::task::yield_now().await;
    let started = Instant::now();
    drop(guard);
    drop(soon("the third", third).await.unwrap().unwrap());
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    for kept in kept {
        drop(
            soon("the kept ones, once they are polled", kept)
                .await
                .unwrap(),
        );
    }
}

/// Polls once; whether it is pending.
async fn futures_poll_once<F: Future + Unpin>(mut future: F) -> bool {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut future).poll(cx).is_pending())
    })
    .await
}

#[tokio::test]
async fn several_keys_are_taken_all_or_none() {
    let (here, there) = two_processes();
    let several = here.create_lock_all(["b", "a", "b"]);
    let guard = several.acquire().await.unwrap();
    assert_eq!(guard.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(guard.key(), "a");
    assert!(guard.token_of("b").is_some());
    assert!(
        there
            .create_lock("b")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    guard.release().await.unwrap();

    let blocker = there.create_lock("b").acquire().await.unwrap();
    let error = several
        .clone()
        .wait(Wait::For(50 * MS))
        .acquire()
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Timeout { key, .. } if key == "b"),
        "{error:?}"
    );
    assert!(
        !here.create_lock("a").is_locked().await.unwrap(),
        "the key that was won is given back"
    );
    assert!(several.try_acquire().await.unwrap().is_none());
    assert!(!here.create_lock("a").is_locked().await.unwrap());
    drop(blocker);
    for option in [
        several.is_locked().await.unwrap_err(),
        several.force_release().await.unwrap_err(),
    ] {
        assert!(matches!(option, Error::InvalidOption { .. }), "{option:?}");
    }
    let none: [&str; 0] = [];
    assert!(matches!(
        here.create_lock_all(none).acquire().await,
        Err(Error::InvalidKey { .. })
    ));
}

#[tokio::test]
async fn keys_already_won_are_renewed_while_others_are_awaited() {
    let (here, there) = two_processes();
    let blocker = there.create_lock("b").acquire().await.unwrap();
    let several = tokio::spawn(
        here.create_lock_all(["a", "b"])
            .ttl(80 * MS)
            .renew(false)
            .acquire(),
    );
    let probe = there.create_lock("a");
    soon("the first key", async {
        while !probe.is_locked().await.unwrap() {
            tokio::time::sleep(MS).await;
        }
    })
    .await;
    let started = Instant::now();
    while started.elapsed() < 300 * MS {
        assert!(
            probe.try_acquire().await.unwrap().is_none(),
            "a key that was won was not renewed"
        );
        tokio::time::sleep(5 * MS).await;
    }
    drop(blocker);
    let guard = soon("both", several).await.unwrap().unwrap();
    assert!(guard.is_held());
}

#[tokio::test]
async fn one_key_lost_is_the_guard_lost() {
    let (locks, store) = factory();
    let guard = locks
        .create_lock_all(["a", "b", "c"])
        .ttl(90 * MS)
        .acquire()
        .await
        .unwrap();
    assert!(locks.create_lock("b").force_release().await.unwrap());
    soon("the loss", guard.lost()).await;
    assert!(!guard.is_held());
    eventually("the other keys are free", || store.is_empty()).await;
    assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
}

#[tokio::test]
async fn crossed_orders_do_not_block_each_other() {
    let (here, there) = two_processes();
    let mut tasks = Vec::new();
    for (locks, keys) in [(here, ["a", "b"]), (there, ["b", "a"])] {
        for _ in 0..4 {
            let lock = locks.create_lock_all(keys);
            tasks.push(tokio::spawn(async move {
                for _ in 0..25 {
                    lock.run(async |_| tokio::task::yield_now().await)
                        .await
                        .unwrap();
                }
            }));
        }
    }
    for task in tasks {
        soon("a task", task).await.unwrap();
    }
}

#[tokio::test]
async fn bad_input_is_refused_before_any_lock_is_taken() {
    let (locks, store) = factory();
    for key in ["", "a\0b", &"k".repeat(513)] {
        assert!(matches!(
            locks.create_lock(key).acquire().await,
            Err(Error::InvalidKey { .. })
        ));
        assert!(matches!(
            locks.create_lock_all(["good", key]).acquire().await,
            Err(Error::InvalidKey { .. })
        ));
        assert!(matches!(
            locks.create_lock(key).inspect().await,
            Err(Error::InvalidKey { .. })
        ));
    }
    for ttl in [Duration::ZERO, 9 * MS, Duration::MAX] {
        let error = locks.create_lock("k").ttl(ttl).acquire().await.unwrap_err();
        assert!(
            matches!(error, Error::InvalidOption { option: "ttl", .. }),
            "{error:?}"
        );
    }
    let never = locks.create_lock("k").retry(Retry::new().attempts(0));
    assert!(matches!(
        never.try_acquire().await,
        Err(Error::InvalidOption {
            option: "attempts",
            ..
        })
    ));
    assert!(store.is_empty());
}

#[tokio::test]
async fn many_tasks_on_many_keys_exclude_each_other_and_leave_nothing() {
    let (locks, store) = factory();
    let running = Arc::new(Mutex::new([0_u32; 4]));
    let mut tasks = Vec::new();
    for number in 0..64 {
        let (locks, running) = (locks.clone(), Arc::clone(&running));
        tasks.push(tokio::spawn(async move {
            for round in 0..20 {
                let key = (number + round) % 4;
                let _guard = locks
                    .create_lock(format!("k{key}"))
                    .acquire()
                    .await
                    .unwrap();
                {
                    let mut running = running.lock().unwrap();
                    running[key] += 1;
                    assert_eq!(running[key], 1, "two at once");
                }
                tokio::task::yield_now().await;
                running.lock().unwrap()[key] -= 1;
            }
        }));
    }
    for task in tasks {
        soon("a task", task).await.unwrap();
    }
    assert!(store.is_empty());
}

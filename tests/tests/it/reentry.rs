//! A wait for the lock of one's own body is an error at once; nothing else is. The table of decision 2 by rows: what is
//! really stuck and found, what is really stuck and bounded by `wait`, what is not stuck and left alone, and the two false
//! alarms that are documented.

use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tests::soon;
use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, Lock, LockFactory, LockGuard, OnLost, Verrou, Wait, locked};

const MS: Duration = Duration::from_millis(1);

/// A lock that is waited for so long that what is not found is no error at once.
fn lock() -> Lock {
    let locks = LockFactory::new(MemoryStore::new());
    locks
        .create_lock("k")
        .wait(Wait::For(Duration::from_secs(20)))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "what a future gives is asked at once"
)]
fn is_reentrant<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Reentrant { .. }))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Whether it is still pending after one poll.
async fn polled_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *future).poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Every way to wait for `lock` in its own body.
async fn every_way(lock: Lock) {
    let inner = lock.clone();
    let body = lock.run(async |_| {
        assert!(is_reentrant(inner.acquire().await));
        assert!(is_reentrant(inner.run(async |_| ()).await));
        // Whatever is to be waited.
        for wait in [Wait::Never, Wait::For(Duration::ZERO), Wait::Forever] {
            assert!(is_reentrant(inner.clone().wait(wait).acquire().await));
        }
        // The forms that try say busy.
        assert!(inner.try_acquire().await.unwrap().is_none());
        assert!(inner.try_run(async |_| ()).await.unwrap().is_none());
        // Beside something else, and in the queue of a set of futures.
        let (one, other) = tokio::join!(inner.acquire(), async { 1 });
        assert!(is_reentrant(one) && other == 1);
        let set: FuturesUnordered<_> = [inner.acquire(), inner.acquire()].into_iter().collect();
        assert!(set.all(async |one| is_reentrant(one)).await);
        // Behind a box, and as deep as one likes.
        let boxed: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(inner.acquire());
        assert!(is_reentrant(boxed.await));
        let deep = async { async { async { inner.acquire().await }.await }.await };
        assert!(is_reentrant(deep.await));
    });
    soon("the body", body).await.unwrap();
    assert!(!lock.is_locked().await.unwrap());
}

#[tokio::test]
async fn a_wait_in_the_body_is_found_in_a_task() {
    soon("the task", tokio::spawn(every_way(lock())))
        .await
        .unwrap();
}

#[test]
fn a_wait_in_the_body_is_found_in_the_root_of_a_runtime() {
    // There is no task, and so no task id.
    runtime().block_on(every_way(lock()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_in_the_body_is_found_under_block_in_place() {
    let found = |lock: Lock| async move {
        let inner = lock.clone();
        lock.run(async |_| {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(inner.acquire())
            })
        })
        .await
        .unwrap()
    };
    assert!(is_reentrant(found(lock()).await));
    let task = tokio::spawn(found(lock()));
    assert!(is_reentrant(soon("the task", task).await.unwrap()));
}

#[tokio::test]
async fn a_wait_in_the_body_of_a_try_or_of_a_macro_is_found() {
    let lock = lock();
    let inner = lock.clone();
    let tried = lock.try_run(async |_| inner.acquire().await.map(drop));
    assert!(is_reentrant(tried.await.unwrap().unwrap()));

    #[locked("job:<id>", wait = forever, on_busy = Ok(1), guard = guard)]
    async fn outer(id: u64) -> Result<u64, Error> {
        assert!(guard.is_held());
        again(id).await
    }
    // It never evaluates `on_busy`: the lock is not busy, the program is wrong.
    #[locked("job:<id>", wait = forever, on_busy = Ok(2))]
    async fn again(id: u64) -> Result<u64, Error> {
        Ok(id)
    }
    #[locked("job:<id>", wait = never, on_busy = skip)]
    async fn skipping(id: u64) -> Result<(), Error> {
        assert_eq!(id, 0, "it ran");
        Ok(())
    }
    #[locked("job:<id>", wait = forever)]
    async fn around(id: u64) -> Result<(), Error> {
        skipping(id).await
    }
    let verrou = Verrou::builder().store("memory", MemoryStore::new());
    let verrou = verrou.build().unwrap();
    let both = verrou.scope(async { (outer(7).await, around(7).await) });
    let (nested, skipped) = soon("both", both).await;
    assert!(is_reentrant(nested));
    assert!(is_reentrant(skipped));
}

#[tokio::test]
async fn a_wait_for_several_keys_of_which_the_body_holds_one_is_found() {
    let locks = LockFactory::new(MemoryStore::new());
    let outer = locks.create_lock_all(["a", "b"]).wait(Wait::Forever);
    let inner = locks.create_lock_all(["0", "b"]).wait(Wait::Forever);
    let both = async |_: &LockGuard| inner.acquire().await.map(drop);
    let body = soon("the body", outer.run(both)).await;
    assert!(is_reentrant(body.unwrap()));
    assert!(!locks.create_lock("0").is_locked().await.unwrap());
}

#[tokio::test]
async fn a_wait_in_an_inner_body_for_the_lock_of_an_outer_one_is_found() {
    let locks = LockFactory::new(MemoryStore::new());
    let (a, b) = (locks.create_lock("a"), locks.create_lock("b"));
    let again = a.clone().wait(Wait::Forever);
    let nested = a.run(async |_| b.run(async |_| again.acquire().await.map(drop)).await);
    let nested = soon("the body", nested).await;
    assert!(is_reentrant(nested.unwrap().unwrap()));
}

/// Another key, the same key of another store or another namespace, and a key that the body has lost are none of its own.
#[tokio::test]
async fn what_the_body_does_not_hold_is_waited_for() {
    let memory = MemoryStore::new();
    let store = FaultStore::new(MemoryStore::new()).with_io();
    let verrou = Verrou::builder()
        .store("s", store.clone())
        .store("other", memory)
        .build()
        .unwrap();
    let other_store = verrou.store("other").unwrap().create_lock("k");
    let other_namespace = Verrou::builder()
        .namespace("n")
        .store("s", store.clone())
        .build()
        .unwrap()
        .create_lock("k");
    let lock = verrou.create_lock("k").ttl(150 * MS);
    let lock = lock.on_lost(OnLost::Continue);
    let again = lock.clone();
    let body = lock.run(async |guard| {
        for other in [&other_store, &other_namespace, &verrou.create_lock("other")] {
            other.acquire().await.unwrap().release().await.unwrap();
        }
        store.on(Op::RenewMany).fail_before();
        guard.lost().await;
        store.clear();
        again.acquire().await.unwrap().release().await.unwrap();
    });
    soon("the body", body).await.unwrap();
}

#[tokio::test]
async fn siblings_are_left_alone() {
    // In one task, whose id is the same for all; and in the root, where there is none.
    let siblings = async || {
        let lock = lock();
        let nap = || lock.run(async |_| tokio::time::sleep(10 * MS).await);
        let (one, other) = tokio::join!(nap(), nap());
        one.unwrap();
        other.unwrap();
        let mut set: FuturesUnordered<_> = (0..5).map(|_| Box::pin(nap())).collect();
        while let Some(one) = set.next().await {
            one.unwrap();
        }
    };
    soon("the siblings of the root", siblings()).await;
    let task = tokio::spawn(async move { siblings().await });
    soon("the siblings of a task", task).await.unwrap();
}

#[tokio::test]
async fn a_guard_that_moved_to_another_task_is_left_alone() {
    let lock = lock();
    let guard = lock.acquire().await.unwrap();
    let (let_go, wait) = tokio::sync::oneshot::channel();
    let holder = tokio::spawn(async move {
        wait.await.unwrap();
        guard.release().await.unwrap();
    });
    let mut waiting = Box::pin(lock.acquire());
    assert!(polled_once(&mut waiting).await.is_none(), "it must wait");
    let_go.send(()).unwrap();
    drop(soon("the guard", waiting).await.unwrap());
    holder.await.unwrap();
}

#[tokio::test]
async fn a_local_task_that_is_polled_in_a_body_is_left_alone() {
    let local = tokio::task::LocalSet::new();
    let lock = lock();
    let other = lock.clone();
    let waiting = std::rc::Rc::new(std::cell::Cell::new(false));
    let waits = waiting.clone();
    let body = lock.run(async |_| {
        // Made and polled inside of the body, by the thread that polls it: but a task of its own.
        let stranger = local.spawn_local(async move {
            waits.set(true);
            other.acquire().await.map(drop)
        });
        let until_it_waits = async {
            while !waiting.get() {
                tokio::task::yield_now().await;
            }
            tokio::task::yield_now().await;
        };
        local.run_until(until_it_waits).await;
        Some(stranger)
    });
    let stranger = soon("the body", body).await.unwrap().unwrap();
    assert!(waiting.get());
    let ended = soon("the local task", local.run_until(stranger)).await;
    ended.unwrap().unwrap();
}

/// Really stuck and not found: `wait` is what ends it.
#[tokio::test]
async fn what_is_not_found_ends_by_its_wait() {
    let is_timeout =
        |result: Result<LockGuard, Error>| matches!(result, Err(Error::Timeout { .. }));
    let locks = LockFactory::new(MemoryStore::new());
    let lock = locks.create_lock("k").wait(Wait::For(50 * MS));
    let started = Instant::now();

    // A plain guard, and the same lock again.
    let guard = lock.acquire().await.unwrap();
    assert!(is_timeout(lock.acquire().await));
    guard.release().await.unwrap();

    // A task that the body waits for.
    let spawned = lock.clone();
    let awaits = lock.run(async |_| tokio::spawn(spawned.acquire()).await.unwrap());
    assert!(is_timeout(awaits.await.unwrap()));
    let blocking = lock.clone();
    let elsewhere = lock.run(async |_| {
        let blocked = move || runtime().block_on(blocking.acquire());
        tokio::task::spawn_blocking(blocked).await.unwrap()
    });
    assert!(is_timeout(elsewhere.await.unwrap()));

    // Two locks in a circle.
    let (a, b) = (
        locks.create_lock("a").wait(Wait::For(50 * MS)),
        locks.create_lock("b").wait(Wait::For(50 * MS)),
    );
    let (ready, both) = (tokio::sync::Barrier::new(2), (a.clone(), b.clone()));
    let crossed = |first: Lock, second: Lock| {
        let ready = &ready;
        async move {
            let body = first.run(async |_| {
                ready.wait().await;
                second.acquire().await
            });
            body.await.unwrap()
        }
    };
    let (one, other) = tokio::join!(crossed(a, b), crossed(both.1, both.0));
    // One of them may get what the other has given up by then.
    assert!(is_timeout(one) || is_timeout(other));
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// A future that was made outside of the body has not begun to wait in it.
#[tokio::test]
async fn a_wait_that_was_made_outside_is_left_alone_and_ends_after_the_body() {
    let lock = lock();
    let mut outside = Box::pin(lock.acquire());
    let body = lock.run(async |_| {
        assert!(polled_once(&mut outside).await.is_none(), "it must wait");
    });
    soon("the body", body).await.unwrap();
    drop(soon("the wait", outside).await.unwrap());
}

/// Made in the body and spawned before its first poll, it waits in a task of its own.
#[tokio::test]
async fn a_wait_that_is_spawned_away_at_once_is_left_alone() {
    let lock = lock();
    let inner = lock.clone();
    let body = lock.run(async |_| tokio::spawn(inner.acquire()));
    let spawned = soon("the body", body).await.unwrap();
    drop(soon("the task", spawned).await.unwrap().unwrap());
}

/// The first false alarm that is documented: if it were spawned after this poll, it would get the key after the body.
#[tokio::test]
async fn a_known_false_alarm_a_future_first_polled_in_the_body_and_then_spawned_away() {
    let lock = lock();
    let inner = lock.clone();
    let body = lock.run(async |_| {
        let mut early = Box::pin(inner.acquire());
        polled_once(&mut early).await
    });
    let polled = soon("the body", body).await.unwrap();
    assert!(polled.is_some_and(is_reentrant));
}

/// The second: the block waits for the body's end as soon as it is polled after it, but begins its wait inside.
#[tokio::test]
async fn a_known_false_alarm_an_async_block_made_outside_and_first_polled_inside() {
    let lock = lock();
    let mut block = pin!(async { lock.acquire().await });
    let body = lock.run(async |_| polled_once(&mut block).await);
    let polled = soon("the body", body).await.unwrap();
    assert!(polled.is_some_and(is_reentrant));
}

/// The queue behind a body that asked for its own lock is whole.
#[tokio::test]
async fn those_who_wait_behind_it_get_the_key() {
    let lock = lock();
    let (inner, behind) = (lock.clone(), lock.clone());
    let body = lock.run(async |_| {
        let waiter = tokio::spawn(behind.acquire());
        tokio::task::yield_now().await;
        assert!(is_reentrant(inner.acquire().await));
        Some(waiter)
    });
    let waiter = soon("the body", body).await.unwrap().unwrap();
    drop(soon("the waiter", waiter).await.unwrap().unwrap());
}

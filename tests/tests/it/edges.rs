//! What a review found broken once: shutdown, bounds, several keys, and what is left to the keeper.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tests::{eventually, soon};
use verrou::drivers::MemoryStore;
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, ForceReleaseRequest, Holding, InspectRequest,
    LockStore, ReleaseRequest, RenewRequest, Reply, StoreError,
};
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockFactory, LockOptions, Outcome, Retry, Verrou, Wait};

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

/// Memory whose close never ends.
#[derive(Clone, Default)]
struct Unclosable {
    memory: MemoryStore,
}
impl LockStore for Unclosable {
    async fn acquire(&self, r: AcquireRequest) -> Result<Acquired, StoreError> {
        self.memory.acquire(r).await
    }
    async fn renew(&self, r: RenewRequest) -> Result<Reply, StoreError> {
        self.memory.renew(r).await
    }
    async fn adopt(&self, r: AdoptRequest) -> Result<Adopted, StoreError> {
        self.memory.adopt(r).await
    }
    async fn release(&self, r: ReleaseRequest) -> Result<Reply, StoreError> {
        self.memory.release(r).await
    }
    async fn inspect(&self, r: InspectRequest) -> Result<Option<Holding>, StoreError> {
        self.memory.inspect(r).await
    }
    async fn force_release(&self, r: ForceReleaseRequest) -> Result<bool, StoreError> {
        self.memory.force_release(r).await
    }
    async fn close(&self) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn shutdown_reports_a_release_that_could_not_be_done() {
    let (verrou, store, memory) = faulty();
    let guard = verrou.create_lock("k").acquire().await.unwrap();
    store.on(Op::Release).fail_before();
    let result = verrou.shutdown().await;
    assert_eq!(memory.len(), 1);
    drop(guard);
    assert!(
        result.is_err(),
        "shutdown says {result:?}, and the key is still taken"
    );
}

#[tokio::test]
async fn shutdown_ends_though_close_hangs() {
    let verrou = Verrou::builder()
        .store("s", Unclosable::default())
        .request_timeout(100 * MS)
        .build()
        .unwrap();
    tokio::time::timeout(Duration::from_secs(3), verrou.shutdown())
        .await
        .expect("shutdown waits two seconds at most for a driver")
        .unwrap();
}

#[tokio::test]
async fn shutdown_ends_all_stores_at_once() {
    let mut builder = Verrou::builder().request_timeout(300 * MS);
    for name in ["a", "b", "c", "d"] {
        builder = builder.store(name, MemoryStore::new());
    }
    let verrou = builder.build().unwrap();
    let mut guards = Vec::new();
    for name in ["a", "b", "c", "d"] {
        guards.push(
            verrou
                .store(name)
                .unwrap()
                .create_lock("k")
                .acquire()
                .await
                .unwrap(),
        );
    }
    let shutdown = tokio::spawn({
        let verrou = verrou.clone();
        async move { verrou.shutdown().await }
    });
    let started = Instant::now();
    eventually("the first is lost", || !guards[0].is_held()).await;
    tokio::time::sleep(50 * MS).await;
    let last = guards[3].is_held();
    shutdown.await.unwrap().unwrap();
    let took = started.elapsed();
    assert!(
        !last,
        "the guard of the last store is still held; all took {took:?}"
    );
    assert!(took <= 1000 * MS, "{took:?}");
}

#[tokio::test]
async fn a_failed_release_is_retried_until_the_extended_lease_is_over() {
    let (verrou, store, memory) = faulty();
    let guard = verrou
        .create_lock("k")
        .ttl(100 * MS)
        .acquire()
        .await
        .unwrap();
    guard.extend(Duration::from_secs(20)).await.unwrap();
    store.on(Op::Release).fail_before();
    drop(guard);
    tokio::time::sleep(400 * MS).await;
    store.clear();
    let working = Instant::now();
    eventually(
        "the key is free long before the extended lease is over",
        || memory.is_empty(),
    )
    .await;
    assert!(working.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn late_grants_end_within_one_request_timeout() {
    let (verrou, store, _) = faulty();
    store.on(Op::Acquire).delay_after(150 * MS);
    let started = Instant::now();
    let result = verrou
        .create_lock("k")
        .ttl(100 * MS)
        .wait(Wait::For(Duration::ZERO))
        .acquire()
        .await;
    let took = started.elapsed();
    assert!(took < 440 * MS, "{took:?} {result:?}");
}

#[tokio::test]
async fn several_keys_share_the_time_of_one_wait() {
    let (verrou, store, _) = faulty();
    store.on(Op::Acquire).delay_after(150 * MS);
    let started = Instant::now();
    let result = verrou
        .create_lock_all(["a", "b", "c", "d", "e", "f"])
        .wait(Wait::For(50 * MS))
        .acquire()
        .await;
    let took = started.elapsed();
    assert!(took < 500 * MS, "{took:?} {result:?}");
}

#[tokio::test]
async fn an_acquire_of_several_keys_ends_when_one_is_lost() {
    let memory = MemoryStore::new();
    let (locks, elsewhere) = (LockFactory::new(memory.clone()), LockFactory::new(memory));
    let _b = elsewhere.create_lock("b").acquire().await.unwrap();
    let both = tokio::spawn(
        locks
            .create_lock_all(["a", "b"])
            .ttl(100 * MS)
            .wait(Wait::Forever)
            .acquire(),
    );
    let a = elsewhere.create_lock("a");
    soon("the first key", async {
        while !a.force_release().await.unwrap() {
            tokio::time::sleep(MS).await;
        }
    })
    .await;
    let error = soon("the loss", both).await.unwrap().unwrap_err();
    assert!(
        matches!(&error, Error::Lost { key, .. } if key == "a"),
        "{error:?}"
    );
}

#[tokio::test]
async fn max_hold_counts_from_the_grant_of_the_lock() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    let elsewhere = LockFactory::new(memory);
    let b = elsewhere.create_lock("b").acquire().await.unwrap();
    let both = locks.create_lock_all(["a", "b"]).max_hold(200 * MS);
    let both = tokio::spawn(both.acquire());
    tokio::time::sleep(400 * MS).await;
    b.release().await.unwrap();
    let result = both.await.unwrap();
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn a_kept_acquire_of_several_keys_that_is_not_polled_stops_nobody() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    let elsewhere = LockFactory::new(memory);
    let _b = elsewhere.create_lock("b").acquire().await.unwrap();
    let both = locks
        .create_lock_all(["a", "b"])
        .ttl(50 * MS)
        .wait(Wait::For(100 * MS));
    let mut kept = pin!(both.acquire());
    poll_fn(|cx| {
        assert!(kept.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    // Long after its wait it is still kept; but nobody polls it.
    let a = elsewhere
        .create_lock("a")
        .wait(Wait::For(Duration::from_secs(10)))
        .acquire()
        .await;
    assert!(
        a.is_ok(),
        "`a` is renewed for an acquire that nobody polls: {a:?}"
    );
}

#[tokio::test]
async fn reentrancy_of_a_later_key_is_found_at_once() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    let elsewhere = LockFactory::new(memory);
    let _a = elsewhere.create_lock("a").acquire().await.unwrap();
    let both = locks.create_lock_all(["a", "b"]).wait(Wait::For(1000 * MS));
    let started = Instant::now();
    let error = locks
        .create_lock("b")
        .run(async |_| both.acquire().await.unwrap_err())
        .await
        .unwrap();
    assert!(
        matches!(error, Error::Reentrant { .. }),
        "{error:?} after {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn the_error_names_the_key_that_was_lost() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    let guard = locks
        .create_lock_all(["a", "b"])
        .ttl(150 * MS)
        .acquire()
        .await
        .unwrap();
    assert!(locks.create_lock("b").force_release().await.unwrap());
    guard.lost().await;
    tokio::time::sleep(20 * MS).await;
    match guard.check() {
        Err(Error::Lost { key, .. }) => assert_eq!(key, "b"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn memory_keeps_no_entry_for_a_free_key() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    for n in 0..100 {
        let lock = locks.create_lock(format!("k{n}")).min_hold(10 * MS);
        lock.acquire().await.unwrap().release().await.unwrap();
    }
    tokio::time::sleep(100 * MS).await;
    locks
        .create_lock("other")
        .acquire()
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    assert_eq!(memory.len(), 0);
}

// 11
#[tokio::test]
async fn all_or_nothing_leaves_nothing_with_min_hold() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    let elsewhere = LockFactory::new(memory);
    let _b = elsewhere.create_lock("b").acquire().await.unwrap();
    let both = locks
        .create_lock_all(["a", "b"])
        .min_hold(Duration::from_secs(10));
    assert!(both.try_acquire().await.unwrap().is_none());
    assert!(
        !elsewhere.create_lock("a").is_locked().await.unwrap(),
        "`a` is taken, and nothing ran"
    );
}

#[tokio::test]
async fn bodies_have_time_to_stop_before_their_keys_are_released() {
    let memory = MemoryStore::new();
    let verrou = Verrou::builder()
        .store("s", memory.clone())
        .request_timeout(1000 * MS)
        .build()
        .unwrap();
    let guard = verrou
        .create_lock("k")
        .ttl(150 * MS)
        .acquire()
        .await
        .unwrap();
    let shutdown = tokio::spawn({
        let verrou = verrou.clone();
        async move { verrou.shutdown().await }
    });
    eventually("lost", || !guard.is_held()).await;
    tokio::time::sleep(100 * MS).await;
    let released = memory.is_empty();
    drop(guard);
    shutdown.await.unwrap().unwrap();
    assert!(!released, "released under the guard within the grace");
}

#[tokio::test]
async fn a_release_between_the_try_and_the_subscription_is_not_missed() {
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone());
    let locks = LockFactory::new(store.clone());
    let elsewhere = LockFactory::new(memory)
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    store.on(Op::Acquire).times(1).delay_after(100 * MS);
    let lock = locks
        .create_lock("k")
        .retry(Retry::new().delays(Duration::from_secs(5), Duration::from_secs(5)));
    let waiter = tokio::spawn(lock.acquire());
    store.until(|store| store.in_flight(Op::Acquire) == 1).await;
    tokio::time::sleep(30 * MS).await;
    elsewhere.release().await.unwrap();
    let started = Instant::now();
    let _guard = waiter.await.unwrap().unwrap();
    assert!(started.elapsed() < 2000 * MS, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_restore_whose_answer_was_lost_is_released() {
    let (verrou, store, memory) = faulty();
    let text = verrou
        .create_lock("k")
        .acquire()
        .await
        .unwrap()
        .into_serialized()
        .unwrap();
    // Known not to be done: the text is still good.
    store.on(Op::Adopt).times(1).fail_before();
    let error = verrou.restore_lock(&text).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Store {
                outcome: Outcome::NotApplied,
                ..
            }
        ),
        "{error:?}"
    );
    // Done, but nobody knows: whoever has it is nobody's, and goes.
    store.on(Op::Adopt).times(1).fail_after();
    let error = verrou.restore_lock(&text).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Store {
                outcome: Outcome::Unknown,
                ..
            }
        ),
        "{error:?}"
    );
    eventually("the key is free", || memory.is_empty()).await;
    assert!(matches!(
        verrou.restore_lock(&text).await,
        Err(Error::NotHeld { .. })
    ));
}

#[tokio::test]
async fn the_options_of_the_instance_do_not_refuse_a_restore() {
    let memory = MemoryStore::new();
    let giver = Verrou::builder()
        .store("s", memory.clone())
        .build()
        .unwrap();
    let taker = Verrou::builder()
        .store("s", memory)
        .options(LockOptions::new().max_hold(Duration::from_secs(1)))
        .build()
        .unwrap();
    let text = giver
        .create_lock("k")
        .min_hold(Duration::from_secs(10))
        .acquire()
        .await
        .unwrap()
        .into_serialized()
        .unwrap();
    drop(taker.restore_lock(&text).await.unwrap());
}

#[tokio::test]
async fn a_wait_of_zero_still_waits_for_what_is_just_given_back() {
    let (verrou, store, _) = faulty();
    store.on(Op::Release).delay_before(20 * MS);
    drop(verrou.create_lock("k").acquire().await.unwrap());
    let result = verrou
        .create_lock("k")
        .wait(Wait::For(Duration::ZERO))
        .acquire()
        .await;
    assert!(result.is_ok(), "{result:?}");
}

#[tokio::test]
async fn a_waiter_of_several_keys_gets_shutdown() {
    let memory = MemoryStore::new();
    let locks = LockFactory::new(memory.clone());
    let elsewhere = LockFactory::new(memory);
    let _b = elsewhere.create_lock("b").acquire().await.unwrap();
    let waiter = tokio::spawn(locks.create_lock_all(["a", "b"]).acquire());
    tokio::time::sleep(50 * MS).await;
    locks.close().await.unwrap();
    let error = waiter.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::ShutDown), "{error:?}");
}

/// A waker that owns a task, whose last reference the queue may have.
struct Owns(
    #[allow(dead_code, reason = "dropped")]
    std::sync::Mutex<Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>>,
);
impl Wake for Owns {
    fn wake(self: Arc<Self>) {}
}
#[test]
fn a_replaced_waker_is_dropped_outside_of_the_lock() {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let locks = LockFactory::new(MemoryStore::new());
            let _guard = locks.create_lock("k").acquire().await.unwrap();
            let mut one = Box::pin(locks.create_lock("k").acquire());
            let lock = locks.create_lock("k");
            let mut two: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(async move { drop(lock.acquire().await) });
            assert!(
                two.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            let owner = Waker::from(Arc::new(Owns(std::sync::Mutex::new(Some(two)))));
            assert!(
                one.as_mut()
                    .poll(&mut Context::from_waker(&owner))
                    .is_pending()
            );
            drop(owner);
            assert!(
                one.as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
        });
        done.send(()).unwrap();
    });
    finished
        .recv_timeout(Duration::from_secs(5))
        .expect("deadlock");
}

#[tokio::test]
async fn a_ttl_too_short_is_the_error_of_its_lock_only() {
    let (verrou, store, memory) = faulty();
    let elsewhere = LockFactory::new(memory)
        .create_lock("k")
        .acquire()
        .await
        .unwrap();
    let short = tokio::spawn(verrou.create_lock("k").ttl(30 * MS).acquire());
    store.until(|store| store.calls(Op::Acquire) > 1).await;
    let long = tokio::spawn(verrou.create_lock("k").acquire());
    tokio::time::sleep(20 * MS).await;
    store.on(Op::Acquire).delay_after(40 * MS);
    elsewhere.release().await.unwrap();
    let short = short.await.unwrap();
    let long = long.await.unwrap();
    assert!(long.is_ok(), "{long:?}\n{short:?}");
}

#[tokio::test]
async fn a_second_shutdown_goes_on_with_the_rest() {
    let memory = MemoryStore::new();
    let verrou = Verrou::builder()
        .store("s", memory.clone())
        .request_timeout(100 * MS)
        .build()
        .unwrap();
    let guard = verrou.create_lock("k").acquire().await.unwrap();
    assert!(
        tokio::time::timeout(20 * MS, verrou.shutdown())
            .await
            .is_err()
    );
    let result = verrou.shutdown().await;
    let free = memory.is_empty();
    drop(guard);
    assert!(
        free,
        "the second shutdown says {result:?} and has not released the key"
    );
}

#[tokio::test]
async fn a_renewal_in_flight_does_not_end_the_grace() {
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone()).with_io();
    let verrou = Verrou::builder()
        .store("s", store.clone())
        .request_timeout(1000 * MS)
        .build()
        .unwrap();
    let guard = verrou
        .create_lock("k")
        .ttl(600 * MS)
        .acquire()
        .await
        .unwrap();
    store.on(Op::RenewMany).delay_after(60 * MS);
    store.until(|store| store.calls(Op::RenewMany) >= 1).await;
    let shutdown = tokio::spawn({
        let verrou = verrou.clone();
        async move { verrou.shutdown().await }
    });
    eventually("lost", || !guard.is_held()).await;
    tokio::time::sleep(150 * MS).await;
    let released = memory.is_empty();
    drop(guard);
    shutdown.await.unwrap().unwrap();
    assert!(!released, "released under the guard within the grace");
}

//! Leases on a clock that is moved by hand. One test: the clock is that of the process.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::{Duration, Instant};

use tests::soon;
use verrou::drivers::MemoryStore;
use verrou::testkit::clock;
use verrou::{Error, LockFactory, Wait};

#[tokio::test]
async fn hours_of_leases_pass_in_no_time() {
    let started = Instant::now();
    let hour = Duration::from_secs(3600);
    let store = MemoryStore::new();
    let (here, there) = (LockFactory::new(store.clone()), LockFactory::new(store));

    // A lease ends when the clock says so: told to the guard, and to the waiter elsewhere.
    let guard = here
        .create_lock("k")
        .ttl(hour)
        .renew(false)
        .acquire()
        .await
        .unwrap();
    let waiter = tokio::spawn(there.create_lock("k").wait(Wait::Forever).acquire());
    tokio::task::yield_now().await;
    clock::advance(hour / 2);
    assert!(guard.is_held() && guard.remaining() < hour);
    assert!(
        there
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    clock::advance(hour / 2);
    assert!(!guard.is_held());
    soon("the loss", guard.lost()).await;
    let next = soon("the waiter", waiter).await.unwrap().unwrap();
    assert!(next.token() > guard.token());
    assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
    drop(next);

    // A renewed one lives on, if the clock leaves the keeper time to renew.
    let renewed = here.create_lock("k").ttl(hour).acquire().await.unwrap();
    for _ in 0..6 {
        let before = renewed.remaining();
        clock::advance(hour / 2);
        tests::eventually("the lease is renewed", || {
            renewed.remaining() > before - hour / 4
        })
        .await;
        assert!(renewed.is_held());
    }

    // A wait ends by the same clock.
    let wait = tokio::spawn(there.create_lock("k").wait(Wait::For(hour / 4)).acquire());
    tokio::task::yield_now().await;
    clock::advance(hour / 4);
    assert!(
        matches!(soon("the wait", wait).await.unwrap(), Err(Error::Timeout { waited, .. }) if waited >= hour / 4)
    );
    assert!(started.elapsed() < Duration::from_secs(30));
}

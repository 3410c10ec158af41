//! Calls without an answer: a server that stands still in the middle of a renewal and of a release, on any of them.

use std::time::{Duration, Instant};

use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockFactory, LockStore, Outcome, Verrou};

use crate::{eventually, soon};

const REQUEST: Duration = Duration::from_millis(500);
/// What is left to a busy machine beyond the promise.
const SLACK: Duration = Duration::from_secs(2);

/// Fails unless a renewal without an answer is made again while the lease lasts, and a release without one until it is done.
/// `freeze` stops the server of `store` and `other` where it is, `thaw` lets it go on.
///
/// # Panics
/// If they are not.
pub async fn is_tried_again(
    store: impl LockStore,
    other: impl LockStore,
    freeze: impl AsyncFn(),
    thaw: impl Fn(),
) {
    let store = FaultStore::new(store);
    let builder = Verrou::builder().store("frozen", store.clone());
    let verrou = must(builder.request_timeout(REQUEST).build());
    let elsewhere = LockFactory::new(other);

    // A renewal each 2 s, given up after the request timeout; the server is back when more than half of the lease is left.
    let ttl = Duration::from_secs(6);
    let guard = must(verrou.create_lock("renewed").ttl(ttl).acquire().await);
    let renewals = store.calls(Op::RenewMany);
    let granted = Instant::now();
    eventually("it is nearly time to renew", || granted.elapsed() > ttl / 4).await;
    freeze().await;
    // The first has no answer, and the next is one of its own.
    let tried = |store: &FaultStore<_>| store.calls(Op::RenewMany) >= renewals + 2;
    soon("another try", store.until(tried)).await;
    assert!(guard.is_held(), "a renewal without an answer is no loss");
    thaw();
    while granted.elapsed() < 2 * ttl {
        assert!(guard.is_held(), "lost, though the server was back in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let held = must(elsewhere.create_lock("renewed").try_acquire().await);
    assert!(held.is_none(), "the store has let somebody else in");
    must(guard.release().await);

    // A release is the caller's for one request timeout, then the keeper's until it is done: long before the lease ends.
    let minute = Duration::from_secs(60);
    let lock = verrou.create_lock("released").ttl(minute);
    for dropped in [false, true] {
        let guard = must(soon("the key", lock.acquire()).await);
        freeze().await;
        let frozen = Instant::now();
        if dropped {
            drop(guard);
        } else {
            let outcome = match guard.release().await {
                Err(Error::Store { outcome, .. }) => outcome,
                other => panic!("{other:?} from a server that stands still"),
            };
            assert_eq!(outcome, Outcome::Unknown);
            let waited = frozen.elapsed();
            assert!(waited < REQUEST + SLACK, "an error after {waited:?}");
        }
        // One that goes out while the server stands still has no answer either.
        let releases = store.calls(Op::Release);
        let tried = |store: &FaultStore<_>| store.calls(Op::Release) > releases;
        soon("another try", store.until(tried)).await;
        thaw();
        let thawed = Instant::now();
        while must(elsewhere.create_lock("released").is_locked().await) {
            let waited = thawed.elapsed();
            assert!(waited < 5 * SLACK, "still held {waited:?} after the thaw");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    must(verrou.shutdown().await);
}

fn must<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{error}"),
    }
}

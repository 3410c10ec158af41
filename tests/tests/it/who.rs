//! A wait that ran out names the holder, at no cost for the others.

use std::time::{Duration, Instant, SystemTime};

use tests::{eventually, soon};
use verrou::drivers::MemoryStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, Holder, Lock, LockFactory, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);

/// An instance whose store does I/O, and somebody else on the same store.
fn two() -> (Verrou, FaultStore<MemoryStore>, LockFactory) {
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone()).with_io();
    let instance = |name: &str| Verrou::builder().holder(name).request_timeout(500 * MS);
    let ours = instance("api-1").store("s", store.clone()).build().unwrap();
    let theirs = instance("api-2").store("s", memory).build().unwrap();
    (ours, store, theirs.store("s").unwrap())
}

/// The holder that the error of a wait names, and its message.
async fn timed_out(lock: &Lock) -> (Option<Holder>, String) {
    match soon("the timeout", lock.acquire()).await {
        Err(error) => {
            let text = error.to_string();
            let Error::Timeout { holder, .. } = error else {
                panic!("{error}")
            };
            (holder.map(|holder| *holder), text)
        }
        Ok(guard) => panic!("{guard:?}"),
    }
}

#[tokio::test]
async fn a_timeout_names_the_holder_of_another_process_with_one_call() {
    let (verrou, store, elsewhere) = two();
    let before = SystemTime::now();
    let other = elsewhere.create_lock("k").acquire().await.unwrap();
    let lock = verrou.create_lock("k").wait(Wait::For(300 * MS));
    let (holder, text) = timed_out(&lock).await;
    let holder = holder.unwrap();
    assert_eq!(holder.holder, "api-2");
    assert_eq!(holder.token, other.token());
    assert!(holder.since >= before - Duration::from_secs(1) && holder.since <= SystemTime::now());
    assert!(text.contains("held by `api-2` (since 2"), "{text}");
    assert_eq!(store.calls(Op::Inspect), 1);
    assert!(store.calls(Op::Acquire) > 1);
}

#[tokio::test]
async fn a_holder_of_this_process_is_known_without_a_call() {
    let (verrou, store, _) = two();
    let held = verrou.create_lock("k").acquire().await.unwrap();
    let lock = verrou.create_lock("k").wait(Wait::For(20 * MS));
    let (holder, text) = timed_out(&lock).await;
    let holder = holder.unwrap();
    assert_eq!(
        (holder.holder.as_str(), holder.token),
        ("api-1", held.token())
    );
    assert!(!holder.remaining.is_zero());
    assert!(text.contains("held by `api-1` (since 2"), "{text}");
    assert_eq!(store.calls(Op::Inspect), 0);
}

#[tokio::test]
async fn a_wait_is_no_longer_for_an_answer_that_does_not_come() {
    let (verrou, store, elsewhere) = two();
    let _other = elsewhere.create_lock("k").acquire().await.unwrap();
    store.on(Op::Inspect).hang_before();
    let began = Instant::now();
    let lock = verrou.create_lock("k").wait(Wait::For(50 * MS));
    let (holder, text) = timed_out(&lock).await;
    // Less than the 550 ms that the call would have.
    assert!(began.elapsed() < 450 * MS, "{:?}", began.elapsed());
    assert_eq!(holder, None);
    assert!(text.contains("held by somebody else"), "{text}");
    assert_eq!(store.calls(Op::Inspect), 1);
}

#[tokio::test]
async fn a_wait_that_ends_well_asks_nobody() {
    let (verrou, store, elsewhere) = two();
    let other = elsewhere.create_lock("k").acquire().await.unwrap();
    let lock = verrou.create_lock("k");
    let waiting = tokio::spawn(lock.acquire());
    eventually("it has tried", || store.calls(Op::Acquire) > 0).await;
    other.release().await.unwrap();
    drop(soon("the key", waiting).await.unwrap().unwrap());
    assert_eq!(store.calls(Op::Inspect), 0);
}

//! A lock that goes from one process to another, on a store of any server.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, FencingToken, LockFactory, LockStore, Verrou};

use crate::{Process, eventually, soon};

/// What is left to a busy machine beyond the promise.
const SLACK: Duration = Duration::from_secs(1);

/// Fails unless a lock goes from process to process with its token, is renewed by the one that has it and by no other, and
/// can be taken up once and in its time. `locks` and `worker` (the program of `worker.rs`) are on the store at `url`.
///
/// # Panics
/// If it does not.
pub async fn between_processes(worker: &str, url: &str, locks: &LockFactory) {
    let ttl = Duration::from_secs(2);
    let lock = locks.create_lock("handed over");
    let give = || Process::start(worker, &["give", url, "handed over", "2000"]);
    let gave = |said: String| match said.split_once(' ') {
        Some((token, text)) => (token.to_owned(), text.to_owned()),
        None => panic!("`{said}` is no hand-over"),
    };
    let mut giver = give();
    let (token, text) = gave(giver.says("gave").await);
    let mut taker = Process::start(worker, &["take", url, &text]);
    assert_eq!(taker.says("held").await, token, "another token");
    let mut second = Process::start(worker, &["take", url, &text]);
    second.says("not held").await;

    // Past several ttl: it is renewed, and by the taker.
    let taken = Instant::now();
    while taken.elapsed() < 3 * ttl {
        let holder = must(lock.inspect().await);
        let Some(holder) = holder else {
            panic!("it was not renewed")
        };
        assert_eq!(holder.token.to_string(), token);
        let pid = format!(":{}", taker.pid());
        assert!(holder.holder.ends_with(&pid), "{} holds it", holder.holder);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The end of the giver, which had it once, releases nothing.
    giver.ends_input();
    assert!(giver.ends_well().await, "the giver failed");
    assert!(must(lock.is_locked().await), "the giver has released it");

    // A giver that lives renews nothing: the taker's death is the end of it.
    taker.ends_input();
    assert!(taker.ends_well().await, "the taker failed");
    assert!(!must(lock.is_locked().await), "it was not released");
    let mut giver = give();
    let (given, text) = gave(giver.says("gave").await);
    let mut taker = Process::start(worker, &["take", url, &text]);
    assert_eq!(taker.says("held").await, given);
    taker.signal(Signal::KILL);
    let killed = Instant::now();
    assert!(!taker.ends_well().await, "it was killed");
    free_within(&lock, ttl, killed).await;

    // In vain after its expiry, whether somebody had taken it up or nobody.
    let mut late = Process::start(worker, &["take", url, &text]);
    late.says("not held").await;
    let mut forgetful = give();
    let (_, text) = gave(forgetful.says("gave").await);
    free_within(&lock, ttl, Instant::now()).await;
    let mut late = Process::start(worker, &["take", url, &text]);
    late.says("not held").await;

    let next = must(lock.acquire().await);
    let given: Option<FencingToken> = given.parse().ok().and_then(FencingToken::new);
    assert!(Some(next.token()) > given, "the token fell");
    must(next.release().await);
}

async fn free_within(lock: &verrou::Lock, ttl: Duration, since: Instant) {
    while must(lock.is_locked().await) {
        let waited = since.elapsed();
        assert!(waited < ttl + SLACK, "somebody else renews it: {waited:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fails unless what the giver has under way when it hands on a lock, a renewal, does nothing to the one who takes it up:
/// neither if the store executes it first, nor afterwards. Two stores on the same server, each with its connections.
///
/// # Panics
/// If it does.
pub async fn with_a_renewal_under_way(giver: impl LockStore, taker: impl LockStore) {
    let ttl = Duration::from_millis(2400);
    let giver = FaultStore::new(giver);
    let verrou = |store| must(Verrou::builder().store("locks", store).build());
    let (giving, taking) = (
        verrou(giver.clone()),
        must(Verrou::builder().store("locks", taker).build()),
    );
    for first in [true, false] {
        let lock = giving.create_lock("under way").ttl(ttl);
        let guard = must(soon("the key", lock.acquire()).await);
        let token = guard.token();
        // A delay that ends after the hand-over, and before the renewal is given up (a sixth of the ttl).
        let delay = Duration::from_millis(200);
        let rule = giver.on(Op::RenewMany).times(1);
        match first {
            true => rule.delay_after(delay),
            false => rule.delay_before(delay),
        }
        let under_way = |giver: &FaultStore<_>| giver.in_flight(Op::Renew) > 0;
        soon("a renewal", giver.until(under_way)).await;
        let calls = giver.calls(Op::RenewMany);
        let serialized = must(guard.into_serialized());
        let taken = must(taking.restore_lock(&serialized).await);
        assert_eq!(taken.token(), token);
        eventually("the renewal has ended", || !under_way(&giver)).await;
        // It found nothing of the giver's, or was before the hand-over; and it was the last.
        let since = Instant::now();
        while since.elapsed() < ttl * 3 / 2 {
            assert!(taken.is_held(), "lost to a late renewal of the giver");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(giver.calls(Op::RenewMany), calls, "the giver renews on");
        assert!(matches!(
            giving.restore_lock(&serialized).await,
            Err(Error::NotHeld { .. })
        ));
        must(taken.release().await);
    }
    must(giving.shutdown().await);
    must(taking.shutdown().await);
}

fn must<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{error}"),
    }
}

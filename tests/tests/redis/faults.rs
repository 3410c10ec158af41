//! What servers and networks do in the middle, and what the callers are told.

use std::time::{Duration, Instant};

use tests::servers::redis::Server;
use tests::{Proxy, dropping, eventually, soon, unknown};
use verrou::drivers::RedisStore;
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, InspectRequest, LockStore, Owner,
    ReleaseRequest, RenewRequest, Reply, StoredKey,
};
use verrou::{Error, LockFactory, Outcome, Verrou, Wait};

const TIMEOUT: Duration = Duration::from_secs(1);

async fn verrou(server: &Server) -> Verrou {
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let builder = Verrou::builder()
        .store("redis", store)
        .request_timeout(TIMEOUT);
    builder.build().unwrap()
}

fn outcome(error: &Error) -> Outcome {
    match error {
        Error::Store { outcome, .. } => *outcome,
        other => panic!("{other:?}"),
    }
}

/// Waits until a lock works again.
async fn works_again(verrou: &Verrou, key: &str) {
    let begun = Instant::now();
    loop {
        match verrou.create_lock(key).wait(Wait::Forever).acquire().await {
            Ok(guard) => match guard.release().await {
                Ok(()) => return,
                Err(error) => assert!(error.is_store(), "{error}"),
            },
            Err(error) => assert!(error.is_store(), "{error}"),
        }
        assert!(
            begun.elapsed() < tests::DEADLINE,
            "the lock does not work again"
        );
    }
}

#[tokio::test]
async fn a_server_that_dies_in_mid_call_leaves_the_outcome_unknown() {
    let mut server = Server::start();
    let verrou = verrou(&server).await;
    works_again(&verrou, "k").await;
    server.freeze();
    let lock = verrou
        .create_lock("k")
        .ttl(Duration::from_secs(2))
        .wait(Wait::Forever);
    let begun = Instant::now();
    let mut call = Box::pin(lock.acquire());
    // Long enough that the request has gone out, and shorter than the request timeout.
    assert!(tokio::time::timeout(TIMEOUT / 4, &mut call).await.is_err());
    server.kill();
    let error = call.await.unwrap_err();
    assert!(begun.elapsed() < TIMEOUT * 2, "{:?}", begun.elapsed());
    assert_eq!(outcome(&error), Outcome::Unknown, "{error:?}");
    // From now on it is known that nothing went out.
    let error = verrou.create_lock("k").acquire().await.unwrap_err();
    assert_eq!(outcome(&error), Outcome::NotApplied, "{error:?}");
    server.restart();
    works_again(&verrou, "k").await;
}

#[tokio::test]
async fn a_frozen_server_is_an_error_in_time_and_the_lock_works_afterwards() {
    let server = Server::start();
    let verrou = verrou(&server).await;
    works_again(&verrou, "k").await;
    server.freeze();
    for _ in 0..2 {
        let begun = Instant::now();
        let lock = verrou
            .create_lock("k")
            .ttl(Duration::from_secs(3))
            .wait(Wait::Forever);
        let error = lock.acquire().await.unwrap_err();
        let took = begun.elapsed();
        assert!(took < TIMEOUT + Duration::from_millis(500), "{took:?}");
        let _ = outcome(&error);
    }
    server.thaw();
    works_again(&verrou, "k").await;
}

#[tokio::test]
async fn every_waiter_behind_a_dead_server_is_told() {
    let mut server = Server::start();
    let verrou = verrou(&server).await;
    works_again(&verrou, "k").await;
    server.kill();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let lock = verrou.create_lock("k").wait(Wait::Forever);
        tasks.spawn(async move { lock.acquire().await.map(drop) });
    }
    while let Some(ended) = soon("the waiters", tasks.join_next()).await {
        assert!(ended.unwrap().unwrap_err().is_store());
    }
}

#[tokio::test]
async fn connections_that_are_killed_are_not_noticed() {
    let server = Server::start();
    let verrou = verrou(&server).await;
    let held = verrou
        .create_lock("held")
        .ttl(Duration::from_secs(1))
        .acquire()
        .await
        .unwrap();
    for _ in 0..20 {
        let killed: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed >= 1);
        let guard = verrou.create_lock("k").acquire().await.unwrap();
        let killed: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed >= 1);
        guard.release().await.unwrap();
    }
    let renewed = Instant::now();
    eventually("several renewals", || {
        renewed.elapsed() > Duration::from_secs(2)
    })
    .await;
    assert!(held.is_held());
    held.release().await.unwrap();
}

#[tokio::test]
async fn scripts_that_are_flushed_are_not_noticed() {
    let server = Server::start();
    let verrou = verrou(&server).await;
    for _ in 0..5 {
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        let guard = verrou.create_lock("k").acquire().await.unwrap();
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        guard.extend(Duration::from_secs(60)).await.unwrap();
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        assert!(verrou.create_lock("k").inspect().await.unwrap().is_some());
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn renewals_of_many_leases_survive_a_script_flush() {
    let server = Server::start();
    let verrou = verrou(&server).await;
    let mut guards = Vec::new();
    for number in 0..50 {
        let lock = verrou
            .create_lock(format!("{number}"))
            .ttl(Duration::from_secs(2));
        guards.push(lock.acquire().await.unwrap());
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(guards.iter().all(verrou::LockGuard::is_held));
}

#[tokio::test]
async fn an_append_only_file_keeps_locks_and_tokens_over_a_crash() {
    let mut server = Server::with(&["--save", "", "--appendonly", "yes"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let locks = LockFactory::new(store.clone());
    let guard = locks
        .create_lock("k")
        .ttl(Duration::from_secs(30))
        .acquire()
        .await
        .unwrap();
    server.kill();
    server.restart();
    let other = LockFactory::new(RedisStore::connect(&server.url()).await.unwrap());
    assert!(
        other
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    let token = guard.token();
    guard.extend(Duration::from_secs(40)).await.unwrap();
    guard.release().await.unwrap();
    let next = other.create_lock("k").acquire().await.unwrap();
    assert!(next.token() > token);
}

#[tokio::test]
async fn a_lock_that_vanishes_with_the_data_is_lost_and_the_next_token_is_greater() {
    let mut server = Server::start();
    let verrou = verrou(&server).await;
    let guard = verrou
        .create_lock("k")
        .ttl(Duration::from_secs(3))
        .acquire()
        .await
        .unwrap();
    server.kill();
    server.restart();
    soon("the loss", guard.lost()).await;
    let next = verrou.create_lock("k").acquire().await.unwrap();
    assert!(next.token() > guard.token());
}

/// A store that lives longer than the runtime it was made on.
#[test]
fn a_store_is_used_on_one_runtime_after_another_and_on_two_at_once() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let server = Server::start();
    let store = runtime()
        .block_on(RedisStore::connect(&server.url()))
        .unwrap();
    let locks = LockFactory::new(store);
    for _ in 0..3 {
        let guard = runtime()
            .block_on(locks.create_lock("k").acquire())
            .unwrap();
        runtime().block_on(guard.release()).unwrap();
    }
    let stalled = runtime();
    let guard = stalled.block_on(locks.create_lock("k").acquire()).unwrap();
    // `stalled` is alive and not driven; the store does not depend on it.
    runtime().block_on(guard.release()).unwrap();
    runtime().block_on(async {
        locks
            .create_lock("k")
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap()
    });
    drop(stalled);
}

#[tokio::test]
async fn a_closed_store_refuses_and_leaves_no_connection() {
    let server = Server::start();
    let verrou = verrou(&server).await;
    let guard = verrou.create_lock("k").acquire().await.unwrap();
    verrou.shutdown().await.unwrap();
    assert!(!guard.is_held());
    eventually("the connections are closed", || {
        let clients: String = server.ask(&["CLIENT", "LIST"]);
        clients.lines().count() == 1
    })
    .await;
    let store = RedisStore::connect(&server.url()).await.unwrap();
    store.close().await;
    let key = StoredKey::new("", "k").unwrap();
    let request = AcquireRequest::new(key, Owner::random().unwrap(), Duration::from_secs(1));
    assert_eq!(
        store.acquire(request).await.unwrap_err().outcome(),
        Outcome::NotApplied
    );
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_is_made_again_and_gets_the_same_answer() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let store = RedisStore::connect(&proxy.through(&server.url()))
        .await
        .unwrap();
    let other = RedisStore::connect(&server.url()).await.unwrap();
    let key = StoredKey::new("", "k").unwrap();
    let (owner, heir) = (Owner::random().unwrap(), Owner::random().unwrap());
    let ttl = Duration::from_secs(20);
    let token = || async {
        let holding = other
            .inspect(InspectRequest::new(key.clone()))
            .await
            .unwrap();
        holding.unwrap().token
    };

    proxy.swallow_next_reply_and_cut();
    let acquired = store
        .acquire(AcquireRequest::new(key.clone(), owner, ttl))
        .await
        .unwrap();
    assert_eq!(
        acquired,
        Acquired::Granted {
            token: token().await
        }
    );

    proxy.swallow_next_reply_and_cut();
    let renewed = store
        .renew(RenewRequest::new(key.clone(), owner, ttl))
        .await;
    assert_eq!(renewed.unwrap(), Reply::Done);

    proxy.swallow_next_reply_and_cut();
    let adopted = store
        .adopt(AdoptRequest::new(key.clone(), owner, heir, ttl))
        .await;
    assert_eq!(
        adopted.unwrap(),
        Adopted::Adopted {
            token: token().await
        }
    );

    proxy.swallow_next_reply_and_cut();
    let released = store.release(ReleaseRequest::new(key.clone(), heir)).await;
    assert_eq!(released.unwrap(), Reply::Done);
    assert_eq!(proxy.traffic().swallowed, 4, "every answer was lost once");
}

/// Far longer than it may take until a key is free that nobody holds.
const ORPHANED: Duration = Duration::from_secs(30);

/// Acquires while the server is frozen, on a runtime of its own, and gives up by `end`.
fn a_call_that_is_given_up(
    server: &Server,
    locks: &LockFactory,
    end: impl FnOnce(tokio::runtime::Runtime),
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let lock = locks.create_lock("k").ttl(ORPHANED);
    // So that the connection is up.
    runtime.block_on(async { lock.acquire().await.unwrap().release().await.unwrap() });
    server.freeze();
    runtime.block_on(async {
        let call = Box::pin(lock.acquire());
        assert!(
            tokio::time::timeout(Duration::from_millis(200), call)
                .await
                .is_err()
        );
    });
    end(runtime);
}

async fn is_free_soon(server: &Server) {
    let thawed = Instant::now();
    server.thaw();
    let locks = LockFactory::new(RedisStore::connect(&server.url()).await.unwrap());
    let lock = locks.create_lock("k");
    while lock.try_acquire().await.unwrap().is_none() {
        assert!(
            thawed.elapsed() < ORPHANED / 3,
            "the key of a call that was given up stays taken"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_dropped_call_wins_is_released() {
    let server = Server::start();
    let locks = LockFactory::new(RedisStore::connect(&server.url()).await.unwrap());
    let alive = std::thread::scope(|scope| {
        let call = || {
            let mut kept = None;
            a_call_that_is_given_up(&server, &locks, |runtime| kept = Some(runtime));
            kept
        };
        scope.spawn(call).join().unwrap()
    });
    is_free_soon(&server).await;
    std::thread::spawn(move || drop(alive)).join().unwrap();
}

#[tokio::test]
async fn what_a_call_of_a_dropped_runtime_wins_is_released() {
    let server = Server::start();
    let locks = LockFactory::new(RedisStore::connect(&server.url()).await.unwrap());
    std::thread::scope(|scope| {
        let call = || a_call_that_is_given_up(&server, &locks, drop);
        scope.spawn(call).join().unwrap();
    });
    is_free_soon(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_or_a_future_may_be_dropped_anywhere() {
    let url = tests::servers::redis::shared_url();
    let (one, other) = (
        RedisStore::connect(&url).await.unwrap(),
        RedisStore::connect(&url).await.unwrap(),
    );
    dropping::anywhere(LockFactory::new(one), LockFactory::new(other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_release_without_an_answer_is_tried_again() {
    let server = Server::start();
    let (store, other) = (
        RedisStore::connect(&server.url()).await.unwrap(),
        RedisStore::connect(&server.url()).await.unwrap(),
    );
    unknown::is_tried_again(store, other, async || server.freeze(), || server.thaw()).await;
}

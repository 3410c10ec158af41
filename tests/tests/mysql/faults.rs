//! Connections that are killed, and a server that is frozen or dies.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row as _};
use tests::servers::mariadb::{CANARY, MariaDb, pool};
use tests::{Proxy, dropping, soon, unknown};
use verrou::Outcome;
use verrou::drivers::MySqlStore;
use verrou::store::{AcquireRequest, Acquired, LockStore, Owner, StoreError, StoredKey};
use verrou::{Error, LockFactory, Verrou, Wait};

use crate::{millis, server};

/// Kills every connection that uses the database of `url` but the one that does it.
async fn kill_connections(url: &str) -> usize {
    let killer = pool(url, 1).await;
    let list = "SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()";
    let ids = sqlx::query(list).fetch_all(&killer).await.unwrap();
    for id in &ids {
        let kill = format!("KILL CONNECTION {}", id.get::<i64, _>(0));
        // It may have gone by itself.
        let _ = sqlx::raw_sql(AssertSqlSafe(kill)).execute(&killer).await;
    }
    killer.close().await;
    ids.len()
}

#[tokio::test]
async fn a_killed_connection_is_replaced_and_nobody_notices() {
    let url = server().await.database("").await;
    let own = MySqlStore::connect(&url).await.unwrap();
    let options = sqlx::mysql::MySqlPoolOptions::new().test_before_acquire(false);
    let of_pool = options.max_connections(3).connect(&url).await.unwrap();
    let of_pool = MySqlStore::from_pool(of_pool).connect().await.unwrap();
    for store in [own, of_pool] {
        let locks = LockFactory::new(store);
        let lock = locks.create_lock("k").ttl(millis(900));
        for _ in 0..5 {
            let guard = lock.acquire().await.unwrap();
            assert!(kill_connections(&url).await > 0);
            assert!(lock.is_locked().await.unwrap());
            kill_connections(&url).await;
            guard.extend(Duration::from_secs(1)).await.unwrap();
            kill_connections(&url).await;
            guard.check().unwrap();
            guard.release().await.unwrap();
            kill_connections(&url).await;
        }
        // The keeper's own is killed as well: renewal goes on.
        let guard = lock.acquire().await.unwrap();
        let held = Instant::now();
        while held.elapsed() < millis(2500) {
            kill_connections(&url).await;
            tokio::time::sleep(millis(40)).await;
            assert!(guard.is_held());
        }
        guard.release().await.unwrap();
    }
}

/// The store failed, in time, with this outcome, and without a secret.
#[track_caller]
fn failed<T: std::fmt::Debug>(result: Result<T, Error>, outcomes: &[Outcome], since: Instant) {
    let took = since.elapsed();
    let error = result.expect_err("the server is gone");
    assert!(took < millis(900), "{took:?}");
    match &error {
        Error::Store { outcome, .. } => assert!(outcomes.contains(outcome), "{error:?}"),
        other => panic!("{other:?}"),
    }
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_frozen_or_dies_is_a_store_error_and_nothing_stays_behind() {
    let mut server = MariaDb::start(&[]).await;
    let url = server.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    let verrou = Verrou::builder()
        .store("locks", store)
        .request_timeout(millis(500))
        .build()
        .unwrap();
    let lock = |key: &str| verrou.create_lock(key).ttl(Duration::from_secs(2));
    let held = verrou.create_lock("held").ttl(Duration::from_secs(60));
    let held = held.acquire().await.unwrap();
    lock("k").acquire().await.unwrap().release().await.unwrap();

    server.freeze().await;
    let began = Instant::now();
    failed(lock("k").try_acquire().await, &[Outcome::Unknown], began);
    let began = Instant::now();
    // Whatever it waits for: nobody holds the key that it could wait for.
    let waiting = lock("other").wait(Wait::Forever);
    failed(
        waiting.acquire().await,
        &[Outcome::Unknown, Outcome::NotApplied],
        began,
    );
    server.thaw();
    // What was granted to nobody is released.
    let guard = soon("the key", lock("k").wait(Wait::Forever).acquire()).await;
    guard.unwrap().release().await.unwrap();
    held.check().unwrap();

    server.kill();
    let began = Instant::now();
    // The connection was there, so the first attempt may have gone out.
    failed(lock("k").try_acquire().await, &[Outcome::Unknown], began);
    let began = Instant::now();
    // No connection: certainly not.
    failed(lock("k").try_acquire().await, &[Outcome::NotApplied], began);
    assert!(held.is_held());

    server.restart().await;
    let guard = soon("the key", lock("k").wait(Wait::Forever).acquire()).await;
    guard.unwrap().release().await.unwrap();
    // The lease has outlived the server.
    let other = LockFactory::new(MySqlStore::connect(&url).await.unwrap());
    assert!(
        other
            .create_lock("held")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    held.extend(Duration::from_secs(60)).await.unwrap();
    held.release().await.unwrap();
    verrou.shutdown().await.unwrap();
}

#[test]
fn a_store_works_on_one_runtime_after_the_other() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (url, locks) = first.block_on(async {
        let url = server().await.database("").await;
        let locks = LockFactory::new(MySqlStore::connect(&url).await.unwrap());
        locks
            .create_lock("k")
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
        (url, locks)
    });
    // The first is there, and nobody drives it; then it is gone.
    for first in [Some(first), None] {
        runtime().block_on(async {
            let lock = locks.create_lock("k");
            let guard = soon("the lock", lock.acquire()).await.unwrap();
            guard.release().await.unwrap();
        });
        drop(first);
    }
    // A guard that is dropped outside of all of them is released all the same.
    let last = runtime();
    let guard = last.block_on(locks.create_lock("k").acquire()).unwrap();
    drop(last);
    drop(guard);
    runtime().block_on(async {
        let others = LockFactory::new(MySqlStore::connect(&url).await.unwrap());
        let lock = others
            .create_lock("k")
            .wait(Wait::For(Duration::from_secs(5)));
        lock.acquire().await.unwrap().release().await.unwrap();
    });
}

#[test]
fn a_call_may_be_dropped_at_any_poll_and_outside_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let url = runtime.block_on(async { server().await.database("").await });
    let stores = runtime.block_on(async {
        let pool = pool(&url, 3).await;
        [
            MySqlStore::from_pool(pool).connect().await.unwrap(),
            MySqlStore::connect(&url).await.unwrap(),
        ]
    });
    for store in stores {
        let locks = LockFactory::new(store);
        for polls in 0..30 {
            let lock = locks.create_lock("k").ttl(Duration::from_secs(30));
            let mut acquire = Box::pin(async move { lock.acquire().await });
            runtime.block_on(async {
                for _ in 0..polls {
                    let poll = std::future::poll_fn(|cx| {
                        std::task::Poll::Ready(acquire.as_mut().poll(cx).is_ready())
                    });
                    if poll.await {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
            // Here is no runtime.
            drop(acquire);
        }
        runtime.block_on(async {
            let lock = locks
                .create_lock("k")
                .wait(Wait::For(Duration::from_secs(10)));
            lock.acquire().await.unwrap().release().await.unwrap();
        });
    }
}

#[tokio::test]
async fn an_error_tells_no_owner_and_a_used_up_token_is_one() {
    let url = server().await.database("").await;
    let admin = pool(&url, 1).await;
    let change = async |statement: &str| {
        let changed = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&admin);
        changed.await.unwrap();
    };
    let store = MySqlStore::connect(&url).await.unwrap();
    let key = StoredKey::new("", "k").unwrap();
    let owner = Owner::from_bytes(*b"canary-canary-ca");
    let acquire = || {
        store.acquire(AcquireRequest::new(
            key.clone(),
            owner,
            Duration::from_secs(5),
        ))
    };
    let refused = |result: Result<Acquired, StoreError>, outcome| {
        let error = result.unwrap_err();
        assert_eq!(error.outcome(), outcome, "{error:?}");
        let text = format!("{error} {error:?} {}", error.cause());
        // As bytes, as hex, and as a list of numbers.
        for form in [CANARY, "63616e617279", "63616E617279", "99, 97, 110, 97"] {
            assert!(!text.contains(form), "{text}");
        }
    };
    assert!(matches!(acquire().await, Ok(Acquired::Granted { .. })));
    change("UPDATE verrou_locks SET token = 9223372036854775807, expiry = 0").await;
    for _ in 0..2 {
        refused(acquire().await, Outcome::NotApplied);
    }
    change("UPDATE verrou_locks SET token = 9223372036854775806").await;
    let last = acquire().await.unwrap();
    assert!(
        matches!(last, Acquired::Granted { token } if token.get() == 9_223_372_036_854_775_807)
    );
    // A row that somebody has damaged; the store's words for it may quote what it was given.
    change("UPDATE verrou_locks SET token = -7").await;
    refused(acquire().await, Outcome::Unknown);
    change("DELETE FROM verrou_locks").await;
    change("ALTER TABLE verrou_locks MODIFY owner VARBINARY(4)").await;
    refused(acquire().await, Outcome::NotApplied);
    change("DROP TABLE verrou_locks").await;
    refused(acquire().await, Outcome::NotApplied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_or_a_future_may_be_dropped_anywhere() {
    let url = server().await.database("").await;
    let one = MySqlStore::connect(&url).await.unwrap();
    let other = MySqlStore::connect(&url).await.unwrap();
    dropping::anywhere(LockFactory::new(one), LockFactory::new(other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_release_without_an_answer_is_tried_again() {
    let server = MariaDb::start(&[]).await;
    let url = server.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    let other = MySqlStore::connect(&url).await.unwrap();
    unknown::is_tried_again(
        store,
        other,
        async || server.freeze().await,
        || server.thaw(),
    )
    .await;
}

/// As after a failover: the address leads to the new primary, but a connection to the old one is still there.
#[tokio::test]
async fn a_store_leaves_a_server_that_takes_no_writes_any_more() {
    let (old, new) = tokio::join!(MariaDb::start(&[]), MariaDb::start(&[]));
    let read_only = async |server: &MariaDb, on: u8| {
        server
            .execute(&format!("SET GLOBAL read_only = {on}"))
            .await;
    };
    for server in [&old, &new] {
        server.execute("CREATE DATABASE shop").await;
        // Those who may do everything may write all the same.
        server
            .execute("CREATE USER shop@'%' IDENTIFIED BY 'shop'")
            .await;
        server.execute("GRANT ALL ON shop.* TO shop@'%'").await;
    }
    let url = |port: u16| format!("mysql://shop:shop@127.0.0.1:{port}/shop");
    let address = Proxy::to(old.port());
    // It makes the table there.
    let there = LockFactory::new(MySqlStore::connect(&url(new.port())).await.unwrap());
    let from_pool = MySqlStore::from_pool(pool(&url(address.port()), 2).await);
    // The store's own connections are given up together. Of an application's pool each call gives up the two that it tries.
    for (builder, errors) in [
        (MySqlStore::builder(&url(address.port())), 0),
        (from_pool, 1),
    ] {
        address.lead_to(old.port());
        let locks = LockFactory::new(builder.connect().await.unwrap());
        let lock = locks.create_lock("k").ttl(Duration::from_secs(2));
        lock.acquire().await.unwrap().release().await.unwrap();
        address.lead_to(new.port());
        read_only(&old, 1).await;
        // Not an error that stays until somebody starts the application anew.
        let mut answer = lock.acquire().await;
        for _ in 0..errors {
            if answer.is_err() {
                answer = lock.acquire().await;
            }
        }
        let guard = answer.unwrap();
        assert!(there.create_lock("k").is_locked().await.unwrap());
        guard.release().await.unwrap();

        // With nowhere to go it says that nothing was done.
        address.lead_to(old.port());
        read_only(&new, 1).await;
        let error = lock.acquire().await.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Store {
                    outcome: Outcome::NotApplied,
                    ..
                }
            ),
            "{error:?}"
        );
        read_only(&old, 0).await;
        read_only(&new, 0).await;
        lock.acquire().await.unwrap().release().await.unwrap();
    }
}

//! Connections that are cut, and servers that freeze, crash and come back.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::postgres::PgPoolOptions;
use tests::servers::postgres::PostgresServer;
use tests::{Proxy, dropping, soon, unknown};
use verrou::drivers::PostgresStore;
use verrou::{Error, LockFactory, Outcome};

use crate::{connection, execute, number, shown};

/// The core's bound for one call.
const REQUEST: Duration = Duration::from_secs(2);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(2);

async fn cut(application: &str) -> i64 {
    let mut admin = connection(&PostgresServer::shared().url()).await;
    let of = format!("FROM pg_stat_activity WHERE application_name = '{application}'");
    let cut = number(
        &mut admin,
        format!("SELECT count(pg_terminate_backend(pid)) {of}"),
    )
    .await;
    soon("the end of the sessions", async {
        while number(&mut admin, format!("SELECT count(*) {of}")).await > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    cut
}

async fn survives_cuts(locks: LockFactory, application: &str) {
    for _ in 0..20 {
        let guard = shown(locks.create_lock("cut").acquire().await);
        assert!(cut(application).await > 0);
        shown(guard.extend(Duration::from_secs(60)).await);
        assert!(cut(application).await > 0);
        shown(guard.release().await);
        assert!(cut(application).await > 0);
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_is_replaced_without_a_word() {
    let url = format!(
        "{}?application_name=cut_own",
        PostgresServer::shared().url()
    );
    survives_cuts(
        LockFactory::new(shown(PostgresStore::connect(&url).await)),
        "cut_own",
    )
    .await;
}

#[tokio::test]
async fn a_connection_of_a_pool_that_was_cut_is_replaced_without_a_word() {
    let url = format!(
        "{}?application_name=cut_pool",
        PostgresServer::shared().url()
    );
    // Without a look at a connection before it is used, dead ones are given out.
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .min_connections(3)
        .test_before_acquire(false);
    let store = PostgresStore::from_pool(pool.connect(&url).await.unwrap())
        .connect()
        .await;
    survives_cuts(LockFactory::new(shown(store)), "cut_pool").await;
}

#[tokio::test]
async fn a_store_outlives_the_runtime_that_it_was_used_on() {
    let store = shown(PostgresStore::connect(&PostgresServer::shared().url()).await);
    let locks = LockFactory::new(store);
    for _ in 0..3 {
        let locks = locks.clone();
        let used = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                shown(
                    shown(locks.create_lock("runtimes").acquire().await)
                        .release()
                        .await,
                )
            });
        });
        tokio::task::spawn_blocking(|| used.join())
            .await
            .unwrap()
            .unwrap();
    }
    shown(
        shown(locks.create_lock("runtimes").acquire().await)
            .release()
            .await,
    );
}

/// The outcome of an acquire that fails, within the request timeout.
async fn fails(locks: &LockFactory) -> Outcome {
    let started = Instant::now();
    let answer = soon("an answer", locks.create_lock("other").acquire()).await;
    let waited = started.elapsed();
    assert!(waited < REQUEST + SLACK, "an error after {waited:?}");
    match answer {
        Err(Error::Store { outcome, .. }) => outcome,
        other => panic!("{other:?} from a server that is gone"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_freezes_or_crashes_is_an_error_in_time_and_keeps_its_locks() {
    let server = PostgresServer::start();
    let one = LockFactory::new(shown(PostgresStore::connect(&server.url()).await));
    let other = LockFactory::new(shown(PostgresStore::connect(&server.url()).await));
    let minute = Duration::from_secs(60);
    let held = shown(one.create_lock("k").ttl(minute).acquire().await);
    shown(
        shown(other.create_lock("other").acquire().await)
            .release()
            .await,
    );

    // Frozen: the request lies in a socket, and may be read later.
    server.signal(Signal::STOP);
    assert_eq!(fails(&other).await, Outcome::Unknown);
    assert!(held.is_held());
    server.signal(Signal::CONT);
    // A crash may take its release back, so a short one.
    let brief = other.create_lock("other").ttl(Duration::from_secs(2));
    let again = soon("the server that goes on", brief.acquire()).await;
    shown(shown(again).release().await);
    assert!(shown(other.create_lock("k").try_acquire().await).is_none());

    // Killed: whether the last request was executed cannot be told; afterwards none goes out.
    server.kill();
    assert_eq!(fails(&other).await, Outcome::Unknown);
    assert_eq!(fails(&other).await, Outcome::NotApplied);
    assert!(held.is_held());
    server.run();
    shown(
        shown(soon("the new server", other.create_lock("other").acquire()).await)
            .release()
            .await,
    );
    assert!(
        shown(other.create_lock("k").try_acquire().await).is_none(),
        "a crash frees no lock"
    );
    let token = held.token();
    shown(held.extend(minute).await);
    shown(held.release().await);
    let next = shown(other.create_lock("k").acquire().await);
    assert!(next.token() > token);
}

#[tokio::test]
async fn a_commit_that_fails_grants_nothing() {
    let url = PostgresServer::shared().url();
    let (direct, simple) = (
        PostgresStore::builder(&url).table("deferred"),
        PostgresStore::builder(&url)
            .table("deferred")
            .transaction_pooler(),
    );
    for builder in [direct, simple] {
        let locks = LockFactory::new(shown(builder.connect().await));
        let mut admin = connection(&url).await;
        execute(
            &mut admin,
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'not at the commit'; END $$; \
             CREATE CONSTRAINT TRIGGER refusal AFTER INSERT OR UPDATE ON deferred \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
        // The token comes before the commit, its error after it.
        assert_eq!(fails(&locks).await, Outcome::NotApplied);
        execute(&mut admin, "DROP TRIGGER refusal ON deferred").await;
        let guard = shown(locks.create_lock("other").try_acquire().await);
        shown(guard.expect("nobody was granted the key").release().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_or_a_future_may_be_dropped_anywhere() {
    let url = PostgresServer::shared().url();
    let one = shown(PostgresStore::connect(&url).await);
    let other = shown(PostgresStore::connect(&url).await);
    dropping::anywhere(LockFactory::new(one), LockFactory::new(other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_or_release_without_an_answer_is_tried_again() {
    let server = PostgresServer::start();
    let store = shown(PostgresStore::connect(&server.url()).await);
    let other = shown(PostgresStore::connect(&server.url()).await);
    let freeze = async || server.signal(Signal::STOP);
    unknown::is_tried_again(store, other, freeze, || server.signal(Signal::CONT)).await;
}

/// As after a failover: the address leads to the new primary, but a connection to the old one is still there.
#[tokio::test]
async fn a_store_leaves_a_server_that_takes_no_writes_any_more() {
    let (old, new) = (PostgresServer::start(), PostgresServer::start());
    let address = Proxy::to(old.port());
    let url = address.through(&old.url());
    // It makes the table there.
    shown(PostgresStore::connect(&new.url()).await);
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.connect_lazy(&url).unwrap();
    // The store's own connections are given up together. Of an application's pool each call gives up the two that it tries.
    for (builder, errors) in [
        (PostgresStore::builder(&url), 0),
        (PostgresStore::from_pool(pool), 1),
    ] {
        address.lead_to(old.port());
        let locks = LockFactory::new(shown(builder.connect().await));
        let lock = locks.create_lock("k").ttl(Duration::from_secs(2));
        shown(shown(lock.acquire().await).release().await);
        address.lead_to(new.port());
        let mut admin = connection(&old.url()).await;
        let read_only = |on: &str| format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
        execute(&mut admin, read_only("on")).await;
        execute(&mut admin, "SELECT pg_reload_conf()").await;
        soon("a server that only reads", async {
            let setting = "SELECT (setting = 'on')::int::bigint FROM pg_settings \
                           WHERE name = 'default_transaction_read_only'";
            while number(&mut connection(&old.url()).await, setting).await == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        // Not an error that stays until somebody starts the application anew.
        let there = LockFactory::new(shown(PostgresStore::connect(&new.url()).await));
        let mut failed = 0;
        let guard = soon("a grant of the new server", async {
            loop {
                match lock.acquire().await {
                    Ok(guard) if shown(there.create_lock("k").is_locked().await) => break guard,
                    // A session hears of its settings when it is idle, some a moment later.
                    Ok(guard) => drop(guard.release().await),
                    Err(error) => {
                        failed += 1;
                        assert!(failed <= errors, "{error}");
                    }
                }
            }
        })
        .await;
        shown(guard.release().await);

        // With nowhere to go it says that nothing was done.
        address.lead_to(old.port());
        execute(&mut connection(&new.url()).await, read_only("on")).await;
        execute(&mut connection(&new.url()).await, "SELECT pg_reload_conf()").await;
        soon("both only read", async {
            loop {
                match lock.acquire().await {
                    Ok(guard) => drop(guard.release().await),
                    Err(Error::Store { outcome, .. }) => {
                        break assert_eq!(outcome, Outcome::NotApplied);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        })
        .await;
        for server in [&old, &new] {
            let mut admin = connection(&server.url()).await;
            execute(&mut admin, "SET default_transaction_read_only = off").await;
            execute(&mut admin, read_only("off")).await;
            execute(&mut admin, "SELECT pg_reload_conf()").await;
        }
        soon("both take writes", async {
            while lock.acquire().await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

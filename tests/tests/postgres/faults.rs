//! Connections that are cut, and servers that freeze, crash and come back.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::postgres::PgPoolOptions;
use tests::servers::postgres::PostgresServer;
use tests::{dropping, soon, unknown};
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

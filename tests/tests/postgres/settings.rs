//! Isolation levels, poolers and odd settings of a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tests::servers::postgres::PostgresServer;
use tokio::task::JoinSet;
use verrou::drivers::{PostgresBuilder, PostgresStore};
use verrou::{Error, LockFactory, Outcome, Wait};

use crate::{LEVELS, bouncer, role, shown, superuser};

const CYCLES: u64 = 700;

/// 8 tasks on 4 stores add to 4 numbers, each under a lock of its own; nothing fails, and nothing is lost.
async fn counts(builder: impl Fn() -> PostgresBuilder) {
    let numbers: Arc<[AtomicU64; 4]> = Arc::default();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let locks = LockFactory::new(shown(builder().connect().await));
        for task in 0..2 {
            let (locks, numbers) = (locks.clone(), numbers.clone());
            tasks.spawn(async move {
                let mut tokens = [0; 4];
                for cycle in 0..CYCLES {
                    let place = (cycle + task) % 4;
                    let lock = locks
                        .create_lock(format!("number:{place}"))
                        .wait(Wait::Forever);
                    let guard = shown(lock.acquire().await);
                    let place = usize::try_from(place).unwrap();
                    assert!(guard.token().get() > tokens[place]);
                    tokens[place] = guard.token().get();
                    let before = numbers[place].load(Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    numbers[place].store(before + 1, Ordering::Relaxed);
                    shown(guard.release().await);
                }
            });
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let sum: u64 = numbers
        .iter()
        .map(|number| number.load(Ordering::Relaxed))
        .sum();
    assert_eq!(sum, 8 * CYCLES);
}

async fn level(place: usize) -> &'static str {
    let (name, level) = LEVELS[place];
    role(name).await;
    superuser(format!(
        "CREATE SCHEMA IF NOT EXISTS AUTHORIZATION {name}; \
         ALTER ROLE {name} SET default_transaction_isolation = '{level}'; ALTER ROLE {name} SET search_path = '{name}'"
    ))
    .await;
    name
}

async fn direct(place: usize) {
    let name = level(place).await;
    let url = PostgresServer::shared().url_of(name, "postgres");
    counts(|| PostgresStore::builder(&url).table("direct")).await;
}

async fn pooled(place: usize) {
    let name = level(place).await;
    let url = bouncer().url_of(name, "postgres");
    counts(|| {
        PostgresStore::builder(&url)
            .table("pooled")
            .transaction_pooler()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_under_read_committed() {
    direct(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_under_repeatable_read() {
    direct(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_under_serializable() {
    direct(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_under_read_committed_behind_pgbouncer() {
    pooled(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_under_repeatable_read_behind_pgbouncer() {
    pooled(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_under_serializable_behind_pgbouncer() {
    pooled(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_with_odd_settings_of_the_session() {
    let url = format!(
        "{}?options[lock_timeout]=50ms&options[TimeZone]=Asia/Kathmandu&options[standard_conforming_strings]=off\
         &options[bytea_output]=escape&options[synchronous_commit]=off&options[statement_timeout]=5s\
         &options[DateStyle]=German",
        PostgresServer::shared().url()
    );
    counts(|| PostgresStore::builder(&url).table("odd")).await;
    counts(|| {
        PostgresStore::builder(&url)
            .table("odd")
            .transaction_pooler()
    })
    .await;
}

#[tokio::test]
async fn a_lock_timeout_is_no_error_while_the_call_has_time() {
    let url = PostgresServer::shared().url();
    let impatient = format!("{url}?options[lock_timeout]=50ms");
    let store = shown(
        PostgresStore::builder(&impatient)
            .table("impatient")
            .connect()
            .await,
    );
    let locks = LockFactory::new(store);
    drop(shown(locks.create_lock("k").acquire().await));
    let mut other = crate::connection(&url).await;
    crate::execute(&mut other, "BEGIN; SELECT 1 FROM impatient FOR UPDATE").await;
    let waiter = tokio::spawn(locks.create_lock("k").acquire());
    // Longer than the `lock_timeout` of the session, shorter than the request timeout.
    crate::execute(&mut other, "SELECT pg_sleep(0.4); COMMIT").await;
    shown(shown(waiter.await.unwrap()).release().await);
}

#[tokio::test]
async fn a_pool_brings_its_hooks_and_its_schema() {
    let url = PostgresServer::shared().url();
    superuser("CREATE SCHEMA hooked; CREATE SCHEMA other").await;
    let pool = |schema: &'static str| {
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(1);
        let options = options.after_connect(move |connection, _| {
            Box::pin(async move {
                let set = format!("SET search_path = {schema}");
                sqlx::Executor::execute(connection, sqlx::AssertSqlSafe(set))
                    .await
                    .map(|_| ())
            })
        });
        options.connect_lazy(&url).unwrap()
    };
    let one = LockFactory::new(shown(
        PostgresStore::from_pool(pool("hooked")).connect().await,
    ));
    let other = LockFactory::new(shown(
        PostgresStore::from_pool(pool("other")).connect().await,
    ));
    let ttl = Duration::from_millis(300);
    let held = shown(one.create_lock("k").ttl(ttl).acquire().await);
    // Longer than the lease: it is the keeper's own connection that renews it, in the same schema.
    tokio::time::sleep(3 * ttl).await;
    assert!(held.is_held());
    let elsewhere = shown(other.create_lock("k").ttl(ttl).try_acquire().await);
    assert!(elsewhere.is_some(), "another schema is another table");
    shown(held.release().await);
}

#[tokio::test]
async fn a_statement_timeout_is_an_error_that_says_that_nothing_was_done() {
    let url = PostgresServer::shared().url();
    let strict = format!("{url}?options[statement_timeout]=100ms");
    let store = PostgresStore::builder(&strict)
        .table("strict")
        .connect()
        .await;
    let locks = LockFactory::new(shown(store));
    shown(
        shown(locks.create_lock("k").acquire().await)
            .release()
            .await,
    );
    let mut other = crate::connection(&url).await;
    crate::execute(&mut other, "BEGIN; SELECT 1 FROM strict FOR UPDATE").await;
    let error = locks.create_lock("k").acquire().await.unwrap_err();
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
    crate::execute(&mut other, "COMMIT").await;
    shown(
        shown(locks.create_lock("k").acquire().await)
            .release()
            .await,
    );
}

//! Many tasks, processes and connections on one server.

use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use tests::servers::postgres::{PostgresServer, shared_url};
use tests::{Cycling, Folder, Process, soon};
use tokio::task::JoinSet;
use verrou::drivers::PostgresStore;
use verrou::{LockFactory, Wait};

use crate::{connection, execute, number, shown};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

#[tokio::test]
async fn two_thousand_increments_in_four_processes_are_two_thousand() {
    let folder = Folder::new();
    std::fs::write(folder.file("number"), "0").unwrap();
    std::fs::write(folder.file("tokens"), "").unwrap();
    let path = folder.path().display().to_string();
    let url = shared_url();
    let arguments = ["count", &url, &path, "2", "250"];
    let mut workers: Vec<_> = (0..4).map(|_| Process::start(WORKER, &arguments)).collect();
    for worker in &mut workers {
        assert!(worker.ends_well().await);
    }
    assert_eq!(
        std::fs::read_to_string(folder.file("number")).unwrap(),
        "2000"
    );
    let tokens = std::fs::read_to_string(folder.file("tokens")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert_eq!(tokens.len(), 2000);
    assert!(
        tokens.is_sorted_by(|one, next| one < next),
        "tokens in file order must rise strictly"
    );
}

/// How often sessions of `application` executed a statement, by the log of the server.
fn executed(log: &Path, application: &str) -> usize {
    let log = std::fs::read_to_string(log).unwrap();
    let lines = log
        .lines()
        .filter_map(|line| line.strip_prefix(application)?.strip_prefix('|'));
    lines
        .filter(|line| line.contains("LOG:  execute ") || line.contains("LOG:  statement: "))
        .count()
}

async fn two_round_trips(application: &str, pooler: bool) {
    let server = PostgresServer::shared();
    let url = format!(
        "{}?application_name={application}&options[log_statement]=all",
        server.url()
    );
    let builder = PostgresStore::builder(&url)
        .table("counted")
        .max_connections(1);
    let builder = if pooler {
        builder.transaction_pooler()
    } else {
        builder
    };
    let locks = LockFactory::new(shown(builder.connect().await));
    let cycle = async || {
        shown(
            shown(locks.create_lock("k").acquire().await)
                .release()
                .await,
        )
    };
    cycle().await;
    let before = executed(&server.log(), application);
    for _ in 0..50 {
        cycle().await;
    }
    assert_eq!(executed(&server.log(), application) - before, 100);
}

#[tokio::test]
async fn an_uncontended_cycle_is_two_round_trips() {
    two_round_trips("counted_prepared", false).await;
}

#[tokio::test]
async fn an_uncontended_cycle_without_parameters_is_two_round_trips() {
    two_round_trips("counted_simple", true).await;
}

#[tokio::test]
async fn two_hundred_waiters_are_served_through_a_pool_of_one_connection() {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy(&shared_url())
        .unwrap();
    let locks = LockFactory::new(shown(PostgresStore::from_pool(pool).connect().await));
    let held = shown(locks.create_lock("two hundred").acquire().await);
    let mut waiters = JoinSet::new();
    for _ in 0..200 {
        let lock = locks.create_lock("two hundred").wait(Wait::Forever);
        waiters.spawn(async move { shown(shown(lock.acquire().await).release().await) });
    }
    shown(held.release().await);
    soon("200 waiters", waiters.join_all()).await;
}

#[tokio::test]
async fn a_pool_whose_connections_are_all_busy_does_not_cost_a_held_lock() {
    let pool = PgPoolOptions::new()
        .max_connections(5)
        .connect(&shared_url())
        .await
        .unwrap();
    let locks = LockFactory::new(shown(
        PostgresStore::from_pool(pool.clone()).connect().await,
    ));
    let ttl = Duration::from_secs(2);
    let held = shown(locks.create_lock("busy pool").ttl(ttl).acquire().await);
    let mut queries = JoinSet::new();
    for _ in 0..5 {
        let pool = pool.clone();
        queries.spawn(async move {
            sqlx::query("SELECT pg_sleep(10)")
                .execute(&pool)
                .await
                .map(|_| ())
        });
    }
    let started = Instant::now();
    while let Some(query) = queries.join_next().await {
        query.unwrap().unwrap();
    }
    assert!(started.elapsed() >= Duration::from_secs(10));
    assert!(held.is_held());
    shown(held.release().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_while_others_cycle_costs_no_token() {
    let url = shared_url();
    let mut admin = connection(&url).await;
    let table = format!("purged_{}", std::process::id());
    let store = shown(PostgresStore::builder(&url).table(&table).connect().await);
    // Rows that nobody has used for an hour; one of them is held.
    execute(
        &mut admin,
        format!(
            "INSERT INTO {table} (key, holder, token, granted, expiry) \
             SELECT convert_to(':idle:' || n, 'UTF8'), '', (extract(epoch FROM now()) * 1000000)::bigint - 3600000000, 0, \
             CASE WHEN n = 7 THEN (extract(epoch FROM now()) * 1000000)::bigint + 3600000000 ELSE 0 END \
             FROM generate_series(1, 1500) AS n"
        ),
    )
    .await;
    let cycling = Cycling::on(&store);
    let (started, mut purged) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(30) {
        purged += store.purge(Duration::from_millis(200)).await.unwrap();
    }
    let cycles = cycling.end().await;
    assert!(cycles > 100, "{cycles} cycles");
    assert!(purged >= 1499, "{purged} rows purged");
    assert_eq!(number(&mut admin, format!("SELECT count(*) FROM {table} WHERE token < (extract(epoch FROM now()) * 1000000)::bigint - 1800000000")).await, 1);
    execute(&mut admin, format!("DROP TABLE {table}")).await;
}

#[tokio::test]
async fn one_of_many_creates_the_table() {
    let url = shared_url();
    let table = format!("raced_{}", std::process::id());
    for round in 0..5 {
        let table = format!("{table}_{round}");
        let mut stores = JoinSet::new();
        for _ in 0..16 {
            let builder = PostgresStore::builder(&url)
                .table(&table)
                .connect_timeout(Duration::from_secs(20));
            stores.spawn(async move { shown(builder.connect().await) });
        }
        assert_eq!(soon("16 stores", stores.join_all()).await.len(), 16);
        execute(&mut connection(&url).await, format!("DROP TABLE {table}")).await;
    }
}

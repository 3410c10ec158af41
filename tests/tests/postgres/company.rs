//! Requests of one moment go in one statement.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use tests::servers::postgres::PostgresServer;
use tests::{Proxy, company, soon};
use verrou::LockFactory;
use verrou::drivers::{PostgresBuilder, PostgresStore};

use crate::{bouncer, connection, execute, shown};

/// A store with a table of this name, on the shared server.
async fn store(table: &str) -> PostgresStore {
    let url = PostgresServer::shared().url();
    shown(PostgresStore::builder(&url).table(table).connect().await)
}

/// The store's own connections, an application's pool, and a pooler.
fn ways(table: &str) -> [PostgresBuilder; 3] {
    let url = PostgresServer::shared().url();
    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool.connect_lazy(&url).unwrap();
    let pooled = bouncer().url_of("postgres", "postgres");
    [
        PostgresStore::builder(&url).table(table),
        PostgresStore::from_pool(pool).table(table),
        PostgresStore::builder(&pooled)
            .transaction_pooler()
            .table(table),
    ]
}

#[tokio::test]
async fn each_of_many_has_its_own_answer() {
    for way in ways("company_answers") {
        company::each_has_its_own_answer(shown(way.connect().await)).await;
    }
}

#[tokio::test]
async fn one_of_many_fails_alone() {
    let store = store("company_fails").await;
    let use_up = async |key: &str| {
        let mut admin = connection(&PostgresServer::shared().url()).await;
        let text = format!(
            "UPDATE company_fails SET token = 9223372036854775807 WHERE key = ':{key}'::bytea"
        );
        execute(&mut admin, text).await;
    };
    company::a_neighbour_fails_alone(store, use_up).await;
}

#[tokio::test]
async fn a_row_that_a_stranger_locks_holds_up_nobody_else() {
    for way in ways("company_locked") {
        let stranger = async || {
            let mut admin = connection(&PostgresServer::shared().url()).await;
            let text =
                "BEGIN; UPDATE company_locked SET expiry = expiry WHERE key = ':company-07'::bytea";
            execute(&mut admin, text).await;
            admin
        };
        company::a_locked_row_holds_up_nobody_else(
            shown(way.connect().await),
            stranger,
            async |mut admin| execute(&mut admin, "COMMIT").await,
        )
        .await;
    }
}

#[tokio::test]
async fn the_lost_answer_to_many_is_made_up_for() {
    let server = PostgresServer::shared();
    let proxy = Proxy::to(server.port());
    let builder = PostgresStore::builder(&proxy.through(&server.url())).table("company_lost");
    company::a_lost_answer_is_made_up_for(shown(builder.connect().await), &proxy).await;
}

#[tokio::test]
async fn a_server_killed_between_grant_and_reply_grants_nothing_by_half() {
    let server = PostgresServer::start();
    let store = shown(PostgresStore::connect(&server.url()).await);
    company::a_killed_server_grants_nothing_by_half(
        store,
        async || server.kill(),
        async || server.run(),
    )
    .await;
}

#[tokio::test]
async fn who_leaves_takes_nobody_along() {
    let locks = LockFactory::new(store("company_leaves").await);
    let elsewhere = LockFactory::new(store("company_leaves").await);
    company::who_leaves_takes_nobody_along(locks, elsewhere).await;
}

/// The commit of a release is not waited for: a crash may take it back, for the rest of the lease and no longer.
#[tokio::test]
async fn a_crash_after_a_release_costs_a_lease_and_no_token() {
    let server = PostgresServer::start();
    let locks = LockFactory::new(shown(PostgresStore::connect(&server.url()).await));
    let lock = locks.create_lock("k").ttl(Duration::from_secs(2));
    let mut last = None;
    for _ in 0..4 {
        let guard = soon("the key", async {
            loop {
                match lock.acquire().await {
                    Ok(guard) => break guard,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await;
        assert!(
            last.is_none_or(|last| guard.token() > last),
            "a token came twice"
        );
        last = Some(guard.token());
        shown(guard.release().await);
        server.kill();
        server.run();
    }
}

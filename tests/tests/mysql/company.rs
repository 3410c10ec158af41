//! Requests of one moment go in one statement.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tests::servers::mariadb::{MariaDb, pool};
use tests::{Proxy, company};
use tokio::sync::Mutex;
use verrou::LockFactory;
use verrou::drivers::MySqlStore;

use crate::server;

async fn execute(url: &str, text: &str) -> sqlx::mysql::MySqlConnection {
    let mut admin = sqlx::mysql::MySqlConnection::connect(url).await.unwrap();
    let text = sqlx::raw_sql(AssertSqlSafe(text.to_owned()));
    admin.execute(text).await.unwrap();
    admin
}

/// The store's own connections, an application's pool, and without RETURNING.
async fn ways(url: &str) -> [MySqlStore; 3] {
    let builders = [
        MySqlStore::builder(url),
        MySqlStore::from_pool(pool(url, 4).await),
        MySqlStore::builder(url).__read_back(),
    ];
    let mut stores = Vec::new();
    for builder in builders {
        stores.push(builder.connect().await.unwrap());
    }
    stores.try_into().unwrap()
}

#[tokio::test]
async fn each_of_many_has_its_own_answer() {
    let url = server().await.database("").await;
    for store in ways(&url).await {
        company::each_has_its_own_answer(store).await;
    }
}

#[tokio::test]
async fn one_of_many_fails_alone() {
    let url = server().await.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    let use_up = async |key: &str| {
        let text =
            format!("UPDATE verrou_locks SET token = 9223372036854775807 WHERE `key` = ':{key}'");
        execute(&url, &text).await;
    };
    company::a_neighbour_fails_alone(store, use_up).await;
}

#[tokio::test]
async fn a_row_that_a_stranger_locks_holds_up_nobody_else() {
    let url = server().await.database("").await;
    for store in ways(&url).await {
        let text = "BEGIN; UPDATE verrou_locks SET holder = 'x' WHERE `key` = ':company-07'";
        company::a_locked_row_holds_up_nobody_else(
            store,
            async || execute(&url, text).await,
            async |mut admin| {
                admin.execute(sqlx::raw_sql("COMMIT")).await.unwrap();
            },
        )
        .await;
    }
}

#[tokio::test]
async fn the_lost_answer_to_many_is_made_up_for() {
    let server = MariaDb::start(&[]).await;
    let proxy = Proxy::to(server.port());
    let url = proxy.through(&server.database("").await);
    let store = MySqlStore::connect(&url).await.unwrap();
    company::a_lost_answer_is_made_up_for(store, &proxy).await;
}

#[tokio::test]
async fn a_server_killed_between_grant_and_reply_grants_nothing_by_half() {
    let server = MariaDb::start(&[]).await;
    let url = server.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    let server = Mutex::new(server);
    company::a_killed_server_grants_nothing_by_half(
        store,
        async || server.lock().await.kill(),
        async || server.lock().await.restart().await,
    )
    .await;
}

#[tokio::test]
async fn who_leaves_takes_nobody_along() {
    let url = server().await.database("").await;
    let one = MySqlStore::connect(&url).await.unwrap();
    let other = MySqlStore::connect(&url).await.unwrap();
    company::who_leaves_takes_nobody_along(LockFactory::new(one), LockFactory::new(other)).await;
}

//! The driver for MySQL and MariaDB, on a real server.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[cfg(target_os = "linux")]
#[path = "mysql/clocks.rs"]
mod clocks;
#[path = "mysql/company.rs"]
mod company;
#[path = "mysql/connect.rs"]
mod connect;
#[path = "mysql/faults.rs"]
mod faults;
#[path = "mysql/load.rs"]
mod load;
#[path = "mysql/processes.rs"]
mod processes;

use std::time::Duration;

use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use tests::servers::mariadb::MariaDb;
use tokio::sync::OnceCell;
use verrou::drivers::MySqlStore;
use verrou::testkit::contract_suite;

/// The server of this binary. It ends with it.
async fn server() -> &'static MariaDb {
    static SERVER: OnceCell<MariaDb> = OnceCell::const_new();
    SERVER.get_or_init(MariaDb::for_tests).await
}

/// A URL of the one database of the contract suite.
async fn contract_url() -> String {
    static URL: OnceCell<String> = OnceCell::const_new();
    let url = URL.get_or_init(async || server().await.database("").await);
    url.await.clone()
}

contract_suite!(mariadb, async || {
    MySqlStore::connect(&contract_url().await).await.unwrap()
});
contract_suite!(mariadb_from_pool, async || {
    let pool = tests::servers::mariadb::pool(&contract_url().await, 4).await;
    MySqlStore::from_pool(pool).connect().await.unwrap()
});
// What MySQL needs, for it cannot answer in the statement that writes.
contract_suite!(mariadb_without_returning, async || {
    let builder = MySqlStore::builder(&contract_url().await).__read_back();
    builder.connect().await.unwrap()
});

/// A pool whose connections are set by `statement`.
async fn pool_set(url: &str, connections: u32, statement: &'static str) -> MySqlPool {
    let options = MySqlPoolOptions::new().max_connections(connections);
    let options = options.after_connect(move |connection, _| {
        Box::pin(async move {
            connection
                .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
                .await?;
            Ok(())
        })
    });
    options.connect(url).await.unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

//! The promises of the Postgres store, on a real server and through a real pgbouncer.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[cfg(target_os = "linux")]
mod clocks;
mod company;
mod connecting;
mod dropping;
mod faults;
mod processes;
mod secrets;
mod settings;
mod sharing;
mod waking;

use std::error::Error as _;
use std::fmt::Display;
use std::sync::OnceLock;

use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tests::servers::postgres::{PASSWORD, PgBouncer, PostgresServer, shared_url};
use verrou::drivers::{PostgresBuilder, PostgresStore};
use verrou::testkit::{Backend, contract_suite};

contract_suite!(postgres, opened(shared_url));
contract_suite!(
    postgres_behind_pgbouncer,
    opened_by(|| {
        PostgresStore::builder(&bouncer().url_of("postgres", "postgres")).transaction_pooler()
    })
);
contract_suite!(
    postgres_in_a_pool,
    opened_by(|| {
        let pool = PgPoolOptions::new()
            .max_connections(20)
            .connect_lazy(&shared_url());
        PostgresStore::from_pool(pool.expect("the url can be read"))
    })
);

fn opened(url: fn() -> String) -> impl Backend {
    let url = url();
    move || {
        let url = url.clone();
        async move { shown(PostgresStore::connect(&url).await) }
    }
}

fn opened_by(builder: fn() -> PostgresBuilder) -> impl Backend {
    move || async move { shown(builder().connect().await) }
}

/// The result, or a panic with the whole chain of causes.
fn shown<T>(result: Result<T, verrou::Error>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!(
            "{error}: {}",
            error.source().map_or_else(String::new, ToString::to_string)
        ),
    }
}

/// The roles of the matrix of isolation levels, each with a schema of its own name and no right to any other.
const LEVELS: [(&str, &str); 3] = [
    ("committed", "read committed"),
    ("repeatable", "repeatable read"),
    ("serial", "serializable"),
];

/// The pgbouncer in front of the shared server.
fn bouncer() -> &'static PgBouncer {
    static SHARED: OnceLock<PgBouncer> = OnceLock::new();
    SHARED.get_or_init(|| {
        let roles: Vec<_> = LEVELS
            .iter()
            .map(|level| level.0)
            .chain(["postgres"])
            .collect();
        PgBouncer::start(PostgresServer::shared(), &roles)
    })
}

async fn connection(url: &str) -> PgConnection {
    PgConnection::connect(url)
        .await
        .expect("the server takes connections")
}

/// Executes statements as the superuser of the shared server.
async fn superuser(text: impl Display) {
    execute(&mut connection(&PostgresServer::shared().url()).await, text).await;
}

async fn execute(connection: &mut PgConnection, text: impl Display) {
    let text = text.to_string();
    if let Err(error) = connection
        .execute(sqlx::raw_sql(AssertSqlSafe(text.clone())))
        .await
    {
        panic!("`{text}`: {error}");
    }
}

/// The number that a query answers.
async fn number(connection: &mut PgConnection, text: impl Display) -> i64 {
    let text = text.to_string();
    match connection.fetch_one(AssertSqlSafe(text.clone())).await {
        Ok(row) => row.get(0),
        Err(error) => panic!("`{text}`: {error}"),
    }
}

/// Makes a role that may log in, and nothing else.
async fn role(name: &str) {
    let password = PASSWORD.replace('\'', "''");
    superuser(format!(
        "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD '{password}'; EXCEPTION WHEN duplicate_object THEN END $$"
    ))
    .await;
}

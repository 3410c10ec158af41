//! What is found wrong before any lock is taken, and said in time.

use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use tests::servers::free_port;
use tests::servers::postgres::{PASSWORD_IN_URL, PostgresServer};
use verrou::drivers::{PostgresBuilder, PostgresStore};
use verrou::{ConnectKind, Error};

use crate::secrets::has_no_secret;
use crate::{role, shown, superuser};

/// What [`PostgresBuilder::connect`] may take, and what a busy machine may add to it.
const LIMIT: Duration = Duration::from_secs(4);

async fn is_refused(builder: PostgresBuilder, kind: ConnectKind) {
    has_no_secret(&builder);
    let started = Instant::now();
    let result = builder.connect().await;
    assert!(
        started.elapsed() < LIMIT,
        "an answer after {:?}",
        started.elapsed()
    );
    match result {
        Err(error) => {
            has_no_secret(&error);
            assert!(
                matches!(&error, Error::Connect { kind: found, .. } if *found == kind),
                "{error:?}, not {kind:?}"
            );
        }
        Ok(_) => panic!("connected, but should have found {kind:?}"),
    }
}

async fn url_is_refused(url: &str, kind: ConnectKind) {
    is_refused(PostgresStore::builder(url), kind).await;
}

#[tokio::test]
async fn a_url_that_cannot_be_read() {
    for url in [
        "",
        "s3cret",
        "mysql://u:s3cret@localhost/db",
        "postgres:/u:s3cret@localhost/db",
        "postgres://u:s3cret@localhost:99999/db",
        "postgres://u:s3cret@localhost/db?pasword=s3cret",
        "postgres://u:s3cret@localhost/db?sslmode=s3cret",
    ] {
        url_is_refused(url, ConnectKind::Url).await;
    }
}

#[tokio::test]
async fn a_wrong_password_role_or_database() {
    let server = PostgresServer::shared();
    let url = server.url();
    url_is_refused(
        &url.replace(PASSWORD_IN_URL, "wrong-s3cret"),
        ConnectKind::Credentials,
    )
    .await;
    url_is_refused(
        &server.url_of("nobody_s", "postgres"),
        ConnectKind::Credentials,
    )
    .await;
    url_is_refused(
        &server.url_of("postgres", "no_such_database"),
        ConnectKind::Unreachable,
    )
    .await;
}

#[tokio::test]
async fn nothing_there_or_something_else() {
    let nothing = format!("postgres://u:s3cret@127.0.0.1:{}/db", free_port());
    url_is_refused(&nothing, ConnectKind::Unreachable).await;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = format!("postgres://u:s3cret@127.0.0.1:{port}/db");
    // It takes the connection, by its backlog, and never answers.
    url_is_refused(&silent, ConnectKind::Unreachable).await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut socket, b"-ERR unknown command\r\n").await;
        }
    });
    url_is_refused(&silent, ConnectKind::NotAStore).await;
}

#[tokio::test]
async fn a_role_that_may_only_read() {
    let server = PostgresServer::shared();
    role("reader").await;
    superuser("ALTER ROLE reader SET default_transaction_read_only = on").await;
    url_is_refused(&server.url_of("reader", "postgres"), ConnectKind::ReadOnly).await;
}

#[tokio::test]
async fn a_standby() {
    let server = PostgresServer::start();
    server.become_standby();
    url_is_refused(&server.url(), ConnectKind::ReadOnly).await;
}

#[tokio::test]
async fn a_role_without_rights() {
    let server = PostgresServer::shared();
    role("stranger").await;
    superuser(format!(
        "{}; GRANT SELECT, INSERT ON stranger_sees TO stranger",
        ddl("stranger_sees")
    ))
    .await;
    let url = server.url_of("stranger", "postgres");
    is_refused(
        PostgresStore::builder(&url).table("stranger_makes"),
        ConnectKind::Rights,
    )
    .await;
    is_refused(
        PostgresStore::builder(&url).table("stranger_sees"),
        ConnectKind::Rights,
    )
    .await;
    // With the rights it needs, and the table made by somebody else.
    superuser("GRANT UPDATE ON stranger_sees TO stranger").await;
    shown(
        PostgresStore::builder(&url)
            .table("stranger_sees")
            .connect()
            .await,
    );
    shown(
        PostgresStore::builder(&url)
            .table("public.stranger_sees")
            .create_table(false)
            .connect()
            .await,
    );
}

fn ddl(table: &str) -> String {
    shown(PostgresStore::schema_sql_for(table))
}

#[tokio::test]
async fn a_table_of_another_shape() {
    let url = PostgresServer::shared().url();
    let table = |name: &str| PostgresStore::builder(&url).table(name);
    superuser("CREATE TABLE shape_other (key TEXT PRIMARY KEY)").await;
    superuser(ddl("shape_key").replace(" PRIMARY KEY", "")).await;
    superuser(ddl("shape_type").replace("token BIGINT", "token INTEGER")).await;
    superuser(format!(
        "{}; ALTER TABLE shape_more ADD more TEXT NOT NULL",
        ddl("shape_more")
    ))
    .await;
    superuser("CREATE VIEW shape_view AS SELECT 1 AS key").await;
    for name in [
        "shape_other",
        "shape_key",
        "shape_type",
        "shape_more",
        "shape_view",
    ] {
        is_refused(table(name), ConnectKind::Schema).await;
    }
    is_refused(
        table("shape_missing").create_table(false),
        ConnectKind::Schema,
    )
    .await;
    is_refused(table("no_such_schema.locks"), ConnectKind::Schema).await;
    superuser(ddl("shape_unlogged").replace("CREATE TABLE", "CREATE UNLOGGED TABLE")).await;
    is_refused(table("shape_unlogged"), ConnectKind::Unsupported).await;
    // A column of somebody's own that fills itself is no harm.
    superuser(format!(
        "{}; ALTER TABLE shape_own ADD made TIMESTAMPTZ NOT NULL DEFAULT now()",
        ddl("shape_own")
    ))
    .await;
    shown(table("shape_own").connect().await);
}

#[tokio::test]
async fn a_table_that_only_one_connection_sees() {
    let url = PostgresServer::shared().url();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await
        .unwrap();
    let temporary = ddl("only_here").replace("CREATE TABLE", "CREATE TEMPORARY TABLE");
    sqlx::raw_sql(sqlx::AssertSqlSafe(temporary))
        .execute(&pool)
        .await
        .unwrap();
    is_refused(
        PostgresStore::from_pool(pool).table("only_here"),
        ConnectKind::Isolated,
    )
    .await;
}

#[tokio::test]
async fn an_option_that_cannot_be() {
    let url = PostgresServer::shared().url();
    for table in ["", "a.b.c", "t\"; DROP TABLE x", "1t"] {
        let error = PostgresStore::builder(&url)
            .table(table)
            .connect()
            .await
            .err();
        assert!(
            matches!(
                error,
                Some(Error::InvalidOption {
                    option: "table",
                    ..
                })
            ),
            "{error:?}"
        );
    }
    let error = PostgresStore::builder(&url)
        .max_connections(0)
        .connect()
        .await
        .err();
    assert!(
        matches!(
            error,
            Some(Error::InvalidOption {
                option: "max_connections",
                ..
            })
        ),
        "{error:?}"
    );
}

//! Fencing as the documentation shows it: the program that pauses a holder, and each statement of the page on its database.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tests::servers::is_skipped;
use tests::servers::mariadb::{self, MariaDb};
use tests::servers::postgres::PostgresServer;
use tests::{Folder, example};
use tokio::process::Command;

/// Long enough for the example on a slow machine.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn the_example_shows_the_write_of_a_paused_holder_rejected() {
    let output = Command::new(example::built("fencing").await)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, output).await.unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for phrase in [
        "accepted. Its row says `old` now",
        "rejected, no row was changed. Its row says `new`",
        "was lost",
    ] {
        assert!(text.contains(phrase), "no `{phrase}` in {text}");
    }
}

/// The statements of one section of the page, in their order.
fn statements(section: &str) -> Vec<String> {
    let page = include_str!("../../verrou/src/docs/fencing.md");
    let section = page.split(&format!("\n# {section}\n")).nth(1).unwrap();
    let section = section.split("\n# ").next().unwrap();
    let blocks = section.split("```sql\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().trim().to_owned())
        .collect()
}

/// Says so, past the capture of the test harness.
fn skipped(server: &str) -> bool {
    let skipped = is_skipped(server);
    if skipped {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: fencing on {server}, as VERROU_TEST_SKIP says"
        );
    }
    skipped
}

/// Writes by holders with rising and falling tokens, and whether each is accepted.
const WRITES: [(i64, bool); 6] = [
    (5, true),
    // The same holder again, with the same values: no change, and no rejection.
    (5, true),
    (i64::MAX - 1, true),
    (i64::MAX - 2, false),
    (1, false),
    (i64::MAX, true),
];

/// `$bind` makes the query of a statement for an id, a text and a token.
macro_rules! accepts_and_rejects {
    ($pool:expr, $statement:expr, $id:expr, $bind:expr) => {
        for (token, accepted) in WRITES {
            let statement = AssertSqlSafe($statement.clone());
            let query = $bind(sqlx::query(statement), $id, "text".to_owned(), token);
            let done = query.execute($pool).await.unwrap();
            assert_eq!(
                done.rows_affected() == 1,
                accepted,
                "{} {token}",
                $statement
            );
            let kept = AssertSqlSafe(format!("SELECT fence FROM report WHERE id = {}", $id));
            let kept: i64 = sqlx::query_scalar(kept).fetch_one($pool).await.unwrap();
            assert_eq!(kept == token, accepted, "{} {token}", $statement);
        }
    };
}

#[tokio::test]
async fn the_statements_for_sqlite_do_what_the_page_says() {
    let folder = Folder::new();
    let url = format!("sqlite:{}?mode=rwc", folder.file("reports.db"));
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let [create, update, upsert] = statements("SQLite").try_into().unwrap();
    sqlx::query(AssertSqlSafe(create))
        .execute(&pool)
        .await
        .unwrap();
    let row = "INSERT INTO report (id, text) VALUES (1, '')";
    sqlx::query(row).execute(&pool).await.unwrap();
    let bind = |query: sqlx::query::Query<'static, sqlx::Sqlite, _>,
                id: i64,
                text: String,
                token: i64| { query.bind(id).bind(text).bind(token) };
    accepts_and_rejects!(&pool, update, 1, bind);
    accepts_and_rejects!(&pool, upsert, 2, bind);
}

#[tokio::test]
async fn the_statements_for_postgres_do_what_the_page_says() {
    if skipped("postgres") {
        return;
    }
    let pool = sqlx::PgPool::connect(&PostgresServer::shared().url())
        .await
        .unwrap();
    let [create, update, upsert] = statements("Postgres").try_into().unwrap();
    sqlx::query(AssertSqlSafe(create))
        .execute(&pool)
        .await
        .unwrap();
    let row = "INSERT INTO report (id, text) VALUES (1, '')";
    sqlx::query(row).execute(&pool).await.unwrap();
    let bind = |query: sqlx::query::Query<'static, sqlx::Postgres, _>,
                id: i64,
                text: String,
                token: i64| { query.bind(id).bind(text).bind(token) };
    accepts_and_rejects!(&pool, update, 1, bind);
    accepts_and_rejects!(&pool, upsert, 2, bind);
}

#[tokio::test]
async fn the_statements_for_mysql_do_what_the_page_says() {
    if skipped("mysql") {
        return;
    }
    let server = MariaDb::for_tests().await;
    let pool = mariadb::pool(&server.database("").await, 1).await;
    let [create, update, insert] = statements("MySQL and MariaDB").try_into().unwrap();
    sqlx::query(AssertSqlSafe(create))
        .execute(&pool)
        .await
        .unwrap();
    // The one that comes second changes nothing.
    for inserted in [1, 0] {
        let query = sqlx::query(AssertSqlSafe(insert.clone())).bind(1_i64);
        let done = query.execute(&pool).await.unwrap();
        assert_eq!(done.rows_affected(), inserted);
    }
    let bind = |query: sqlx::query::Query<'static, sqlx::MySql, _>,
                id: i64,
                text: String,
                token: i64| { query.bind(text).bind(token).bind(id).bind(token) };
    accepts_and_rejects!(&pool, update, 1, bind);
}

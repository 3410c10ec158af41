//! What `connect` refuses, how fast, and what it says.

use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use tests::servers::free_port;
use tests::servers::mariadb::{CANARY, MariaDb, pool};
use verrou::drivers::MySqlStore;
use verrou::{ConnectKind, Error, LockFactory};

use crate::{pool_set, server};

/// Everything that an error says, with its sources.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

#[track_caller]
fn refused(result: Result<MySqlStore, Error>, expected: ConnectKind, since: Instant) {
    let took = since.elapsed();
    let Err(error) = result else {
        panic!("not {expected:?}, it works")
    };
    match &error {
        Error::Connect { driver, kind, .. } => {
            assert_eq!((*driver, *kind), ("mysql", expected), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
    assert!(took < Duration::from_millis(2500), "{took:?}");
    assert!(!told(&error).contains(CANARY), "{error:?}");
}

#[tokio::test]
async fn what_cannot_be_reached_or_entered_is_told_apart() {
    let server = server().await;
    let good = server.database("").await;
    let store = MySqlStore::connect(&good).await.unwrap();
    assert!(!format!("{store:?}").contains(CANARY));
    let builder = MySqlStore::builder(&good);
    assert!(!format!("{builder:?}").contains(CANARY));

    let cases = [
        (
            good.replace("canary@", "wrong-canary@"),
            ConnectKind::Credentials,
        ),
        (good.replace("verrou:", "canary:"), ConnectKind::Credentials),
        (server.url("no_such_database"), ConnectKind::NotAStore),
        (
            format!("mysql://verrou:canary@127.0.0.1:{}/db", free_port()),
            ConnectKind::Unreachable,
        ),
        (
            "mysql://verrou:canary@no-such-host.invalid/db".to_owned(),
            ConnectKind::Unreachable,
        ),
        (good.replace("mysql://", "postgres://"), ConnectKind::Url),
        (format!("{good}?ssl-mod=canary"), ConnectKind::Url),
        // The server has no certificate, and this build no TLS.
        (
            format!("{good}?ssl-mode=REQUIRED"),
            ConnectKind::Unsupported,
        ),
        ("mysql://verrou:canary@/".to_owned(), ConnectKind::Url),
        (
            "mysql://u:1/canary@127.0.0.1/db".to_owned(),
            ConnectKind::Url,
        ),
    ];
    for (url, kind) in cases {
        let began = Instant::now();
        let result = MySqlStore::connect(&url).await;
        if let (Err(error), ConnectKind::Credentials) = (&result, kind) {
            // The user is no secret; here it is the canary, to see where it goes.
            let text = told(error).replace("'canary'", "");
            assert!(!text.contains(CANARY), "{text}");
            assert!(
                matches!(
                    error,
                    Error::Connect {
                        kind: ConnectKind::Credentials,
                        ..
                    }
                ),
                "{error:?}"
            );
            continue;
        }
        refused(result, kind, began);
    }
    assert!(matches!(
        MySqlStore::builder(&good)
            .table("t`; DROP TABLE x")
            .connect()
            .await,
        Err(Error::InvalidOption {
            option: "table",
            ..
        })
    ));
    assert!(matches!(
        MySqlStore::builder(&good)
            .max_connections(0)
            .connect()
            .await,
        Err(Error::InvalidOption {
            option: "max_connections",
            ..
        })
    ));
    assert!(matches!(
        MySqlStore::builder(&good)
            .connect_timeout(Duration::ZERO)
            .connect()
            .await,
        Err(Error::InvalidOption {
            option: "connect_timeout",
            ..
        })
    ));
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_unreachable_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("mysql://verrou:canary@127.0.0.1:{port}/db");
    let began = Instant::now();
    refused(
        MySqlStore::connect(&url).await,
        ConnectKind::Unreachable,
        began,
    );
}

#[tokio::test]
async fn a_server_that_only_reads_is_refused() {
    let server = MariaDb::start(&[]).await;
    let url = server.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    server.execute("SET GLOBAL read_only = 1").await;
    refused(
        MySqlStore::connect(&url).await,
        ConnectKind::ReadOnly,
        Instant::now(),
    );
    let pool = pool_set(&url, 1, "SET SESSION tx_read_only = 1").await;
    server.execute("SET GLOBAL read_only = 0").await;
    refused(
        MySqlStore::from_pool(pool).connect().await,
        ConnectKind::ReadOnly,
        Instant::now(),
    );
    // The store's own connections are not subject to the default of transactions.
    server.execute("SET GLOBAL tx_read_only = 1").await;
    let other = MySqlStore::connect(&url).await.unwrap();
    for store in [store, other] {
        let lock = LockFactory::new(store).create_lock("k");
        lock.acquire().await.unwrap().release().await.unwrap();
    }
}

#[tokio::test]
async fn a_role_needs_its_rights_and_no_more() {
    let server = server().await;
    let url = server.database("").await;
    let database = url.rsplit_once('/').unwrap().1.to_owned();
    let role = format!("r_{database}");
    server
        .execute(&format!("CREATE USER '{role}'@'%' IDENTIFIED BY 'canary'"))
        .await;
    let (_, host) = url.split_once('@').unwrap();
    let limited = format!("mysql://{role}:canary@{host}");
    let began = Instant::now();
    // The database is not theirs.
    refused(
        MySqlStore::connect(&limited).await,
        ConnectKind::Rights,
        began,
    );
    let on = format!("ON {database}.* TO '{role}'@'%'");
    server.execute(&format!("GRANT SELECT {on}")).await;
    // They may not create the table.
    refused(
        MySqlStore::connect(&limited).await,
        ConnectKind::Rights,
        began,
    );
    let without = || MySqlStore::builder(&limited).create_table(false).connect();
    refused(without().await, ConnectKind::Schema, began);
    let admin = pool(&url, 1).await;
    let create = AssertSqlSafe(MySqlStore::schema_sql());
    sqlx::raw_sql(create).execute(&admin).await.unwrap();
    // They may only read it.
    refused(without().await, ConnectKind::Rights, began);
    server.execute(&format!("GRANT INSERT, UPDATE {on}")).await;
    // Nothing is created that is there, so that right is not needed.
    let store = MySqlStore::connect(&limited).await.unwrap();
    let lock = LockFactory::new(store.clone()).create_lock("k");
    lock.acquire().await.unwrap().release().await.unwrap();
    // To purge is another right.
    let error = store.purge(Duration::ZERO).await.unwrap_err();
    assert!(!told(&error).contains(CANARY), "{error:?}");
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused() {
    let server = server().await;
    let good = MySqlStore::schema_sql();
    let shapes = [
        good.replace(" PRIMARY KEY", ""),
        good.replace("InnoDB", "MyISAM"),
        good.replace("VARBINARY(640)", "VARCHAR(640)"),
        good.replace("VARBINARY(640)", "VARBINARY(64)"),
        good.replace("`owner` VARBINARY(16)", "`owner` VARBINARY(16) NOT NULL"),
        good.replace("`token` BIGINT", "`token` BIGINT UNSIGNED"),
        good.replace("`token` BIGINT", "`token` INT"),
        good.replace("`expiry`", "`expires`"),
        good.replace(" PRIMARY KEY", "")
            .replace("NOT NULL\n)", "NOT NULL, PRIMARY KEY (`key`, `token`))"),
        good.replace("NOT NULL\n)", "NOT NULL, `more` INT NOT NULL)"),
        "CREATE TABLE verrou_locks (a INT)".to_owned(),
        "CREATE VIEW verrou_locks AS SELECT 1 AS `key`".to_owned(),
    ];
    for shape in shapes {
        assert_ne!(shape, good);
        let url = server.database("").await;
        let admin = pool(&url, 1).await;
        sqlx::raw_sql(AssertSqlSafe(shape.clone()))
            .execute(&admin)
            .await
            .unwrap_or_else(|error| panic!("{shape}: {error}"));
        let began = Instant::now();
        let result = MySqlStore::connect(&url).await;
        assert!(result.is_err(), "{shape}");
        refused(result, ConnectKind::Schema, began);
    }
    // Somebody's own column with a default is no harm.
    let url = server.database("").await;
    let admin = pool(&url, 1).await;
    let more = good.replace("NOT NULL\n)", "NOT NULL, `more` INT NOT NULL DEFAULT 1)");
    sqlx::raw_sql(AssertSqlSafe(more))
        .execute(&admin)
        .await
        .unwrap();
    MySqlStore::connect(&url).await.unwrap();
}

#[tokio::test]
async fn a_pool_whose_settings_break_promises_is_refused() {
    let url = server().await.database("").await;
    for statement in [
        "SET SESSION autocommit = 0",
        "SET SESSION sql_mode = 'SIMULTANEOUS_ASSIGNMENT'",
        "SET SESSION sql_mode = 'EMPTY_STRING_IS_NULL'",
    ] {
        let pool = pool_set(&url, 1, statement).await;
        let began = Instant::now();
        let result = MySqlStore::from_pool(pool).connect().await;
        refused(result, ConnectKind::Unsupported, began);
    }
}

#[tokio::test]
async fn a_table_may_have_another_name_in_another_database() {
    let server = server().await;
    let (one, two) = (server.database("").await, server.database("").await);
    let database = two.rsplit_once('/').unwrap().1;
    let table = format!("{database}.Locks_2");
    let builder = || MySqlStore::builder(&one).table(&table);
    let lock = LockFactory::new(builder().connect().await.unwrap()).create_lock("k");
    let guard = lock.acquire().await.unwrap();
    let other = MySqlStore::builder(&two)
        .table("Locks_2")
        .create_table(false);
    let other = LockFactory::new(other.connect().await.unwrap());
    assert!(
        other
            .create_lock("k")
            .try_acquire()
            .await
            .unwrap()
            .is_none()
    );
    guard.release().await.unwrap();
}

#[tokio::test]
async fn sixteen_that_start_at_once_find_one_table() {
    let url = server().await.database("").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let url = url.clone();
        tasks.spawn(async move { MySqlStore::connect(&url).await });
    }
    while let Some(connected) = tasks.join_next().await {
        connected.unwrap().unwrap();
    }
}

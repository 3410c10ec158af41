//! A store that something can be done to.

use std::time::Duration;

use rustix::process::{Pid, Signal};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};
use verrou::drivers::{MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::{Verrou, VerrouBuilder};

use crate::Folder;
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::PostgresServer;
use crate::servers::redis::{Server, try_ask};

/// What keeps the locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum Driver {
    /// One process.
    Memory,
    /// A file.
    Sqlite,
    /// A server that writes each change down before it answers.
    Redis,
    /// A server.
    Postgres,
    /// A server of MariaDB.
    MySql,
}

impl Driver {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Memory,
        Self::Sqlite,
        Self::Redis,
        Self::Postgres,
        Self::MySql,
    ];

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
        }
    }
}

/// A running store of a driver.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "part of the tests only")]
pub enum Stand {
    /// In the process of the load.
    Memory,
    /// A file, and whoever keeps others from it.
    Sqlite(Folder, Option<SqliteConnection>),
    /// A server.
    Redis(Server),
    /// A server.
    Postgres(PostgresServer),
    /// A server.
    MariaDb(MariaDb),
}

impl Stand {
    /// Starts what `driver` needs.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(driver: Driver) -> Self {
        match driver {
            Driver::Memory => Self::Memory,
            Driver::Sqlite => Self::Sqlite(Folder::new(), None),
            Driver::Redis => Self::Redis(Server::with(&[
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ])),
            Driver::Postgres => Self::Postgres(PostgresServer::start()),
            Driver::MySql => {
                let server = MariaDb::start(&[]).await;
                server.execute("CREATE DATABASE IF NOT EXISTS verrou").await;
                Self::MariaDb(server)
            }
        }
    }

    /// A Redis server that keeps nothing over a crash.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn volatile() -> Self {
        Self::Redis(Server::start())
    }

    /// With the durability of an installation that nobody has tuned: what a commit costs there is what it costs here.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn untuned(driver: Driver) -> Self {
        match driver {
            Driver::Memory | Driver::Sqlite => Self::start(driver).await,
            Driver::Redis => Self::volatile(),
            Driver::Postgres => Self::Postgres(PostgresServer::with(&["fsync=on"])),
            Driver::MySql => {
                let server = MariaDb::start(&["--innodb-flush-log-at-trx-commit=1"]).await;
                server.execute("CREATE DATABASE IF NOT EXISTS verrou").await;
                Self::MariaDb(server)
            }
        }
    }

    /// Where it is, for those who are on its side of every fault.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Memory => "memory:".to_owned(),
            Self::Sqlite(folder, _) => folder.sqlite(),
            Self::Redis(server) => server.url(),
            Self::Postgres(server) => server.url(),
            Self::MariaDb(server) => server.url("verrou"),
        }
    }

    /// Its port, if it is a server.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Memory | Self::Sqlite(..) => None,
            Self::Redis(server) => Some(server.port()),
            Self::Postgres(server) => Some(server.port()),
            Self::MariaDb(server) => Some(server.port()),
        }
    }

    /// Its first process, if it is a server.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        match self {
            Self::Memory | Self::Sqlite(..) => None,
            Self::Redis(server) => server.pid(),
            Self::Postgres(server) => server.pid(),
            Self::MariaDb(server) => server.pid(),
        }
    }

    /// `builder` with the store, registered as the load has it.
    ///
    /// # Panics
    /// If it cannot be reached, or is in the process of the load.
    pub async fn on(&self, builder: VerrouBuilder) -> Verrou {
        let url = self.url();
        let builder = match self {
            Self::Memory => panic!("there is no way to it from outside"),
            Self::Sqlite(..) => builder.store("locks", must(SqliteStore::connect(&url).await)),
            Self::Redis(_) => builder.store("locks", must(RedisStore::connect(&url).await)),
            Self::Postgres(_) => builder.store("locks", must(PostgresStore::connect(&url).await)),
            Self::MariaDb(_) => builder.store("locks", must(MySqlStore::connect(&url).await)),
        };
        must(builder.build())
    }

    /// It answers nothing from now on; for a file, somebody else has it for himself.
    ///
    /// # Panics
    /// If that cannot be done.
    pub async fn freeze(&mut self) {
        match self {
            Self::Memory => panic!("it stands with its process"),
            Self::Sqlite(folder, stranger) => {
                let mut connection = must(SqliteConnection::connect(&folder.sqlite()).await);
                sql(&mut connection, "PRAGMA busy_timeout = 20000").await;
                sql(&mut connection, "BEGIN EXCLUSIVE").await;
                *stranger = Some(connection);
            }
            Self::Redis(server) => server.freeze(),
            Self::Postgres(server) => server.signal(Signal::STOP),
            Self::MariaDb(server) => server.freeze().await,
        }
    }

    /// It goes on.
    ///
    /// # Panics
    /// If that cannot be done.
    pub async fn thaw(&mut self) {
        match self {
            Self::Memory => panic!("it goes on with its process"),
            Self::Sqlite(_, stranger) => {
                if let Some(mut connection) = stranger.take() {
                    sql(&mut connection, "ROLLBACK").await;
                    must(connection.close().await);
                }
            }
            Self::Redis(server) => server.thaw(),
            Self::Postgres(server) => server.signal(Signal::CONT),
            Self::MariaDb(server) => server.thaw(),
        }
    }

    /// Its process is gone, as by `kill -9`.
    ///
    /// # Panics
    /// If it has none.
    pub fn kill(&mut self) {
        match self {
            Self::Memory | Self::Sqlite(..) => panic!("there is no server to kill"),
            Self::Redis(server) => server.kill(),
            Self::Postgres(server) => server.kill(),
            Self::MariaDb(server) => server.kill(),
        }
    }

    /// It is there again, with what it has on its disk.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn restart(&mut self) {
        match self {
            Self::Memory | Self::Sqlite(..) => panic!("there is no server to start"),
            Self::Redis(server) => server.restart(),
            Self::Postgres(server) => server.run(),
            Self::MariaDb(server) => server.restart().await,
        }
    }

    /// Ends every session of its clients.
    ///
    /// # Panics
    /// If it has none, or refuses.
    pub async fn kick(&self) {
        match self {
            Self::Memory | Self::Sqlite(..) => panic!("there are no sessions"),
            Self::Redis(server) => {
                for kind in ["normal", "pubsub"] {
                    let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"]);
                }
            }
            Self::Postgres(server) => {
                let mut connection = must(PgConnection::connect(&server.url()).await);
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
                must(sqlx::raw_sql(end).execute(&mut connection).await);
            }
            Self::MariaDb(server) => {
                let mut connection = must(MySqlConnection::connect(&server.url("verrou")).await);
                let find = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
                            WHERE id <> connection_id() AND user = 'verrou'";
                let sessions: Vec<i64> =
                    must(sqlx::query_scalar(find).fetch_all(&mut connection).await);
                for session in sessions {
                    // It may have ended by itself.
                    let end = AssertSqlSafe(format!("KILL CONNECTION {session}"));
                    let _ = sqlx::raw_sql(end).execute(&mut connection).await;
                }
            }
        }
    }

    /// It has no lock and no token any more.
    ///
    /// # Panics
    /// If it refuses.
    pub async fn forget(&self) {
        const ROWS: &str = "DELETE FROM verrou_locks";
        match self {
            Self::Memory => panic!("it forgets with its process"),
            Self::Sqlite(folder, _) => {
                let mut connection = must(SqliteConnection::connect(&folder.sqlite()).await);
                sql(&mut connection, "PRAGMA busy_timeout = 20000").await;
                sql(&mut connection, ROWS).await;
            }
            Self::Redis(server) => {
                let done = try_ask::<String>(&server.url(), &["FLUSHALL"]);
                must(done);
            }
            Self::Postgres(server) => {
                let mut connection = must(PgConnection::connect(&server.url()).await);
                until_done(async || sqlx::raw_sql(ROWS).execute(&mut connection).await.is_ok())
                    .await;
            }
            Self::MariaDb(server) => {
                let mut connection = must(MySqlConnection::connect(&server.url("verrou")).await);
                until_done(async || sqlx::raw_sql(ROWS).execute(&mut connection).await.is_ok())
                    .await;
            }
        }
    }
}

/// An engine may refuse a statement because of another's: then again.
async fn until_done(mut statement: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if statement().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the rows cannot be deleted");
}

async fn sql(connection: &mut SqliteConnection, statement: &'static str) {
    must(sqlx::raw_sql(statement).execute(connection).await);
}

fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("the stand: {error}"),
    }
}

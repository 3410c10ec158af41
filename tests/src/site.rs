//! A place that keeps locks, whatever its driver: private, and frozen at will. What every driver promises is tested here
//! with the same case for each.

use std::io::Write as _;

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use tokio::sync::Mutex;
use verrou::drivers::{MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::{Error, Verrou, VerrouBuilder};

use crate::Folder;
use crate::servers::is_skipped;
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::PostgresServer;
use crate::servers::redis::Server;

/// The drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say it")]
#[allow(clippy::exhaustive_enums, reason = "the tests handle all of them")]
pub enum Kind {
    Memory,
    Sqlite,
    Redis,
    Postgres,
    MariaDb,
}

impl Kind {
    /// Its name in `VERROU_TEST_SKIP`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::MariaDb => "mysql",
        }
    }
}

/// A server of one test, a lock file, or the memory of this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Site {
    place: Place,
    url: String,
}

#[derive(Debug)]
enum Place {
    Memory(MemoryStore),
    Sqlite {
        _folder: Folder,
        /// A stranger who has the file for itself.
        stranger: Mutex<Option<sqlx::SqliteConnection>>,
    },
    Redis(Server),
    Postgres(PostgresServer),
    MariaDb(MariaDb),
}

impl Site {
    /// A private one; `None` if the environment says that it is to be left out, which is said on stderr.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(kind: Kind) -> Option<Self> {
        if is_skipped(kind.name()) {
            // Past the capture of the test harness.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {}, as VERROU_TEST_SKIP says",
                kind.name()
            );
            return None;
        }
        let (place, url) = match kind {
            Kind::Memory => (Place::Memory(MemoryStore::new()), "memory:".to_owned()),
            Kind::Sqlite => {
                let folder = Folder::new();
                let (url, stranger) = (folder.sqlite(), Mutex::default());
                let _folder = folder;
                (Place::Sqlite { _folder, stranger }, url)
            }
            Kind::Redis => {
                let server = Server::start();
                let url = server.url();
                (Place::Redis(server), url)
            }
            Kind::Postgres => {
                let server = PostgresServer::start();
                let url = server.url();
                (Place::Postgres(server), url)
            }
            Kind::MariaDb => {
                let server = MariaDb::start(&[]).await;
                let url = server.database("").await;
                (Place::MariaDb(server), url)
            }
        };
        Some(Self { place, url })
    }

    /// Where it is: what [`register`] takes.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of the server.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.place {
            Place::Redis(server) => server.port(),
            Place::Postgres(server) => server.port(),
            Place::MariaDb(server) => server.port(),
            Place::Memory(_) | Place::Sqlite { .. } => panic!("{} has no port", self.url),
        }
    }

    /// The store itself, if it is in the memory of this process.
    #[must_use]
    pub fn memory(&self) -> Option<&MemoryStore> {
        match &self.place {
            Place::Memory(store) => Some(store),
            _ => None,
        }
    }

    /// An instance with this as its only store, called `locks`.
    ///
    /// # Panics
    /// If it cannot be reached.
    pub async fn builder(&self) -> VerrouBuilder {
        let builder = Verrou::builder();
        if let Place::Memory(store) = &self.place {
            return builder.store("locks", store.clone());
        }
        match register(builder, &self.url).await {
            Ok(builder) => builder,
            Err(error) => panic!("{error}"),
        }
    }

    /// [`Self::builder`] with nothing added.
    ///
    /// # Panics
    /// If it cannot be reached.
    pub async fn verrou(&self) -> Verrou {
        match self.builder().await.build() {
            Ok(verrou) => verrou,
            Err(error) => panic!("{error}"),
        }
    }

    /// From now on it answers nobody: a server is stopped, a file is locked by a stranger.
    ///
    /// # Panics
    /// If it cannot be.
    pub async fn freeze(&self) {
        match &self.place {
            Place::Redis(server) => server.freeze(),
            Place::Postgres(server) => server.signal(Signal::STOP),
            Place::MariaDb(server) => server.freeze().await,
            Place::Sqlite { stranger, .. } => {
                let mut connection = must(sqlx::SqliteConnection::connect(&self.url).await);
                must(connection.execute(sqlx::raw_sql("BEGIN EXCLUSIVE")).await);
                *stranger.lock().await = Some(connection);
            }
            Place::Memory(_) => panic!("memory does not freeze"),
        }
    }

    /// It goes on.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn thaw(&self) {
        match &self.place {
            Place::Redis(server) => server.thaw(),
            Place::Postgres(server) => server.signal(Signal::CONT),
            Place::MariaDb(server) => server.thaw(),
            Place::Sqlite { stranger, .. } => {
                if let Some(connection) = stranger.lock().await.take() {
                    must(connection.close().await);
                }
            }
            Place::Memory(_) => {}
        }
    }

    /// How many clients it has, as the server counts them; none where there is no server.
    ///
    /// # Panics
    /// If it cannot be asked.
    pub async fn connections(&self) -> i64 {
        match &self.place {
            Place::Memory(_) | Place::Sqlite { .. } => 0,
            Place::Redis(server) => {
                let clients: String = server.ask(&["CLIENT", "LIST"]);
                i64::try_from(clients.lines().count()).unwrap_or(i64::MAX) - 1
            }
            Place::Postgres(_) => {
                let clients = "SELECT count(*) FROM pg_stat_activity \
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
                must(self.number(clients).await)
            }
            Place::MariaDb(_) => {
                let clients = "SELECT count(*) FROM information_schema.PROCESSLIST \
                     WHERE USER = 'verrou' AND ID <> CONNECTION_ID()";
                must(self.number(clients).await)
            }
        }
    }

    async fn number(&self, query: &str) -> Result<i64, sqlx::Error> {
        let query = AssertSqlSafe(query.to_owned());
        if matches!(self.place, Place::Postgres(_)) {
            let mut connection = sqlx::PgConnection::connect(&self.url).await?;
            let number = connection.fetch_one(query).await?.try_get(0)?;
            connection.close().await?;
            Ok(number)
        } else {
            let mut connection = sqlx::MySqlConnection::connect(&self.url).await?;
            let number = connection.fetch_one(query).await?.try_get(0)?;
            connection.close().await?;
            Ok(number)
        }
    }
}

/// Adds the store of `url` as `locks`; `memory:` is a new one.
///
/// # Errors
/// What the driver says.
pub async fn register(builder: VerrouBuilder, url: &str) -> Result<VerrouBuilder, Error> {
    Ok(match url.split(':').next() {
        Some("mysql") => builder.store("locks", MySqlStore::connect(url).await?),
        Some("postgres") => builder.store("locks", PostgresStore::connect(url).await?),
        Some("redis" | "rediss") => builder.store("locks", RedisStore::connect(url).await?),
        Some("memory") => builder.store("locks", MemoryStore::new()),
        _ => builder.store("locks", SqliteStore::connect(url).await?),
    })
}

fn must<T>(result: Result<T, sqlx::Error>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("the stranger: {error}"),
    }
}

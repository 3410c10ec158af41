//! A place that keeps locks, whatever its driver: private, and frozen at will. What every driver promises is tested here
//! with the same case for each.

use std::io::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use verrou::drivers::{MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::{Error, Verrou, VerrouBuilder};

use crate::matrix::{Driver, Stand};
use crate::servers::is_skipped;

/// A server of one test, a lock file, or the memory of this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Site {
    stand: Stand,
    /// What [`Driver::Memory`] stands for.
    memory: MemoryStore,
}

impl Site {
    /// A private one; `None` if the environment says that it is to be left out, which is said on stderr.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(driver: Driver) -> Option<Self> {
        if is_skipped(driver.name()) {
            // Past the capture of the test harness.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {}, as VERROU_TEST_SKIP says",
                driver.name()
            );
            return None;
        }
        let stand = match driver {
            Driver::Redis => Stand::volatile(),
            other => Stand::start(other).await,
        };
        Some(Self {
            stand,
            memory: MemoryStore::new(),
        })
    }

    /// Where it is: what [`register`] takes.
    #[must_use]
    pub fn url(&self) -> String {
        self.stand.url()
    }

    /// The port of the server.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self.stand.port() {
            Some(port) => port,
            None => panic!("{} has no port", self.url()),
        }
    }

    /// The store itself, if it is in the memory of this process.
    #[must_use]
    pub fn memory(&self) -> Option<&MemoryStore> {
        matches!(self.stand, Stand::Memory).then_some(&self.memory)
    }

    /// An instance with this as its only store, called `locks`.
    ///
    /// # Panics
    /// If it cannot be reached.
    pub async fn verrou(&self) -> Verrou {
        let builder = Verrou::builder();
        let builder = match self.memory() {
            Some(store) => Ok(builder.store("locks", store.clone())),
            None => register(builder, &self.url()).await,
        };
        match builder.and_then(VerrouBuilder::build) {
            Ok(verrou) => verrou,
            Err(error) => panic!("{error}"),
        }
    }

    /// From now on it answers nobody: a server is stopped, a file is locked by a stranger.
    ///
    /// # Panics
    /// If it cannot be.
    pub async fn freeze(&mut self) {
        self.stand.freeze().await;
    }

    /// It goes on.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn thaw(&mut self) {
        self.stand.thaw().await;
    }

    /// It is gone, and stays away: a server is killed, a file is locked by a stranger.
    ///
    /// # Panics
    /// If it cannot be.
    pub async fn go_away(&mut self) {
        match self.stand {
            Stand::Memory | Stand::Sqlite(..) => self.stand.freeze().await,
            _ => self.stand.kill(),
        }
    }

    /// How many clients it has, as the server counts them; none where there is no server.
    ///
    /// # Panics
    /// If it cannot be asked.
    pub async fn connections(&self) -> i64 {
        let counted = match &self.stand {
            Stand::Memory | Stand::Sqlite(..) => Ok(0),
            Stand::Redis(server) => {
                let clients: String = server.ask(&["CLIENT", "LIST"]);
                Ok(i64::try_from(clients.lines().count()).unwrap_or(i64::MAX) - 1)
            }
            Stand::Postgres(server) => in_postgres(&server.url()).await,
            Stand::MariaDb(_) => in_mariadb(&self.url()).await,
        };
        match counted {
            Ok(clients) => clients,
            Err(error) => panic!("cannot count the connections: {error}"),
        }
    }
}

async fn in_postgres(url: &str) -> Result<i64, sqlx::Error> {
    let others = "SELECT count(*) FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut connection = sqlx::PgConnection::connect(url).await?;
    let row = connection.fetch_one(AssertSqlSafe(others)).await?;
    connection.close().await?;
    row.try_get(0)
}

async fn in_mariadb(url: &str) -> Result<i64, sqlx::Error> {
    let others = "SELECT count(*) FROM information_schema.PROCESSLIST \
         WHERE USER = 'verrou' AND ID <> CONNECTION_ID()";
    let mut connection = sqlx::MySqlConnection::connect(url).await?;
    let row = connection.fetch_one(AssertSqlSafe(others)).await?;
    connection.close().await?;
    row.try_get(0)
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

//! What a cycle on an SQL engine cannot be faster than: two statements that do nothing, and two commits of one row.

use std::future::Future;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, MySqlConnection, PgConnection,
    SqliteConnection,
};

use crate::contender::Contender;
use crate::lanes::Lanes;
use crate::must::must;

/// Rows to commit to, one for each task.
const ROWS: i32 = 64;

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS bench_floor (id INTEGER NOT NULL PRIMARY KEY, n BIGINT NOT NULL)";

/// A connection to an engine, set up like the driver's own.
pub(crate) trait Bare: Sized + Send + 'static {
    fn open(url: &str) -> impl Future<Output = Self> + Send;
    /// One round trip, prepared once.
    fn select(&mut self) -> impl Future<Output = ()> + Send;
    /// One autocommit statement that writes one row, prepared once.
    fn commit(&mut self, row: i32) -> impl Future<Output = ()> + Send;
}

macro_rules! bare {
    ($connection:ty, $update:literal, $url:ident => $open:expr) => {
        impl Bare for $connection {
            async fn open($url: &str) -> Self {
                let mut connection = $open;
                must(connection.execute(CREATE).await, "the floor's table");
                connection
            }

            async fn select(&mut self) {
                let done = sqlx::query_scalar::<_, i32>("SELECT 1")
                    .fetch_one(self)
                    .await;
                must(done, "SELECT 1");
            }

            async fn commit(&mut self, row: i32) {
                let done = sqlx::query($update).bind(row).execute(self).await;
                let rows = must(done, "a bare commit").rows_affected();
                assert_eq!(rows, 1, "the row is there");
            }
        }
    };
}

bare!(
    PgConnection,
    "UPDATE bench_floor SET n = n + 1 WHERE id = $1",
    url => must(PgConnection::connect(url).await, "the floor's connection")
);

bare!(
    MySqlConnection,
    "UPDATE bench_floor SET n = n + 1 WHERE id = ?",
    url => {
        let mut connection = must(MySqlConnection::connect(url).await, "the floor's connection");
        let session = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        must(connection.execute(session).await, "the floor's session");
        connection
    }
);

bare!(
    SqliteConnection,
    "UPDATE bench_floor SET n = n + 1 WHERE id = ?1",
    url => {
        let options = must(SqliteConnectOptions::from_str(url), "the floor's URL")
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(20));
        must(options.connect().await, "the floor's connection")
    }
);

/// The rows that are committed to.
pub(crate) async fn fill<C: Bare>(url: &str)
where
    for<'c> &'c mut C: sqlx::Executor<'c>,
{
    let mut connection = C::open(url).await;
    for row in 0..ROWS {
        let insert = sqlx::AssertSqlSafe(format!(
            "INSERT INTO bench_floor SELECT {row}, 0 WHERE NOT EXISTS (SELECT 1 FROM bench_floor WHERE id = {row})"
        ));
        must(connection.execute(insert).await, "the floor's rows");
    }
}

/// What is done, twice a cycle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Select,
    Commit,
}

pub(crate) struct Twice<C> {
    lanes: Lanes<C>,
    work: Work,
}

impl<C: Bare> Twice<C> {
    /// With as many connections.
    pub(crate) async fn on(url: &str, connections: usize, work: Work) -> Self {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(C::open(url).await);
        }
        Self {
            lanes: Lanes::new(open),
            work,
        }
    }

    async fn once(&self, row: i32) {
        let mut lane = self.lanes.take().await;
        match self.work {
            Work::Select => lane.connection().select().await,
            Work::Commit => lane.connection().commit(row).await,
        }
    }
}

impl<C: Bare> Contender for Twice<C> {
    type Key = i32;
    type Held = i32;

    fn key(&self, name: &str) -> i32 {
        let number: i32 = must(name.trim_start_matches('k').parse(), "a number of a key");
        number % ROWS
    }

    async fn acquire(&self, key: &i32) -> i32 {
        self.once(*key).await;
        *key
    }

    async fn release(&self, held: i32) {
        self.once(held).await;
    }
}

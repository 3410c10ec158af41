//! Where a call gets its connection from: few of the store's own, or the user's pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Either, Executor as _, Sqlite, SqlitePool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::files::FileId;
use crate::clock::{Moment, until};
use crate::store::StoreError;

/// How long SQLite itself waits for a locked file, in the connection's worker thread, before the driver reads the clock
/// anew and tries again.
///
/// It looks after 1, 2 and 5 ms more. With a longer time the pauses grow, up to 100 ms: then those who came last get
/// the file first, and a process that has waited for long hardly ever.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_millis(8);

/// As many rows wait in the channel of a connection: all that a statement can answer. A write that waits there for room
/// would keep the file locked until its future is polled.
pub(super) const ROWS: usize = 300;

/// A call whose connection is out for longer no longer counts among those that the store may have: its future may be
/// one that nobody polls. Some ten times as long as a commit takes that moves the log into the file.
const STALE: Duration = Duration::from_millis(25);

pub(super) type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// The connections of a store.
#[derive(Clone)]
pub(super) enum Connections {
    /// SQLite has one writer at a time, and of those that wait for it the one that sleeps shortest is next. So writes of
    /// one store wait for each other in `write`, in order, and reads wait for no write.
    Own { write: Arc<Lanes>, read: Arc<Lanes> },
    /// A user's pool, or a sibling of one, which is ours to close.
    Pool { pool: SqlitePool, ours: bool },
}

impl Connections {
    /// Connections to `file`, at most `limit`, opened when they are needed.
    pub(super) fn own(options: SqliteConnectOptions, file: FileId, limit: usize) -> Self {
        let options = options.row_buffer_size(ROWS);
        let write = Arc::new(Lanes::new(options.clone(), file.clone(), 1));
        let read = match limit {
            0 | 1 => Arc::clone(&write),
            _ => Arc::new(Lanes::new(options, file, limit - 1)),
        };
        Self::Own { write, read }
    }

    /// One connection of its own to the same file, opened when it is first used. Needs a tokio runtime for a pool's.
    pub(super) fn sibling(&self) -> Self {
        match self {
            Self::Own { write, .. } => Self::own(write.options.clone(), write.file.clone(), 1),
            Self::Pool { pool, .. } => {
                // The hooks of the user's pool come along: they may set a key, or attach the database.
                let options = pool
                    .options()
                    .clone()
                    .max_connections(1)
                    .min_connections(0)
                    .test_before_acquire(false)
                    .idle_timeout(None)
                    .max_lifetime(None);
                let connect = SqliteConnectOptions::clone(&pool.connect_options())
                    .create_if_missing(false)
                    .row_buffer_size(ROWS)
                    .busy_timeout(BUSY_TIMEOUT);
                Self::Pool {
                    pool: options.connect_lazy_with(connect),
                    ours: true,
                }
            }
        }
    }

    /// A connection for a call that reads.
    ///
    /// Cancel safe: what was got so far goes back, on whatever thread.
    pub(super) async fn reader(&self) -> Result<Checkout, sqlx::Error> {
        match self {
            Self::Own { read, .. } => Self::checkout(Ok(read)).await,
            Self::Pool { pool, .. } => Self::checkout(Err(pool)).await,
        }
    }

    /// A connection for a call that writes. Cancel safe as [`reader`](Self::reader).
    pub(super) async fn writer(&self) -> Result<Checkout, sqlx::Error> {
        match self {
            Self::Own { write, .. } => Self::checkout(Ok(write)).await,
            Self::Pool { pool, .. } => Self::checkout(Err(pool)).await,
        }
    }

    /// How many rows a statement may answer while its future is not polled.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Own { .. } | Self::Pool { ours: true, .. } => ROWS,
            // As sqlx has it by default; the pool cannot be asked.
            Self::Pool { ours: false, .. } => 50,
        }
    }

    async fn checkout(from: Result<&Arc<Lanes>, &SqlitePool>) -> Result<Checkout, sqlx::Error> {
        let held = match from {
            Ok(lanes) => Held::Lane(Lanes::take(lanes).await?),
            Err(pool) => {
                // A pool's timer and its connections' way back need a runtime: without one sqlx panics.
                let runtime = Handle::try_current().map_err(sqlx::Error::config)?;
                Held::Pooled {
                    connection: Some(pool.acquire().await?),
                    runtime,
                }
            }
        };
        Ok(Checkout {
            held,
            in_flight: false,
        })
    }

    /// Closes what is ours.
    pub(super) async fn close(&self) {
        match self {
            Self::Own { write, read } => {
                write.close().await;
                read.close().await;
            }
            Self::Pool { pool, ours: true } => pool.close().await,
            Self::Pool { ours: false, .. } => {}
        }
    }
}

/// The store's own connections. sqlx's pool is not used for them: it needs a runtime to take a connection back, pings
/// it each time, and has a timer in every check-out.
pub(super) struct Lanes {
    options: SqliteConnectOptions,
    file: FileId,
    limit: usize,
    permits: Arc<Semaphore>,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    idle: Vec<SqliteConnection>,
    /// The connections that are in use and count, since when.
    out: HashMap<u64, Moment>,
    next: u64,
}

impl Lanes {
    fn new(options: SqliteConnectOptions, file: FileId, limit: usize) -> Self {
        Self {
            options,
            file,
            limit,
            permits: Arc::new(Semaphore::new(limit)),
            state: Mutex::default(),
        }
    }

    async fn take(lanes: &Arc<Self>) -> Result<Lane, sqlx::Error> {
        let permit = match lanes.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => lanes.wait().await?,
        };
        let (number, idle) = {
            let mut state = lanes.state();
            let number = state.next;
            state.next = number.wrapping_add(1);
            state.out.insert(number, Moment::now());
            (number, state.idle.pop())
        };
        let mut lane = Lane {
            connection: idle,
            number,
            lanes: lanes.clone(),
            permit: Some(permit),
        };
        if lane.connection.is_none() {
            lane.connection = Some(lanes.open().await?);
        }
        Ok(lane)
    }

    /// Waits until a connection comes back, or those that are out are so for too long.
    ///
    /// Its timer is in no call that was sent.
    async fn wait(&self) -> Result<OwnedSemaphorePermit, sqlx::Error> {
        let mut permit = Box::pin(self.permits.clone().acquire_owned());
        loop {
            self.replace_stale();
            if let Ok(permit) = until(Moment::now().after(STALE), &mut permit).await {
                return permit.map_err(|_| sqlx::Error::PoolClosed);
            }
        }
    }

    /// Opens a connection to the very file that was checked at set-up.
    async fn open(&self) -> Result<SqliteConnection, sqlx::Error> {
        let connection = self.options.connect().await?;
        self.file.check(self.options.get_filename())?;
        Ok(connection)
    }

    /// Lets another connection be opened for each that has been out for too long.
    fn replace_stale(&self) {
        if self.permits.is_closed() {
            return;
        }
        let limit = Moment::now().before(STALE);
        let mut state = self.state();
        let before = state.out.len();
        state.out.retain(|_, since| *since >= limit);
        let stale = before - state.out.len();
        drop(state);
        self.permits.add_permits(stale);
    }

    async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut self.state().idle);
        for connection in idle {
            // A connection that cannot say goodbye is gone all the same.
            let _ = connection.close().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the store's own connections, in use.
struct Lane {
    connection: Option<SqliteConnection>,
    number: u64,
    lanes: Arc<Lanes>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.lanes.state();
        let counts = state.out.remove(&self.number).is_some();
        if counts
            && !self.lanes.permits.is_closed()
            && state.idle.len() < self.lanes.limit
            && let Some(connection) = self.connection.take()
        {
            state.idle.push(connection);
        }
        drop(state);
        if !counts && let Some(permit) = self.permit.take() {
            // Another one was let in instead.
            permit.forget();
        }
    }
}

enum Held {
    Lane(Lane),
    Pooled {
        connection: Option<sqlx::pool::PoolConnection<Sqlite>>,
        /// sqlx takes a connection back in a task, so a call that is dropped outside of a runtime needs one.
        runtime: Handle,
    },
}

/// A connection in use by one call; goes back when it is dropped.
pub(in crate::drivers) struct Checkout {
    held: Held,
    in_flight: bool,
}

/// What a statement answered, to its very end.
pub(super) struct Answer {
    pub(super) rows: Vec<SqliteRow>,
    /// How many rows it has changed.
    pub(super) changed: u64,
}

impl Checkout {
    /// Executes one statement to its end.
    ///
    /// `fetch_one` and its like must not be used for a statement that writes: sqlx 0.9 then resets the statement at its
    /// first row and overlooks that the commit, which comes after it, failed. On a full disk they granted every lock, and
    /// none was in the file. And a worker thread that ended is no empty answer.
    ///
    /// If the future is dropped, the statement may be executed all the same; the connection is then closed behind it.
    pub(super) async fn run(&mut self, query: Query) -> Result<Answer, sqlx::Error> {
        self.in_flight = true;
        let result = run(self.connection()?, query).await;
        self.in_flight = matches!(result, Err(sqlx::Error::WorkerCrashed));
        result
    }

    /// Executes `statement`, made afresh for each attempt, until the file is not busy.
    ///
    /// Waiting is SQLite's, in the worker thread: a timer of the runtime must not be in a call that was sent.
    pub(super) async fn settle<T>(
        &mut self,
        mut statement: impl FnMut() -> (Query, T),
    ) -> Result<(Answer, T), StoreError> {
        loop {
            let (query, read) = statement();
            match self.run(query).await {
                Ok(answer) => return Ok((answer, read)),
                Err(error) if is_busy(&error) => tokio::task::yield_now().await,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        match &mut self.held {
            Held::Lane(lane) => lane.connection.as_mut(),
            Held::Pooled { connection, .. } => connection.as_deref_mut(),
        }
        .ok_or(sqlx::Error::WorkerCrashed)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        match &mut self.held {
            Held::Lane(lane) => {
                if self.in_flight {
                    // Its worker executes what it was sent and ends; the next call does not wait behind it.
                    lane.connection = None;
                }
            }
            Held::Pooled {
                connection,
                runtime,
            } => {
                let _runtime = runtime.enter();
                *connection = None;
            }
        }
    }
}

async fn run(connection: &mut SqliteConnection, query: Query) -> Result<Answer, sqlx::Error> {
    let mut stream = connection.fetch_many(query);
    let mut rows = Vec::new();
    loop {
        match std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            Some(Ok(Either::Right(row))) => rows.push(row),
            Some(Ok(Either::Left(done))) => {
                return Ok(Answer {
                    rows,
                    changed: done.rows_affected(),
                });
            }
            Some(Err(error)) => return Err(error),
            None => return Err(sqlx::Error::WorkerCrashed),
        }
    }
}

/// SQLite's primary result code, if the error is SQLite's.
pub(super) fn code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// The file is in use by another connection right now, and nothing was done.
///
/// `SQLITE_BUSY` and its variants, `SQLITE_LOCKED` (a shared cache), `SQLITE_PROTOCOL` (a race for the WAL's locks).
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(5 | 6 | 15))
}

/// Judges a call that failed after it was sent.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    match code(&error) {
        // SQLITE_IOERR: where in the commit it struck cannot be told.
        Some(10) | None => StoreError::unknown(error),
        Some(_) => StoreError::not_applied(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Outcome;

    #[test]
    fn a_worker_that_ended_is_an_unknown_outcome() {
        assert_eq!(
            failed(sqlx::Error::WorkerCrashed).outcome(),
            Outcome::Unknown
        );
        assert!(!is_busy(&sqlx::Error::WorkerCrashed));
    }
}

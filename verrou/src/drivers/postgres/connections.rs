//! Where a call gets its connection from: few of the store's own, or the user's pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgRow, Postgres};
use sqlx::{ConnectOptions as _, Connection as _, Either, Executor as _, PgPool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::{is_of_no_use, no_runtime};
use super::statements::Statement;
use crate::clock::Moment;

/// A call whose connection is out for longer no longer counts among those that the store may have: its future may be
/// one that nobody polls.
const STALE: Duration = Duration::from_secs(1);

/// How long a connection may take to be opened, whoever waits for it.
const OPENING: Duration = Duration::from_secs(10);

/// As many dead connections of a user's pool are passed over in search of a live one.
const DEAD: usize = 64;

/// How statements travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Prepared once for each connection, then one round trip.
    Prepared,
    /// One message with literals: nothing stays behind in the session, which a transaction pooler may give to another.
    Simple,
}

/// The connections of a store.
#[derive(Clone)]
pub(super) enum Connections {
    Own(Arc<Lanes>),
    /// A user's pool, or a sibling of one, which is ours to close.
    Pool {
        pool: PgPool,
        ours: bool,
    },
}

impl Connections {
    /// Connections with `options`, at most `limit`, opened when they are needed.
    pub(super) fn own(options: PgConnectOptions, limit: usize) -> Self {
        Self::Own(Arc::new(Lanes {
            options,
            limit,
            permits: Arc::new(Semaphore::new(limit)),
            state: Mutex::default(),
        }))
    }

    /// One connection of its own to the same database, opened when it is first used.
    pub(super) fn sibling(&self) -> Self {
        match self {
            Self::Own(lanes) => Self::own(lanes.options.clone(), 1),
            Self::Pool { .. } => Self::Pool {
                pool: self.pool_of_one(),
                ours: true,
            },
        }
    }

    /// The same as a pool of sqlx, for a runtime of our own. Without times to keep it starts no task, so it needs none
    /// to be made.
    pub(super) fn pool_of_one(&self) -> PgPool {
        let (options, connect) = match self {
            Self::Own(lanes) => (PgPoolOptions::new(), lanes.options.clone()),
            // The hooks of the user's pool come along: they may set a role, or a search path.
            Self::Pool { pool, .. } => (
                pool.options().clone(),
                PgConnectOptions::clone(&pool.connect_options()),
            ),
        };
        options
            .max_connections(1)
            .min_connections(0)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(OPENING)
            .connect_lazy_with(connect)
    }

    /// A connection for one call.
    ///
    /// Cancel safe: what was got so far goes back, on whatever thread.
    pub(super) async fn checkout(&self) -> Result<Checkout, sqlx::Error> {
        // Sockets and the timer of a pool need a runtime: without one they panic.
        let runtime = Handle::try_current().map_err(no_runtime)?;
        let held = match self {
            Self::Own(lanes) => Held::Lane(Some(Lanes::take(lanes).await?)),
            Self::Pool { pool, ours } => {
                let connection = if !ours {
                    pool.acquire().await?
                } else if let Some(idle) = pool.try_acquire() {
                    idle
                } else {
                    // As for the lanes: it is opened to the end.
                    finish(&runtime, acquire(pool.clone())).await?
                };
                Held::Pooled {
                    connection: Some(connection),
                    pool: pool.clone(),
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
            Self::Own(lanes) => lanes.close().await,
            Self::Pool { pool, ours: true } => pool.close().await,
            Self::Pool { ours: false, .. } => {}
        }
    }
}

/// The store's own connections. sqlx's pool is not used for them: it needs a runtime to take a connection back, sends a
/// message each time it does, and has a timer in every check-out.
pub(super) struct Lanes {
    options: PgConnectOptions,
    limit: usize,
    permits: Arc<Semaphore>,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    idle: Vec<PgConnection>,
    /// The connections that are in use and count, since when.
    out: HashMap<u64, Moment>,
    next: u64,
}

impl Lanes {
    async fn take(lanes: &Arc<Self>) -> Result<Lane, sqlx::Error> {
        let permit = match lanes.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                lanes.replace_stale();
                let permit = lanes.permits.clone().acquire_owned().await;
                permit.map_err(|_| sqlx::Error::PoolClosed)?
            }
        };
        let (number, idle) = {
            let mut state = lanes.state();
            let number = state.next;
            state.next = number.wrapping_add(1);
            state.out.insert(number, Moment::now());
            (number, state.idle.pop())
        };
        let lane = Lane {
            connection: idle,
            number,
            lanes: lanes.clone(),
            permit: Some(permit),
        };
        if lane.connection.is_some() {
            return Ok(lane);
        }
        lane.open().await
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
    connection: Option<PgConnection>,
    number: u64,
    lanes: Arc<Lanes>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lane {
    /// Opens the connection in a task: a call that is given up before leaves it to the next one, which otherwise would
    /// begin anew, and might never get there in the time of a short lease.
    async fn open(mut self) -> Result<Self, sqlx::Error> {
        let runtime = Handle::try_current().map_err(no_runtime)?;
        finish(&runtime, async move {
            let opening = tokio::time::timeout(OPENING, self.lanes.options.connect());
            self.connection = Some(opening.await.map_err(|_| sqlx::Error::PoolTimedOut)??);
            Ok(self)
        })
        .await
    }

    /// Replaces a connection that is of no use. Those that idle are most likely like it.
    async fn replace(mut self) -> Result<Self, sqlx::Error> {
        self.connection = None;
        let dead = std::mem::take(&mut self.lanes.state().idle);
        drop(dead);
        self.open().await
    }
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
    /// `None` if another one could not be had.
    Lane(Option<Lane>),
    Pooled {
        connection: Option<sqlx::pool::PoolConnection<Postgres>>,
        pool: PgPool,
        /// sqlx takes a connection back in a task, so a call that is dropped outside of a runtime needs one.
        runtime: Handle,
    },
}

/// A connection in use by one call; goes back when it is dropped.
pub(super) struct Checkout {
    held: Held,
    in_flight: bool,
}

/// What a statement answered, to its very end.
pub(super) struct Answer {
    pub(super) rows: Vec<PgRow>,
    /// How many rows it has changed.
    pub(super) changed: u64,
}

impl Checkout {
    /// Executes one statement to its end. The connection is closed if this is dropped on the way, or finds it of no use.
    pub(super) async fn run(
        &mut self,
        statement: &Statement,
        protocol: Protocol,
    ) -> Result<Answer, sqlx::Error> {
        self.in_flight = true;
        let result = run(self.connection()?, statement, protocol).await;
        self.in_flight = result.as_ref().is_err_and(is_of_no_use);
        result
    }

    /// Another connection in place of this one, which is of no use.
    ///
    /// The call was sent, so no timer may be in here: a pool's check-out, which has one, is a task of the pool's runtime.
    pub(super) async fn replace(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.held {
            Held::Lane(lane) => {
                if let Some(dead) = lane.take() {
                    *lane = Some(dead.replace().await?);
                }
            }
            Held::Pooled {
                connection,
                pool,
                runtime,
            } => {
                close(connection, runtime);
                *connection = Some(finish(runtime, live(pool.clone())).await?);
            }
        }
        self.in_flight = false;
        Ok(())
    }

    fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        match &mut self.held {
            Held::Lane(lane) => lane.as_mut().and_then(|lane| lane.connection.as_mut()),
            Held::Pooled { connection, .. } => connection.as_deref_mut(),
        }
        .ok_or(sqlx::Error::WorkerCrashed)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        match &mut self.held {
            Held::Lane(lane) => {
                if self.in_flight
                    && let Some(lane) = lane
                {
                    // The server executes what it was sent; the next call does not wait behind it.
                    lane.connection = None;
                }
            }
            Held::Pooled {
                connection,
                runtime,
                ..
            } => {
                if self.in_flight {
                    close(connection, runtime);
                } else {
                    let _runtime = runtime.enter();
                    *connection = None;
                }
            }
        }
    }
}

fn close(connection: &mut Option<sqlx::pool::PoolConnection<Postgres>>, runtime: &Handle) {
    let _runtime = runtime.enter();
    if let Some(mut connection) = connection.take() {
        connection.close_on_drop();
    }
}

/// The result of `work`, which is done in a task of `runtime`: to its end, and with timers of its own.
async fn finish<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
) -> Result<T, sqlx::Error> {
    runtime.spawn(work).await.map_err(sqlx::Error::config)?
}

async fn acquire(pool: PgPool) -> Result<sqlx::pool::PoolConnection<Postgres>, sqlx::Error> {
    pool.acquire().await
}

/// A connection of `pool` that answers.
async fn live(pool: PgPool) -> Result<sqlx::pool::PoolConnection<Postgres>, sqlx::Error> {
    for _ in 0..DEAD {
        let mut connection = pool.acquire().await?;
        match connection.ping().await {
            Ok(()) => return Ok(connection),
            Err(_) => connection.close_on_drop(),
        }
    }
    Err(sqlx::Error::PoolTimedOut)
}

/// Executes one statement to its end: the count of changed rows comes before the commit, an error of the commit after it.
pub(super) async fn run(
    connection: &mut PgConnection,
    statement: &Statement,
    protocol: Protocol,
) -> Result<Answer, sqlx::Error> {
    let mut stream = match protocol {
        Protocol::Prepared => connection.fetch_many(statement.prepared()),
        Protocol::Simple => connection.fetch_many(sqlx::raw_sql(statement.literal())),
    };
    let mut answer = Answer {
        rows: Vec::new(),
        changed: 0,
    };
    while let Some(part) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        match part? {
            Either::Right(row) => answer.rows.push(row),
            Either::Left(done) => answer.changed += done.rows_affected(),
        }
    }
    Ok(answer)
}

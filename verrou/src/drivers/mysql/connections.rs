//! Where a call gets its connection from: few of the store's own, or the user's pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions as _, Connection as _, Either, Executor as _, MySql, MySqlPool};
use tokio::runtime::{Handle, Id};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::{Reported, failed, is_dead, is_of_no_use, is_transient};
use crate::clock::Moment;
use crate::store::StoreError;

/// A call whose connection is out for longer no longer counts among those that the store may have: its future may be
/// one that nobody polls.
const STALE: Duration = Duration::from_secs(1);

/// A connection that was idle for longer is not used again: what lies between may have forgotten it, and then a call
/// would wait in vain.
const IDLE: Duration = Duration::from_secs(240);

/// How the store's own connections are set. Nothing here changes what a statement does; READ COMMITTED spares locks on gaps.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE; \
                       SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES'";

pub(super) type Query = sqlx::query::Query<'static, MySql, MySqlArguments>;

/// The connections of a store.
#[derive(Clone)]
pub(super) enum Connections {
    Own(Arc<Lanes>),
    /// A user's pool.
    Pool(MySqlPool),
}

impl Connections {
    /// At most `limit` connections, opened when they are needed.
    pub(super) fn own(options: MySqlConnectOptions, limit: usize) -> Self {
        Self::lanes(Opener::Options(Box::new(options)), limit)
    }

    fn lanes(opener: Opener, limit: usize) -> Self {
        Self::Own(Arc::new(Lanes {
            opener,
            limit,
            permits: Arc::new(Semaphore::new(limit)),
            state: Mutex::default(),
        }))
    }

    /// One connection of its own to the same server, opened when it is first used, on the runtime that does.
    pub(super) fn sibling(&self) -> Self {
        match self {
            Self::Own(lanes) => Self::lanes(lanes.opener.clone(), 1),
            Self::Pool(pool) => {
                // The hooks of the user's pool come along: they may choose a database or a role. Without limits of time it
                // starts no task, so it needs no runtime here; connections are taken out of it as soon as they are made.
                let options = pool
                    .options()
                    .clone()
                    .max_connections(1)
                    .min_connections(0)
                    .test_before_acquire(false)
                    .idle_timeout(None)
                    .max_lifetime(None);
                let connect = MySqlConnectOptions::clone(&pool.connect_options());
                Self::lanes(Opener::Pool(options.connect_lazy_with(connect)), 1)
            }
        }
    }

    /// A connection for one call.
    ///
    /// Cancel safe: what was got so far goes back, on whatever thread.
    pub(super) async fn checkout(&self) -> Result<Checkout, sqlx::Error> {
        // Without a runtime sqlx panics.
        let runtime = Handle::try_current().map_err(sqlx::Error::config)?;
        let held = match self {
            Self::Own(lanes) => Held::Lane(Lanes::take(lanes, &runtime).await?),
            Self::Pool(pool) => Held::Pooled {
                connection: Some(pool.acquire().await?),
                pool: pool.clone(),
                runtime,
            },
        };
        Ok(Checkout {
            held,
            in_flight: false,
        })
    }

    /// Closes what is ours.
    pub(super) async fn close(&self) {
        if let Self::Own(lanes) = self {
            lanes.close().await;
        }
    }
}

/// What makes connections.
#[derive(Clone)]
enum Opener {
    Options(Box<MySqlConnectOptions>),
    /// A pool of ours with the hooks of the user's.
    Pool(MySqlPool),
}

impl Opener {
    async fn open(&self) -> Result<MySqlConnection, sqlx::Error> {
        match self {
            Self::Options(options) => {
                let mut connection = options.connect().await?;
                connection.execute(sqlx::raw_sql(SESSION)).await?;
                Ok(connection)
            }
            Self::Pool(pool) => {
                // A pool's check-out has a timer, which must not be polled where another runtime ended: so it stays in a task of
                // the one that began it.
                let pool = pool.clone();
                let opening = tokio::spawn(async move { Ok(pool.acquire().await?.detach()) });
                opening.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
            }
        }
    }
}

/// The store's own connections. sqlx's pool is not used for them: it needs a runtime to take a connection back, pings
/// it each time, and has a timer in every check-out.
pub(super) struct Lanes {
    opener: Opener,
    limit: usize,
    permits: Arc<Semaphore>,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    idle: Vec<Idle>,
    /// The connections that are in use and count, since when.
    out: HashMap<u64, Moment>,
    next: u64,
}

struct Idle {
    connection: MySqlConnection,
    /// Where it was opened. Elsewhere it works only as long as that runtime is being driven.
    runtime: Id,
    since: Moment,
}

impl Lanes {
    async fn take(lanes: &Arc<Self>, runtime: &Handle) -> Result<Lane, sqlx::Error> {
        let permit = match lanes.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                lanes.replace_stale();
                let permit = lanes.permits.clone().acquire_owned().await;
                permit.map_err(|_| sqlx::Error::PoolClosed)?
            }
        };
        let fresh = Moment::now().before(IDLE);
        let (number, idle, old) = {
            let mut state = lanes.state();
            let number = state.next;
            state.next = number.wrapping_add(1);
            state.out.insert(number, Moment::now());
            let old: Vec<_> = state
                .idle
                .extract_if(.., |idle| idle.since < fresh)
                .collect();
            let ours = state
                .idle
                .iter()
                .rposition(|idle| idle.runtime == runtime.id());
            let idle = match ours {
                Some(place) => Some(state.idle.remove(place)),
                // One of another runtime makes room.
                None => state.idle.pop(),
            };
            (number, idle, old)
        };
        drop(old);
        let mut lane = Lane {
            connection: None,
            runtime: runtime.id(),
            number,
            lanes: lanes.clone(),
            permit: Some(permit),
        };
        lane.connection = match idle {
            Some(idle) if idle.runtime == lane.runtime => Some(idle.connection),
            _ => Some(lanes.opener.open().await?),
        };
        Ok(lane)
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
        for idle in idle {
            // A server that does not take the goodbye must not hold up the end; the socket closes with the connection.
            if Handle::try_current().is_ok_and(|runtime| runtime.id() == idle.runtime) {
                let limit = Moment::now().after(Duration::from_millis(200));
                let mut goodbye = std::pin::pin!(idle.connection.close());
                let _ = crate::clock::until(limit, &mut goodbye).await;
            }
        }
        if let Opener::Pool(pool) = &self.opener {
            pool.close().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the store's own connections, in use.
struct Lane {
    connection: Option<MySqlConnection>,
    runtime: Id,
    number: u64,
    lanes: Arc<Lanes>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lane {
    /// Opens another connection instead of one that is dead; then those that were idle are likely to be so too.
    async fn reopen(&mut self) -> Result<(), sqlx::Error> {
        let idle = std::mem::take(&mut self.lanes.state().idle);
        drop(idle);
        self.connection = None;
        // A call that was moved goes on where it is now.
        self.runtime = Handle::try_current().map_err(sqlx::Error::config)?.id();
        self.connection = Some(self.lanes.opener.open().await?);
        Ok(())
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
            state.idle.push(Idle {
                connection,
                runtime: self.runtime,
                since: Moment::now(),
            });
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
        connection: Option<PoolConnection<MySql>>,
        pool: MySqlPool,
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
    pub(super) rows: Vec<MySqlRow>,
    /// How many rows it has found, changed or not.
    pub(super) found: u64,
    /// What `LAST_INSERT_ID(..)` in it was given.
    pub(super) last_id: u64,
    /// The connection was dead and the statement went out again: an earlier one may have been executed.
    pub(super) repeated: bool,
}

impl Checkout {
    /// Executes one statement to its end.
    ///
    /// If the future is dropped, the statement may be executed all the same; the connection is then closed.
    pub(super) async fn run(&mut self, query: Query) -> Result<Answer, sqlx::Error> {
        self.in_flight = true;
        let result = run(self.connection()?, query).await;
        self.in_flight = result.as_ref().is_err_and(is_of_no_use);
        result
    }

    /// Executes `statement`, made afresh for each attempt, until no other transaction is in the way, and once more if
    /// the connection turns out to be of no use. Every statement of a lock may be executed twice.
    pub(super) async fn settle(
        &mut self,
        mut statement: impl FnMut() -> Query,
    ) -> Result<Answer, StoreError> {
        // `repeated` if what went out may have been executed; a server that takes no writes has certainly not done it.
        let (mut again, mut repeated) = (false, false);
        loop {
            match self.run(statement()).await {
                Ok(answer) => return Ok(Answer { repeated, ..answer }),
                Err(error) if is_transient(&error) => tokio::task::yield_now().await,
                Err(error) if is_of_no_use(&error) && !again => {
                    again = true;
                    repeated = is_dead(&error);
                    if let Err(why) = self.reopen().await {
                        return Err(match repeated {
                            true => StoreError::unknown(Reported::new(&why)),
                            false => failed(&error),
                        });
                    }
                }
                Err(error) if repeated => return Err(StoreError::unknown(Reported::new(&error))),
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    async fn reopen(&mut self) -> Result<(), sqlx::Error> {
        self.discard();
        match &mut self.held {
            Held::Lane(lane) => lane.reopen().await?,
            Held::Pooled {
                connection,
                pool,
                runtime,
            } => {
                // In a task, for the pool's timer must not be in a call that was sent.
                let pool = pool.clone();
                let opening = runtime.spawn(async move { pool.acquire().await });
                *connection = Some(opening.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))?);
            }
        }
        self.in_flight = false;
        Ok(())
    }

    /// Closes the connection at once, without a goodbye that nobody may hear.
    fn discard(&mut self) {
        match &mut self.held {
            Held::Lane(lane) => lane.connection = None,
            Held::Pooled {
                connection,
                runtime,
                ..
            } => {
                let _runtime = runtime.enter();
                drop(connection.take().map(PoolConnection::detach));
            }
        }
    }

    fn connection(&mut self) -> Result<&mut MySqlConnection, sqlx::Error> {
        match &mut self.held {
            Held::Lane(lane) => lane.connection.as_mut(),
            Held::Pooled { connection, .. } => connection.as_deref_mut(),
        }
        .ok_or(sqlx::Error::WorkerCrashed)
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if self.in_flight {
            // An answer is still to come, and the next call must not take it for its own.
            self.discard();
        }
        if let Held::Pooled {
            connection,
            runtime,
            ..
        } = &mut self.held
        {
            let _runtime = runtime.enter();
            *connection = None;
        }
    }
}

/// Reads the answer until nothing follows: an error may come after rows, and sqlx takes a connection for busy until then.
async fn run(connection: &mut MySqlConnection, query: Query) -> Result<Answer, sqlx::Error> {
    let mut stream = connection.fetch_many(query);
    let mut answer = None;
    let mut rows = Vec::new();
    while let Some(part) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
        match part? {
            Either::Right(row) => rows.push(row),
            Either::Left(done) => answer = Some(done),
        }
    }
    let done = answer.ok_or(sqlx::Error::WorkerCrashed)?;
    Ok(Answer {
        rows,
        found: done.rows_affected(),
        last_id: done.last_insert_id(),
        repeated: false,
    })
}

//! Locks in a table of a PostgreSQL database.

mod company;
mod connections;
mod failure;
mod setup;
mod statements;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use self::connections::{Answer, Checkout, Connections, Protocol};
use self::failure::{failed, is_of_no_use, is_out_of_range, is_transient, refusal};
use self::setup::Plan;
use self::statements::{RENEWALS, Statement, Statements, unhex};
use self::watcher::Watcher;
use crate::clock::Moment;
use crate::drivers::group::Group;
use crate::drivers::pace::Pace;
use crate::drivers::sql::{self, Table};
use crate::error::{Error, Outcome};
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Doubt, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, Listed, LockStore, Page, PassRequest, Passed,
    ReleaseRequest, RenewRequest, Reply, Sent, StoreError, StoredKey, Watch,
};

const DRIVER: &str = "postgres";

/// Rows that one step of a purge looks at.
const PURGE_STEP: i64 = 500;

/// How often an acquire is repeated that lost against one which its snapshot did not show.
const LOOKS: usize = 3;

/// How many statements for many are under way at the same time: one is prepared for while the other commits.
const IN_FLIGHT: usize = 2;

/// Locks in a table of a PostgreSQL database.
///
/// Choose it for processes on several machines that share a Postgres server anyway: nothing else has to be installed or
/// run, and a lock is as durable as the rest of the data. Two commits a cycle are what it costs; where that is too slow,
/// take Redis. Postgres 12 or newer.
///
/// A URL is `postgres://user:password@host:port/database?sslmode=..`, as sqlx takes it; characters of a password that mean
/// something in a URL are written `%XX`. Clones share their connections. A held lock and a waiter keep no connection.
///
/// # Options
/// [`PostgresStore::builder`] and [`PostgresStore::from_pool`] take the [table](PostgresBuilder::table), [whether to create
/// it](PostgresBuilder::create_table), the [number of connections](PostgresBuilder::max_connections), the [time for
/// connecting](PostgresBuilder::connect_timeout), and two for a pooler such as pgbouncer:
/// [`transaction_pooler`](PostgresBuilder::transaction_pooler) and [`listen_url`](PostgresBuilder::listen_url).
///
/// # Statements
/// One autocommit statement and one round trip for each operation, by the primary key: an upsert (and in the same statement
/// a look at what is left of another's lease) takes a key, an `UPDATE` renews, hands over or frees it. Those that take and free
/// keys at the same moment share one statement and one commit; a row that somebody else keeps locked ends it after 250 ms, and
/// each goes by itself. A connection prepares each once, which is one round trip more the first time. A key that is seen to be held is only read. The commit of a
/// release is not waited for (`synchronous_commit` is off for it alone): a crash of the server may bring a released lease
/// back, for the rest of its length. Released rows stay, for they keep the token;
/// [`purge`](PostgresStore::purge) removes those that nobody has used for long. Serialization failures, deadlocks and
/// `lock_timeout` are retried inside the call; so any `default_transaction_isolation` is right, `read committed` the fastest.
/// `statement_timeout` ends a call with an error that says that nothing was done. A call whose connection was found
/// dead is repeated once, on another one.
///
/// Waiters in other processes hear of a release by `NOTIFY` on a channel that is named like the table: as long as
/// somebody waits, a thread listens on a connection of its own. A release that nobody waits for notifies nobody.
///
/// # Behind a pooler
/// pgbouncer in transaction mode gives each statement another session. Say
/// [`transaction_pooler`](PostgresBuilder::transaction_pooler): then every operation is one message without parameters, one
/// round trip also the first time, and leaves nothing in the session. There is no LISTEN through it: waiters poll, unless
/// [`listen_url`](PostgresBuilder::listen_url) names the server itself. As the values stand in the text of the statement, switch
/// the statement logging of a pool of your own off.
///
/// # Rights
/// `SELECT`, `INSERT` and `UPDATE` on the table, `DELETE` for a purge, and `CREATE` in the schema if the table is missing
/// and not made by who may, with [`schema_sql`](PostgresStore::schema_sql).
///
/// # What it holds through
///
/// | | | shown by the tests |
/// |---|---|---|
/// | exclusion holds through | the death of any client (`kill -9`), a crash and restart of the server, lost connections, clients whose clocks and time zones differ | `postgres::clocks::a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry`, `postgres::faults::a_server_that_freezes_or_crashes_is_an_error_in_time_and_keeps_its_locks`, `postgres::faults::a_connection_that_was_cut_is_replaced_without_a_word`, `postgres::clocks::clients_an_hour_fast_and_slow_exclude_each_other`, `postgres::settings::counts_with_odd_settings_of_the_session` |
/// | may break on | a step of the server's clock; `fsync = off`, or `synchronous_commit = off` for the role, if the server crashes; a failover to an asynchronous standby; a restored backup; `TRUNCATE`, or deleting rows by hand | `doubts::a_step_of_the_clock_of_postgres_is_told`, `doubts::a_row_that_is_gone_is_told`; not tested: power cuts and lagging standbys, which no test can order |
/// | a crash may take back | a release, for the rest of its lease's length, and nothing else | `postgres::company::a_crash_after_a_release_costs_a_lease_and_no_token`, `postgres::company::a_server_killed_between_grant_and_reply_grants_nothing_by_half` |
/// | the token survives | release, expiry, force release, purge, crash and restart; the loss of the table by its floor at the server's clock | `postgres::postgres::tokens_rise_over_a_release`, `postgres::postgres::tokens_rise_over_an_expiry`, `postgres::postgres::tokens_rise_over_a_force_release`, `postgres::sharing::a_purge_while_others_cycle_costs_no_token`, `postgres::faults::a_server_that_freezes_or_crashes_is_an_error_in_time_and_keeps_its_locks`, `postgres::postgres::a_token_is_not_behind_the_time` |
/// | clock | the server's `clock_timestamp()`, in microseconds of UTC | `postgres::clocks::clients_an_hour_fast_and_slow_exclude_each_other`, `postgres::postgres::a_token_is_not_behind_the_time` |
/// | scope | all clients of one database | `postgres::sharing::two_thousand_increments_in_four_processes_are_two_thousand` |
///
/// # Errors
/// [`Error::Connect`] with the [kind](crate::ConnectKind) of what is wrong with the URL, the server or the table, before any
/// lock is taken; [`Error::InvalidOption`] for a table name or an option, before the server is asked.
///
/// # Examples
/// ```no_run
/// use verrou::{Verrou, drivers::PostgresStore};
/// # async fn example() -> Result<(), verrou::Error> {
/// let verrou = Verrou::builder()
///     .store("postgres", PostgresStore::connect("postgres://app:secret@localhost/app").await?)
///     .build()?;
/// let guard = verrou.create_lock("report").acquire().await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Connections,
    protocol: Protocol,
    statements: Arc<Statements>,
    group: Group,
    pace: Arc<Pace>,
    /// `None`: waiters poll.
    watcher: Option<Arc<Watcher>>,
    /// A sibling leaves the watcher alone when it is closed.
    sibling: bool,
}

impl PostgresStore {
    /// Connects to the database at `url`, checks it, and creates the table if it is missing, all within 2 s.
    ///
    /// Needs a tokio runtime with timers.
    ///
    /// # Errors
    /// As [`PostgresStore`] says.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// A store in the database at `url`, with options.
    pub fn builder(url: &str) -> PostgresBuilder {
        PostgresBuilder::new(Target::Url(url.to_owned()))
    }

    /// A store that takes its connections from `pool`, with options; [`connect`](PostgresBuilder::connect) sets it up.
    ///
    /// sqlx sends a message each time that a connection goes back to its pool; the store's own connections do without it.
    /// Closing the store leaves the pool open. The threads that renew leases and listen open a connection of their own each,
    /// with the pool's options and hooks.
    pub fn from_pool(pool: PgPool) -> PostgresBuilder {
        PostgresBuilder::new(Target::Pool(pool))
    }

    /// The statement that creates the table `verrou_locks`.
    #[must_use]
    pub fn schema_sql() -> String {
        statements::ddl(&format!("\"{}\"", sql::DEFAULT_TABLE))
    }

    /// The statement that creates the table of another name.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if that is no table name.
    pub fn schema_sql_for(table: &str) -> Result<String, Error> {
        Ok(statements::ddl(&Table::parse(table)?.quoted('"')))
    }

    /// Removes the keys that are free and were granted last longer than `idle` ago, and says how many.
    ///
    /// Tokens do not fall by it: a purged key's next one is the server's clock in microseconds, which is above all that are
    /// older than `idle`. So keep `idle` longer than that clock could ever be set back, or a statement be delayed.
    ///
    /// # Errors
    /// [`StoreError`] if the server fails; what was removed until then stays so.
    pub async fn purge(&self, idle: Duration) -> Result<u64, StoreError> {
        let inner = &*self.inner;
        let idle = sql::micros(idle);
        let mut after = Vec::new();
        let mut purged = 0;
        loop {
            // A connection for each step, so that locks get theirs in between; and few rows, so that writers do.
            let look = inner.statements.purge_look(&after, PURGE_STEP, idle);
            let look = inner.call(&[], look).await?.0;
            let mut dead = Vec::new();
            let mut last = None;
            for row in &look.rows {
                let key = bytes(row, 0)?;
                if column::<bool>(row, 2)? {
                    dead.push((key.clone(), column(row, 1)?));
                }
                last = Some(key);
            }
            let Some(last) = last else { return Ok(purged) };
            if !dead.is_empty() {
                let gone = inner.call(&[], inner.statements.purge(dead, idle)).await?.0;
                purged += gone.changed;
            }
            after = last;
        }
    }
}

impl LockStore for PostgresStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        self.inner.group.acquire(&self.inner, request).await
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        let statement = self.inner.statements.renew(&request);
        let (answer, _) = self.inner.call(&[&request.sent], statement).await?;
        Ok(reply(answer.changed > 0))
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let statement = self.inner.statements.adopt(&request);
        let (answer, _) = self.inner.call(&[&request.sent], statement).await?;
        match answer.rows.first() {
            Some(row) => Ok(Adopted::Adopted {
                token: sql::token(column(row, 0)?)?,
            }),
            None => Ok(Adopted::NotHeld),
        }
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        let inner = &self.inner;
        if request.keep.is_zero() {
            return inner.group.release(inner, request).await;
        }
        inner.release(inner.checkout().await?, &request).await
    }

    async fn pass(&self, request: PassRequest) -> Result<Passed, StoreError> {
        let statement = self.inner.statements.pass(&request);
        let (answer, _) = self.inner.call(&[&request.sent], statement).await?;
        match answer.rows.first() {
            Some(row) => Ok(Passed::Granted {
                token: sql::token(column(row, 0)?)?,
            }),
            None => Ok(Passed::NotHeld),
        }
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let statement = self.inner.statements.inspect(&request.key);
        let (answer, _) = self.inner.call(&[&request.sent], statement).await?;
        answer.rows.first().map(holding).transpose()
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let statement = self.inner.statements.force_release(&request);
        let (answer, lost) = self.inner.call(&[&request.sent], statement).await?;
        let held = answer.changed > 0;
        if held {
            self.inner.released(&request.key);
        }
        match lost {
            Some(lost) if !held => Err(lost),
            _ => Ok(held),
        }
    }

    async fn renew_many(&self, requests: Vec<RenewRequest>) -> Vec<Result<Reply, StoreError>> {
        let mut replies = Vec::with_capacity(requests.len());
        for batch in requests.chunks(RENEWALS) {
            match self.inner.renew_batch(batch).await {
                Ok(renewed) => replies.extend(batch.iter().map(|request| {
                    Ok(reply(renewed.iter().any(|(key, owner)| {
                        key == request.key.as_bytes() && owner == request.owner.as_bytes()
                    })))
                })),
                Err(error) => replies.extend(batch.iter().map(|_| Err(error.clone()))),
            }
        }
        replies
    }

    fn watch(&self, key: &StoredKey) -> Watch {
        match &self.inner.watcher {
            Some(watcher) => watcher.watch(key),
            None => Watch::none(),
        }
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        let statement = self.inner.statements.list(&request);
        let (answer, _) = self.inner.call(&[&request.sent], statement).await?;
        let mut listed = Vec::with_capacity(answer.rows.len());
        let mut last = None;
        for row in &answer.rows {
            let key = bytes(row, 4)?;
            // What is no stored key was put there by somebody else.
            if let Some(key) = StoredKey::from_bytes(&key)
                && column::<i64>(row, 2)? > 0
            {
                listed.push(Listed::new(key, holding(row)?));
            }
            last = Some(key);
        }
        let next = sql::next_page(&request, answer.rows.len(), last);
        Ok(Page::new(listed, next))
    }

    fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::new(DRIVER).list().pass();
        match self.inner.watcher {
            Some(_) => capabilities.watch(),
            None => capabilities,
        }
    }

    fn doubts(&self) -> Vec<Doubt> {
        self.inner.pace.take()
    }

    fn for_keeper(&self) -> Option<Self> {
        Some(Self {
            inner: Arc::new(Inner {
                connections: self.inner.connections.sibling(),
                protocol: self.inner.protocol,
                statements: self.inner.statements.clone(),
                group: Group::new(1),
                pace: self.inner.pace.clone(),
                watcher: self.inner.watcher.clone(),
                sibling: true,
            }),
        })
    }

    async fn close(&self) {
        if let Some(watcher) = &self.inner.watcher
            && !self.inner.sibling
        {
            watcher.close().await;
        }
        self.inner.connections.close().await;
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No options: they have the password.
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl Inner {
    async fn checkout(&self) -> Result<Checkout, StoreError> {
        // Nothing was sent yet, so this may be dropped anywhere.
        self.connections.checkout().await.map_err(refusal)
    }

    /// One statement on a connection of its own.
    ///
    /// If it is dropped before it is marked as sent, nothing went out; after that the statement is executed or not. With the
    /// answer comes what befell an earlier attempt whose connection was found dead, and which may have been executed.
    async fn call(
        &self,
        sent: &[&Sent],
        statement: Statement,
    ) -> Result<(Answer, Option<StoreError>), StoreError> {
        let mut connection = self.checkout().await?;
        for sent in sent {
            sent.mark();
        }
        self.settle(&mut connection, &statement).await
    }

    /// One statement, until no other transaction is in the way, and once more if the connection is of no use.
    async fn settle(
        &self,
        connection: &mut Checkout,
        statement: &Statement,
    ) -> Result<(Answer, Option<StoreError>), StoreError> {
        let (mut lost, mut repeated) = (None, false);
        loop {
            match connection.run(statement, self.protocol).await {
                Ok(answer) => return Ok((answer, lost)),
                // The statement has waited for the other one: this is no spinning.
                Err(error) if is_transient(&error) => tokio::task::yield_now().await,
                Err(error) if is_of_no_use(&error) && !repeated => {
                    repeated = true;
                    let error = failed(error);
                    if connection.replace().await.is_err() {
                        return Err(error);
                    }
                    // A server that takes no writes has certainly not executed it.
                    lost = (error.outcome() == Outcome::Unknown).then_some(error);
                }
                Err(error) if is_out_of_range(&error) => return Err(failure::tokens_used_up()),
                Err(error) => return Err(lost.unwrap_or_else(|| failed(error))),
            }
        }
    }

    /// The keys and owners that were renewed.
    async fn renew_batch(
        &self,
        batch: &[RenewRequest],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let sent: Vec<_> = batch.iter().map(|request| &request.sent).collect();
        let begun = Moment::now();
        let (answer, _) = self.call(&sent, self.statements.renew_many(batch)).await?;
        let mut renewed = Vec::with_capacity(batch.len());
        for row in &answer.rows {
            match column::<Option<i64>>(row, 2)? {
                Some(now) => self.pace.heard(now, begun),
                None => renewed.push((bytes(row, 0)?, bytes(row, 1)?)),
            }
        }
        Ok(renewed)
    }

    /// Tells the waiters of this process; those of others are told by the statement.
    fn released(&self, key: &StoredKey) {
        if let Some(watcher) = &self.watcher {
            watcher.released(key);
        }
    }
}

fn reply(done: bool) -> Reply {
    if done { Reply::Done } else { Reply::NotHeld }
}

/// Reads a row of holder, token, what is left and how long it is held.
fn holding(row: &PgRow) -> Result<Holding, StoreError> {
    Ok(Holding::new(
        String::from_utf8_lossy(&bytes(row, 0)?),
        sql::token(column(row, 1)?)?,
        sql::between(0, column(row, 2)?),
        sql::between(0, column(row, 3)?),
    ))
}

fn bytes(row: &PgRow, index: usize) -> Result<Vec<u8>, StoreError> {
    let text: String = column(row, index)?;
    unhex(&text).ok_or_else(|| StoreError::unknown("the server answered bytes that are none"))
}

/// The statement was executed, whatever is wrong with its answer.
fn column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(index).map_err(StoreError::unknown)
}

/// A [`PostgresStore`] that is not connected yet.
#[must_use = "nothing happens before `connect`"]
pub struct PostgresBuilder {
    target: Target,
    table: String,
    create_table: bool,
    max_connections: u32,
    connect_timeout: Duration,
    protocol: Protocol,
    listen_url: Option<String>,
}

enum Target {
    Url(String),
    Pool(PgPool),
}

impl PostgresBuilder {
    fn new(target: Target) -> Self {
        Self {
            target,
            table: sql::DEFAULT_TABLE.to_owned(),
            create_table: true,
            max_connections: 4,
            connect_timeout: Duration::from_secs(2),
            protocol: Protocol::Prepared,
            listen_url: None,
        }
    }

    /// The table, `name` or `schema.name`; by default `verrou_locks`, in the first schema of the search path.
    pub fn table(mut self, table: &str) -> Self {
        table.clone_into(&mut self.table);
        self
    }

    /// Whether to create the table if it is missing; by default it is. [`PostgresStore::schema_sql`] has the statement.
    pub fn create_table(mut self, create: bool) -> Self {
        self.create_table = create;
        self
    }

    /// How many connections this store opens for calls at most; by default 4. They are opened as they are needed.
    ///
    /// The threads that renew and listen open one more each. A pool of the user's has its own limit.
    pub fn max_connections(mut self, max: u32) -> Self {
        self.max_connections = max;
        self
    }

    /// How long [`connect`](Self::connect) takes at most; by default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The connections lead to a pooler in transaction mode, such as pgbouncer; by default they do not.
    ///
    /// Then no statement is prepared, and without a [`listen_url`](Self::listen_url) waiters poll.
    pub fn transaction_pooler(mut self) -> Self {
        self.protocol = Protocol::Simple;
        self
    }

    /// Where to LISTEN, if it is not where the other statements go: the same database, past the pooler.
    pub fn listen_url(mut self, url: &str) -> Self {
        self.listen_url = Some(url.to_owned());
        self
    }

    /// Connects, checks that the database can keep locks, and that a second connection sees the same data.
    ///
    /// Needs a tokio runtime with timers. May be dropped at any time; what is left then is at most an empty table.
    ///
    /// # Errors
    /// As [`PostgresStore`] says; [`Error::InvalidOption`] also for a `max_connections` of 0 or above 1000.
    pub async fn connect(self) -> Result<PostgresStore, Error> {
        let statements = Arc::new(Statements::new(&Table::parse(&self.table)?));
        let limit = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        if !(1..=1000).contains(&limit) {
            return Err(Error::invalid_option(
                "max_connections",
                "a store needs from 1 to 1000 connections",
            ));
        }
        let connections = match self.target {
            Target::Url(url) => Connections::own(setup::parse(&url)?, limit),
            Target::Pool(pool) => Connections::Pool { pool, ours: false },
        };
        let listening = match (&self.listen_url, self.protocol) {
            (Some(url), _) => Some(Connections::own(setup::parse(url)?, 1)),
            (None, Protocol::Prepared) => Some(connections.clone()),
            (None, Protocol::Simple) => None,
        };
        let plan = Plan {
            statements: &statements,
            protocol: self.protocol,
            create_table: self.create_table,
        };
        setup::within(
            self.connect_timeout,
            Box::pin(setup::set_up(&connections, &plan)),
        )
        .await?;
        let watcher = listening.map(|listening| {
            let watcher = Watcher::new(&listening, self.protocol, &statements);
            Arc::new(watcher)
        });
        Ok(PostgresStore {
            inner: Arc::new(Inner {
                connections,
                protocol: self.protocol,
                statements,
                group: Group::new(IN_FLIGHT),
                pace: Arc::default(),
                watcher,
                sibling: false,
            }),
        })
    }
}

impl std::fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresBuilder")
            .field("table", &self.table)
            .field("create_table", &self.create_table)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout", &self.connect_timeout)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

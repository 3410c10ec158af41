//! Locks in a table of MariaDB or MySQL.

mod company;
mod connections;
mod errors;
mod setup;
mod statements;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::MySqlRow;
use sqlx::{MySqlPool, Row as _};

use self::connections::{Answer, Checkout, Connections, Query};
use self::errors::Reported;
use self::statements::{Flavour, Leases, PURGES, RENEWALS, Statements};
use self::watcher::watcher;
use crate::clock::Moment;
use crate::drivers::group::Group;
use crate::drivers::pace::Pace;
use crate::drivers::sql::{self, Lookout, Table};
use crate::error::Error;
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Doubt, ForceReleaseRequest,
    Holding, InspectRequest, ListRequest, Listed, LockStore, Page, PassRequest, Passed,
    ReleaseRequest, RenewRequest, Reply, Sent, StoreError, StoredKey, Watch,
};

const DRIVER: &str = "mysql";

/// Rows that one step of a purge looks at.
const PURGE_STEP: usize = 500;

/// How many statements for many are under way at the same time: one is prepared for while the other commits.
const IN_FLIGHT: usize = 2;

/// Locks in a table of MariaDB (10.5 or newer) or MySQL (8.0.20 or newer).
///
/// Choose it if such a server is there already. The engine cannot notify: a waiter in another process hears of a release up to
/// a twentieth of the time later that the key was held (from 2 ms to half a second), where Redis and Postgres take less than a
/// millisecond or two.
///
/// A URL is `mysql://user:password@host:port/database`, or `mariadb://..`; `@ : / %` and the like in a password are
/// percent-encoded. `?ssl-mode=REQUIRED` and the other `ssl-` options are those of sqlx, as is `?socket=path`; an option that is
/// not known is refused. Clones share their connections.
///
/// # Options
/// [`MySqlStore::builder`] and [`MySqlStore::from_pool`] take the [table](MySqlBuilder::table), [whether to create
/// it](MySqlBuilder::create_table), the [number of connections](MySqlBuilder::max_connections), and the [time to
/// connect](MySqlBuilder::connect_timeout). The role needs SELECT, INSERT and UPDATE on the table, CREATE if it is to be
/// created, and DELETE for [`purge`](MySqlStore::purge).
///
/// # Statements
/// One autocommit statement for each operation, by the primary key, which is one round trip once it was prepared on a
/// connection: `INSERT .. ON DUPLICATE KEY UPDATE` takes a key, an `UPDATE` renews, hands over or frees it. MariaDB
/// answers the first with `RETURNING`. MySQL has no such thing, so a `SELECT` follows: one round trip more for each try to take
/// a key. On MariaDB those that take and free keys at the same moment share one statement and one commit; a row that somebody
/// else keeps locked ends it after a second, and each goes by itself. Released rows stay, for they keep the token; [`purge`](MySqlStore::purge) removes those that nobody has used for long.
/// Deadlocks, lock waits that time out and `ER_CHECKREAD` (1213, 1205, 1020) are retried inside the call, and a call whose
/// connection is found dead goes out once more on another. The store's own connections are set to READ COMMITTED and a strict
/// `sql_mode`; a pool of the user's stays as it is, and sqlx adds a ping when a connection goes back to it. As long as somebody
/// waits, a thread with a connection of its own asks in one `SELECT` without locks which of the keys are held, the less often the
/// longer they are: one for a process, however many wait. `renew_many` is one `UPDATE`, and a `SELECT` if not all were held.
///
/// # What it holds through
///
/// | | | shown by the tests |
/// |---|---|---|
/// | exclusion holds through | the death of any process (`kill -9`), of the server (it comes back with all leases) and of any connection; every isolation level, `sql_mode`, character set and session time zone | `mysql::clocks::a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry`, `mysql::faults::a_server_that_is_frozen_or_dies_is_a_store_error_and_nothing_stays_behind`, `mysql::faults::a_killed_connection_is_replaced_and_nobody_notices`, `mysql::load::repeatable_read_and_any_mode_and_snapshots`, `mysql::load::read_committed`, `mysql::load::serializable`, `mysql::load::a_latin1_database_keeps_every_key`, `mysql::load::clients_of_other_time_zones_exclude_each_other` |
/// | may break on | a step of the server's clock; a failover to a replica that lacks the last writes; servers of a Galera cluster or group replication that are written to at once (not tried); `innodb_flush_log_at_trx_commit` other than 1 with a power cut | `doubts::a_step_of_the_clock_of_mariadb_is_told`; not tested: power cuts, lagging replicas and clusters, which no test can order |
/// | the token survives | release, expiry, force release, purge and restart; the loss of the table by its floor at the server's clock | `mysql::mariadb::tokens_rise_over_a_release`, `mysql::mariadb::tokens_rise_over_an_expiry`, `mysql::mariadb::tokens_rise_over_a_force_release`, `mysql::load::a_purge_disturbs_nobody_and_no_token_falls`, `mysql::faults::a_server_that_is_frozen_or_dies_is_a_store_error_and_nothing_stays_behind`, `mysql::mariadb::a_token_is_not_behind_the_time` |
/// | clock | the server's, as `UTC_TIMESTAMP(6)` at the start of each statement | `mysql::clocks::clients_an_hour_fast_and_slow_exclude_each_other`, `mysql::load::a_lease_outlasts_the_change_to_summer_time` |
/// | scope | all clients of one server | `mysql::load::two_thousand_increments_in_four_processes_are_two_thousand` |
///
/// MySQL's usual accounts (`caching_sha2_password`) need TLS, by the feature `tls-rustls` or `tls-native-tls`: else [`connect`](
/// MySqlStore::connect) says [`Unsupported`](crate::ConnectKind::Unsupported). MySQL is supported by its documentation: the tests run on MariaDB 10.11, with MySQL's extra `SELECT` tried there too. The row
/// alias (`VALUES (..) AS asked`) that replaces `VALUES(column)` on MySQL was not run on a server.
///
/// # Errors
/// [`Error::Connect`] with the [kind](crate::ConnectKind) of what is wrong with the server, before any lock is taken;
/// [`Error::InvalidOption`] for a table name and numbers, before the server is asked.
///
/// # Examples
/// ```no_run
/// use verrou::Verrou;
/// use verrou::drivers::MySqlStore;
/// # async fn example() -> Result<(), verrou::Error> {
/// let store = MySqlStore::connect("mysql://shop:secret@db.example/shop").await?;
/// let verrou = Verrou::builder().store("mysql", store).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MySqlStore {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Connections,
    statements: Arc<Statements>,
    flavour: Flavour,
    group: Group,
    pace: Arc<Pace>,
    watcher: Arc<Lookout>,
    /// A sibling leaves the watcher alone when it is closed.
    sibling: bool,
}

impl MySqlStore {
    /// Connects to the server at `url`, and creates the table if it is missing.
    ///
    /// Needs a tokio runtime with timers and I/O.
    ///
    /// # Errors
    /// As [`MySqlStore`] says, within 2 s.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// A store on the server at `url`, with options.
    pub fn builder(url: &str) -> MySqlBuilder {
        MySqlBuilder::new(Target::Url(url.to_owned()))
    }

    /// A store that takes its connections from `pool`, with options; [`connect`](MySqlBuilder::connect) sets it up.
    ///
    /// The pool's settings stay as they are, and closing the store leaves the pool open. The thread that renews leases opens
    /// a connection of its own with the pool's options and hooks.
    pub fn from_pool(pool: MySqlPool) -> MySqlBuilder {
        MySqlBuilder::new(Target::Pool(pool))
    }

    /// The statement that creates the table `verrou_locks`.
    #[must_use]
    pub fn schema_sql() -> String {
        statements::ddl(&format!("`{}`", sql::DEFAULT_TABLE))
    }

    /// The statement that creates the table of another name.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if that is no table name.
    pub fn schema_sql_for(table: &str) -> Result<String, Error> {
        Ok(statements::ddl(&Table::parse(table)?.quoted('`')))
    }

    /// Removes the keys that are free and were granted last longer than `idle` ago, and says how many.
    ///
    /// Tokens do not fall by it: a purged key's next one is the server's clock in microseconds, which is above all that are
    /// older than `idle`. So keep `idle` longer than the clock could ever be set back. Needs the right to DELETE.
    ///
    /// # Errors
    /// [`StoreError`] if the server fails; what was removed until then stays so.
    pub async fn purge(&self, idle: Duration) -> Result<u64, StoreError> {
        let inner = &*self.inner;
        let mut after = Vec::new();
        let mut purged = 0;
        loop {
            // A connection for each step, so that locks get theirs in between.
            let mut connection = inner.checkout().await?;
            let look = connection
                .settle(|| inner.statements.purge_look(&after, PURGE_STEP, idle))
                .await?;
            let mut old = Vec::new();
            let Some(last) = look.rows.last() else {
                return Ok(purged);
            };
            after = column(last, 0)?;
            for row in &look.rows {
                if column::<i64>(row, 1)? > 0 {
                    old.push(column::<Vec<u8>>(row, 0)?);
                }
            }
            for keys in old.chunks(PURGES) {
                purged += connection
                    .settle(|| inner.statements.purge(keys, idle))
                    .await?
                    .found;
            }
        }
    }
}

impl LockStore for MySqlStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        let inner = &self.inner;
        if inner.groups() {
            return inner.group.acquire(inner, request).await;
        }
        inner.acquire(inner.checkout().await?, &request).await
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s| s.renew(&request))
            .await?;
        Ok(reply(answer.found > 0))
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s| s.adopt(&request))
            .await?;
        if answer.found == 0 {
            return Ok(Adopted::NotHeld);
        }
        // What is no token in a column is none here.
        let token = i64::try_from(answer.last_id).unwrap_or(0);
        Ok(Adopted::Adopted {
            token: sql::token(token)?,
        })
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        let inner = &self.inner;
        if inner.groups() && request.keep.is_zero() {
            return inner.group.release(inner, request).await;
        }
        inner.release(inner.checkout().await?, &request).await
    }

    async fn pass(&self, request: PassRequest) -> Result<Passed, StoreError> {
        let answer = self.inner.call(&request.sent, |s| s.pass(&request)).await?;
        if answer.found == 0 {
            return Ok(Passed::NotHeld);
        }
        let token = i64::try_from(answer.last_id).unwrap_or(0);
        Ok(Passed::Granted {
            token: sql::token(token)?,
        })
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s| s.inspect(&request.key))
            .await?;
        answer.rows.first().map(holding).transpose()
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s| s.force_release(&request))
            .await?;
        let held = answer.found > 0;
        if held || answer.repeated {
            self.inner.watcher.released(&request.key);
        }
        if answer.repeated && !held {
            // Free now; but whether somebody held it, only the first answer knew.
            return Err(StoreError::unknown(
                "the connection broke before the answer; the key is free now",
            ));
        }
        Ok(held)
    }

    async fn renew_many(&self, requests: Vec<RenewRequest>) -> Vec<Result<Reply, StoreError>> {
        let mut replies = Vec::with_capacity(requests.len());
        for batch in requests.chunks(RENEWALS) {
            match self.inner.renew_batch(batch).await {
                Ok(Renewed::All) => replies.extend(batch.iter().map(|_| Ok(Reply::Done))),
                Ok(Renewed::Only(renewed)) => replies.extend(batch.iter().map(|request| {
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
        self.inner.watcher.watch(key)
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        let answer = self.inner.call(&request.sent, |s| s.list(&request)).await?;
        let mut listed = Vec::with_capacity(answer.rows.len());
        let mut last = None;
        for row in &answer.rows {
            let key = column::<Vec<u8>>(row, 4)?;
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
        Capabilities::new(DRIVER).watch().list().pass()
    }

    fn doubts(&self) -> Vec<Doubt> {
        self.inner.pace.take()
    }

    fn for_keeper(&self) -> Option<Self> {
        Some(Self {
            inner: Arc::new(Inner {
                connections: self.inner.connections.sibling(),
                statements: self.inner.statements.clone(),
                flavour: self.inner.flavour,
                group: Group::new(1),
                pace: self.inner.pace.clone(),
                watcher: self.inner.watcher.clone(),
                sibling: true,
            }),
        })
    }

    async fn close(&self) {
        if !self.inner.sibling {
            self.inner.watcher.close().await;
        }
        self.inner.connections.close().await;
    }
}

impl std::fmt::Debug for MySqlStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MySqlStore").finish_non_exhaustive()
    }
}

/// Which leases of a batch were renewed.
enum Renewed {
    All,
    Only(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Inner {
    async fn checkout(&self) -> Result<Checkout, StoreError> {
        // Nothing was sent yet, so this may be dropped anywhere.
        let checkout = self.connections.checkout().await;
        checkout.map_err(|error| StoreError::not_applied(Reported::new(&error)))
    }

    /// One statement on a connection of its own.
    ///
    /// If it is dropped before `sent` is marked, nothing went out; after that the statement is executed or not.
    async fn call(
        &self,
        sent: &Sent,
        statement: impl Fn(&Statements) -> Query,
    ) -> Result<Answer, StoreError> {
        let mut connection = self.checkout().await?;
        sent.mark();
        connection.settle(|| statement(&self.statements)).await
    }

    /// Whether a statement for many can answer each of them.
    fn groups(&self) -> bool {
        self.flavour == Flavour::MariaDb
    }

    async fn renew_batch(&self, batch: &[RenewRequest]) -> Result<Renewed, StoreError> {
        let leases = Leases::new(batch);
        let mut connection = self.checkout().await?;
        for request in batch {
            request.sent.mark();
        }
        let begun = Moment::now();
        let renewed = connection
            .settle(|| self.statements.renew_many(&leases))
            .await?;
        if renewed.last_id > 0 {
            self.heard(renewed.last_id, begun);
        }
        if usize::try_from(renewed.found) == Ok(leases.count()) {
            return Ok(Renewed::All);
        }
        // A lease that is live now was so before, and so was renewed.
        let begun = Moment::now();
        let look = connection
            .settle(|| self.statements.look_many(&leases))
            .await?;
        let mut live = Vec::with_capacity(batch.len());
        for row in &look.rows {
            match column::<i64>(row, 2)? {
                0 => live.push((column(row, 0)?, column(row, 1)?)),
                now => self.heard(now.unsigned_abs(), begun),
            }
        }
        Ok(Renewed::Only(live))
    }

    /// The server's clock, in an answer to what was sent at `begun`.
    fn heard(&self, micros: u64, begun: Moment) {
        self.pace.heard(i64::try_from(micros).unwrap_or(0), begun);
    }
}

fn reply(done: bool) -> Reply {
    if done { Reply::Done } else { Reply::NotHeld }
}

/// A row of `holder, token, remaining, held for`.
fn holding(row: &MySqlRow) -> Result<Holding, StoreError> {
    Ok(Holding::new(
        String::from_utf8_lossy(&column::<Vec<u8>>(row, 0)?),
        sql::token(column(row, 1)?)?,
        sql::between(0, column(row, 2)?),
        sql::between(0, column(row, 3)?),
    ))
}

fn first(answer: &Answer) -> Result<&MySqlRow, StoreError> {
    answer
        .rows
        .first()
        .ok_or_else(|| StoreError::unknown(sqlx::Error::RowNotFound))
}

/// The statement was executed, whatever is wrong with its answer.
fn column<'r, T>(row: &'r MySqlRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::MySql> + sqlx::Type<sqlx::MySql>,
{
    row.try_get(index).map_err(StoreError::unknown)
}

/// A [`MySqlStore`] that is not connected yet.
#[must_use = "nothing happens before `connect`"]
pub struct MySqlBuilder {
    target: Target,
    table: String,
    create_table: bool,
    max_connections: u32,
    connect_timeout: Duration,
    read_back: bool,
}

enum Target {
    Url(String),
    Pool(MySqlPool),
}

impl MySqlBuilder {
    fn new(target: Target) -> Self {
        Self {
            target,
            table: sql::DEFAULT_TABLE.to_owned(),
            create_table: true,
            max_connections: 8,
            connect_timeout: Duration::from_secs(2),
            read_back: false,
        }
    }

    /// The table, `name` or `database.name`; by default `verrou_locks` in the database of the URL.
    pub fn table(mut self, table: &str) -> Self {
        table.clone_into(&mut self.table);
        self
    }

    /// Whether to create the table if it is missing; by default it is. [`MySqlStore::schema_sql`] has the statement.
    pub fn create_table(mut self, create: bool) -> Self {
        self.create_table = create;
        self
    }

    /// How many connections this store opens for calls at most; by default 8. They are opened as they are needed.
    ///
    /// The server commits what several connections write in one go, so more may write more. The thread that renews opens one
    /// more. A pool of the user's has its own limit.
    pub fn max_connections(mut self, max: u32) -> Self {
        self.max_connections = max;
        self
    }

    /// How long [`connect`](Self::connect) takes at most; by default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// For the tests of the way that MySQL goes, on MariaDB.
    #[doc(hidden)]
    pub fn __read_back(mut self) -> Self {
        self.read_back = true;
        self
    }

    /// Connects, checks that the server can keep locks, and that a second connection sees the same data.
    ///
    /// Needs a tokio runtime with timers and I/O. May be dropped at any time; what is left then is at most an empty table. One
    /// row, of the empty key, stays in the table: it is written by each `connect`.
    ///
    /// # Errors
    /// As [`MySqlStore`] says; [`Error::InvalidOption`] also for a `max_connections` of 0 or above 1000, and for a
    /// `connect_timeout` of 0 or above one hour.
    pub async fn connect(self) -> Result<MySqlStore, Error> {
        let table = Table::parse(&self.table)?;
        let limit = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        if !(1..=1000).contains(&limit) {
            return Err(Error::invalid_option(
                "max_connections",
                "a store needs from 1 to 1000 connections",
            ));
        }
        if self.connect_timeout.is_zero() || self.connect_timeout > Duration::from_secs(3600) {
            return Err(Error::invalid_option(
                "connect_timeout",
                "connecting takes more than no time, and at most an hour",
            ));
        }
        let connections = match self.target {
            Target::Url(url) => Connections::own(setup::parse(&url, &table)?, limit),
            Target::Pool(pool) => Connections::Pool(pool),
        };
        let statements = Arc::new(Statements::new(table));
        let checked = setup::set_up(
            &connections,
            &statements,
            self.create_table,
            self.connect_timeout,
        );
        let flavour = match checked.await? {
            Flavour::MariaDb if self.read_back => Flavour::ReadBack,
            flavour => flavour,
        };
        let watcher = Arc::new(watcher(&connections, &statements));
        Ok(MySqlStore {
            inner: Arc::new(Inner {
                connections,
                statements,
                flavour,
                group: Group::new(IN_FLIGHT),
                pace: Arc::default(),
                watcher,
                sibling: false,
            }),
        })
    }
}

impl std::fmt::Debug for MySqlBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MySqlBuilder")
            .field("table", &self.table)
            .field("create_table", &self.create_table)
            .field("max_connections", &self.max_connections)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

//! Locks in a file that the processes of one host share.

mod company;
mod connections;
mod doorbell;
mod files;
mod setup;
mod statements;
#[cfg(test)]
mod tests;
mod watcher;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqlitePool};

use self::connections::{Answer, Checkout, Connections, Query};
use self::files::Location;
use self::setup::Ready;
use self::statements::{Now, RENEWALS, Statements};
use self::watcher::Watched;
use crate::drivers::group::Group;
use crate::drivers::sql::{self, Lookout, Table};
use crate::error::Error;
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, ForceReleaseRequest, Holding,
    InspectRequest, ListRequest, Listed, LockStore, Page, PassRequest, Passed, ReleaseRequest,
    RenewRequest, Reply, Sent, StoreError, StoredKey, Watch,
};

const DRIVER: &str = "sqlite";

/// SQLite has one writer at a time.
const RUNNERS: usize = 1;

/// Rows that one step of a purge looks at.
const PURGE_STEP: i64 = 500;

/// Locks in an SQLite file that the processes of one host share.
///
/// Choose it for processes on one machine, where nothing has to be installed or run: SQLite is built in. For several
/// machines take a store with a server; a network file system is no way around that, and refused.
///
/// A URL is `sqlite:path`, `sqlite://path` or a plain path; `?mode=rw` leaves a missing file missing. The file is created
/// with rights for its owner alone (0600). Clones share their connections.
///
/// # Options
/// [`SqliteStore::builder`] and [`SqliteStore::from_pool`] take the [table](SqliteBuilder::table), [whether to create
/// it](SqliteBuilder::create_table), and the [number of connections](SqliteBuilder::max_connections).
///
/// # Statements
/// One autocommit statement for each operation, by the primary key: an upsert with `RETURNING` takes a key (and a `SELECT`
/// looks who has it, if it is held), an `UPDATE` renews, hands over, passes on or frees it. What is to be taken or freed
/// while another statement is under way goes in one upsert with all that came meanwhile, for the file has one writer at a
/// time and a commit costs as much for many rows as for one. Released rows stay, for they keep the token;
/// [`purge`](SqliteStore::purge) removes those that nobody has used for long. The file is switched to write-ahead
/// logging with `synchronous = NORMAL`; a pool of the user's stays as it is. `SQLITE_BUSY` is waited for inside the call:
/// give a pool a `busy_timeout` (sqlx's default is 5 s), for without one this waiting is a busy loop.
///
/// Waiters in other processes mostly hear of a release within a fraction of a millisecond: as long as somebody waits, a
/// thread with a connection of its own asks for `PRAGMA data_version` whenever the log is written to (Linux, by inotify),
/// and each 25 ms whatever happens. Where the log cannot be watched it asks each 1 to 3 ms.
///
/// # What it holds through
///
/// | | | shown by the tests |
/// |---|---|---|
/// | exclusion holds through | the death of any process (`kill -9`), steps of the wall clock, suspend, a full disk; a power cut or reboot ends every lease | `it::processes::the_key_of_a_killed_holder_is_free_at_its_expiry_and_not_before`, `it::processes::a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry`, `verrou::drivers::sqlite::tests::a_grant_whose_commit_fails_is_none`, `verrou::drivers::sqlite::tests::a_lease_from_before_a_reboot_is_over`; not tested: suspend and power cuts, for machines of tests have neither |
/// | may break on | removing, replacing or copying the file while it is in use; hosts, virtual machines or time namespaces that share it; a file system whose locks do not work (FUSE cannot be checked); closing a file descriptor of the lock file that was opened by other means than SQLite, for that drops the locks of SQLite | `verrou::drivers::sqlite::tests::a_file_that_was_replaced_gets_no_new_connection`, `verrou::drivers::sqlite::tests::what_cannot_be_a_store_is_refused_by_kind_and_told_why`, `verrou::drivers::sqlite::files::tests::file_systems_that_hosts_share_are_refused`; not tested: hosts, machines and FUSE that share a file, and what else the process does to it |
/// | the token survives | release, expiry, force release, purge and a reboot; the loss of the file by its floor at the wall clock; with `synchronous = NORMAL` a power cut may take the last grants back, and the same floor covers them | `contract::sqlite::tokens_rise_over_a_release`, `contract::sqlite::tokens_rise_over_an_expiry`, `contract::sqlite::tokens_rise_over_a_force_release`, `it::purging::a_purge_of_sqlite_disturbs_nobody_and_no_token_falls`, `verrou::drivers::sqlite::tests::a_lease_from_before_a_reboot_is_over`, `contract::sqlite::a_token_is_not_behind_the_time`; not tested: a power cut |
/// | clock | on Linux the time since boot, suspend included, with the id of the boot in each row; elsewhere the wall clock, and a step of it may end or lengthen leases | `it::processes::clients_an_hour_fast_and_slow_exclude_each_other`, `verrou::drivers::sqlite::tests::a_lease_from_before_a_reboot_is_over`; not tested: steps of the wall clock elsewhere than on Linux |
/// | scope | the processes of one host (containers, if they share the file's directory and the time namespace) | `it::processes::two_thousand_increments_in_four_processes_are_two_thousand`; not tested: containers |
///
/// # Errors
/// [`Error::Connect`] with the [kind](crate::ConnectKind) of what is wrong with the file, before any lock is taken; its
/// source names the thing and the way out, and never shows the URL.
/// [`Error::InvalidOption`] for a table name, before the file is looked at.
///
/// # Examples
/// ```
/// use verrou::{Verrou, drivers::SqliteStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("verrou-doc-{}.db", std::process::id()));
/// # let path = path.to_str().ok_or("no UTF-8")?;
///
/// let verrou = Verrou::builder()
///     .store("sqlite", SqliteStore::connect(path).await?)
///     .build()?;
/// let total = verrou.create_lock("report").run(async |_guard| 40 + 2).await?;
/// assert_eq!(total, 42);
/// verrou.shutdown().await?;
/// # for suffix in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{path}{suffix}")); }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Connections,
    statements: Arc<Statements>,
    boot: Arc<str>,
    watcher: Arc<Lookout>,
    group: Group,
    /// A sibling leaves the watcher alone when it is closed.
    sibling: bool,
}

impl SqliteStore {
    /// Opens the lock file at `url`, and creates it and its table if they are missing.
    ///
    /// Needs a tokio runtime with timers.
    ///
    /// # Errors
    /// As [`SqliteStore`] says.
    ///
    /// # Cancel safety
    /// May be dropped at any time; what is left then is at most an empty file or table.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// A store on the file at `url`, with options.
    pub fn builder(url: &str) -> SqliteBuilder {
        SqliteBuilder::new(Target::Url(url.to_owned()))
    }

    /// A store that takes its connections from `pool`, with options; [`connect`](SqliteBuilder::connect) sets it up.
    ///
    /// The pool's pragmas stay as they are, and closing the store leaves the pool open. The thread that renews leases opens
    /// a connection of its own with the pool's options and hooks.
    pub fn from_pool(pool: SqlitePool) -> SqliteBuilder {
        SqliteBuilder::new(Target::Pool(pool))
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
        Ok(statements::ddl(&table_named(table)?.quoted('"')))
    }

    /// Removes the keys that are free and were granted last longer than `idle` ago, and says how many.
    ///
    /// Tokens do not fall by it: a purged key's next one is the wall clock in microseconds, which is above all that are
    /// older than `idle`. So keep `idle` longer than the wall clock could ever be set back.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be written; what was removed until then stays so.
    ///
    /// # Cancel safety
    /// May be dropped at any time: it works in steps of one statement each, and a step that has begun is done or not.
    pub async fn purge(&self, idle: Duration) -> Result<u64, StoreError> {
        let inner = &*self.inner;
        let limit = sql::wall_micros().saturating_sub(sql::micros(idle));
        let mut after = Vec::new();
        let mut purged = 0;
        loop {
            // A connection for each step, so that locks get theirs in between; and few rows, so that writers do.
            let mut connection = inner.writer().await?;
            let (look, _) = connection
                .settle(|| {
                    inner.made(|s, boot, now| s.purge_look(&after, PURGE_STEP, limit, boot, now))
                })
                .await?;
            let row = first(&look)?;
            let Some(last) = column::<Option<Vec<u8>>>(row, 0)? else {
                return Ok(purged);
            };
            if column::<i64>(row, 1)? > 0 {
                let (gone, _) = connection
                    .settle(|| inner.made(|s, boot, now| s.purge(&after, &last, limit, boot, now)))
                    .await?;
                purged += gone.changed;
            }
            after = last;
        }
    }
}

impl LockStore for SqliteStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        self.inner.group.acquire(self, request).await
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s, boot, now| s.renew(&request, boot, now))
            .await?;
        Ok(reply(answer.changed > 0))
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s, boot, now| s.adopt(&request, boot, now))
            .await?;
        match answer.rows.first() {
            Some(row) => Ok(Adopted::Adopted {
                token: sql::token(column(row, 0)?)?,
            }),
            None => Ok(Adopted::NotHeld),
        }
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        self.inner.group.release(self, request).await
    }

    async fn pass(&self, request: PassRequest) -> Result<Passed, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s, boot, now| s.pass(&request, boot, now))
            .await?;
        match answer.rows.first() {
            Some(row) => Ok(Passed::Granted {
                token: sql::token(column(row, 0)?)?,
            }),
            None => Ok(Passed::NotHeld),
        }
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let inner = &*self.inner;
        let mut connection = inner.reader().await?;
        request.sent.mark();
        let (answer, now) = connection
            .settle(|| inner.made(|s, _, _| s.row(&request.key)))
            .await?;
        match answer.rows.first() {
            Some(row) if inner.is_live(row, now)? => inner.holding(row, now).map(Some),
            _ => Ok(None),
        }
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let answer = self
            .inner
            .call(&request.sent, |s, boot, now| {
                s.force_release(&request, boot, now)
            })
            .await?;
        let held = answer.changed > 0;
        if held {
            self.inner.watcher.released(&request.key);
        }
        Ok(held)
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
        self.inner.watcher.watch(key)
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        let inner = &*self.inner;
        let mut connection = inner.reader().await?;
        request.sent.mark();
        let (answer, now) = connection
            .settle(|| inner.made(|s, _, _| s.list(&request)))
            .await?;
        let mut listed = Vec::with_capacity(answer.rows.len());
        let mut last = None;
        for row in &answer.rows {
            let key = column::<Vec<u8>>(row, 5)?;
            // What is no stored key was put there by somebody else.
            if let Some(key) = StoredKey::from_bytes(&key)
                && inner.is_live(row, now)?
            {
                listed.push(Listed::new(key, inner.holding(row, now)?));
            }
            last = Some(key);
        }
        let next = sql::next_page(&request, answer.rows.len(), last);
        Ok(Page::new(listed, next))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(DRIVER).watch().list().pass()
    }

    fn for_keeper(&self) -> Option<Self> {
        Some(Self {
            inner: Arc::new(Inner {
                connections: self.inner.connections.sibling(),
                statements: self.inner.statements.clone(),
                boot: self.inner.boot.clone(),
                watcher: self.inner.watcher.clone(),
                group: Group::new(RUNNERS),
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

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No path: a name of a file can say too much.
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

impl Inner {
    async fn writer(&self) -> Result<Checkout, StoreError> {
        // Nothing was sent yet, so this may be dropped anywhere.
        opened(|| self.connections.writer()).await
    }

    async fn reader(&self) -> Result<Checkout, StoreError> {
        opened(|| self.connections.reader()).await
    }

    /// A statement by the clocks of this moment, which it comes back with.
    fn made(&self, statement: impl FnOnce(&Statements, &Arc<str>, Now) -> Query) -> (Query, Now) {
        let now = Now::read();
        (statement(&self.statements, &self.boot, now), now)
    }

    /// One statement on a connection of its own.
    ///
    /// If it is dropped before `sent` is marked, nothing went out; after that the statement is executed or not.
    async fn call(
        &self,
        sent: &Sent,
        statement: impl Fn(&Statements, &Arc<str>, Now) -> Query,
    ) -> Result<Answer, StoreError> {
        let mut connection = self.writer().await?;
        sent.mark();
        let (answer, _) = connection.settle(|| self.made(&statement)).await?;
        Ok(answer)
    }

    /// The keys and owners that were renewed.
    async fn renew_batch(
        &self,
        batch: &[RenewRequest],
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let mut connection = self.writer().await?;
        for request in batch {
            request.sent.mark();
        }
        let (answer, _) = connection
            .settle(|| self.made(|s, boot, now| s.renew_many(batch, boot, now)))
            .await?;
        answer
            .rows
            .iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
            .collect()
    }

    /// Whether a row of `holder, token, boot, granted, expiry` is held.
    fn is_live(&self, row: &SqliteRow, now: Now) -> Result<bool, StoreError> {
        Ok(!self.remaining(row, now)?.is_zero())
    }

    fn remaining(&self, row: &SqliteRow, now: Now) -> Result<Duration, StoreError> {
        if column::<String>(row, 2)? != *self.boot {
            return Ok(Duration::ZERO);
        }
        Ok(sql::between(now.lease, column(row, 4)?))
    }

    fn holding(&self, row: &SqliteRow, now: Now) -> Result<Holding, StoreError> {
        Ok(Holding::new(
            column::<String>(row, 0)?,
            sql::token(column(row, 1)?)?,
            self.remaining(row, now)?,
            sql::between(column(row, 3)?, now.lease),
        ))
    }
}

/// A connection, also while somebody has the file locked.
async fn opened<F>(open: impl Fn() -> F) -> Result<Checkout, StoreError>
where
    F: Future<Output = Result<Checkout, sqlx::Error>>,
{
    loop {
        match open().await {
            Ok(checkout) => return Ok(checkout),
            // A connection that is opened reads the file; SQLite has waited for it.
            Err(error) if connections::is_busy(&error) => tokio::task::yield_now().await,
            Err(error) => return Err(StoreError::not_applied(error)),
        }
    }
}

fn reply(done: bool) -> Reply {
    if done { Reply::Done } else { Reply::NotHeld }
}

fn first(answer: &Answer) -> Result<&SqliteRow, StoreError> {
    answer
        .rows
        .first()
        .ok_or_else(|| StoreError::unknown(sqlx::Error::RowNotFound))
}

/// The statement was executed, whatever is wrong with its answer.
fn column<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(index).map_err(StoreError::unknown)
}

/// A [`SqliteStore`] that is not connected yet.
#[must_use = "nothing happens before `connect`"]
pub struct SqliteBuilder {
    target: Target,
    table: String,
    create_table: bool,
    max_connections: u32,
}

enum Target {
    Url(String),
    Pool(SqlitePool),
}

impl SqliteBuilder {
    fn new(target: Target) -> Self {
        Self {
            target,
            table: sql::DEFAULT_TABLE.to_owned(),
            create_table: true,
            max_connections: 4,
        }
    }

    /// The table, `name` or `schema.name`, where a schema is an attached database; by default `verrou_locks`.
    pub fn table(mut self, table: &str) -> Self {
        table.clone_into(&mut self.table);
        self
    }

    /// Whether to create the table if it is missing; by default it is. [`SqliteStore::schema_sql`] has the statement.
    pub fn create_table(mut self, create: bool) -> Self {
        self.create_table = create;
        self
    }

    /// How many connections this store opens for calls at most; by default 4. They are opened as they are needed.
    ///
    /// SQLite has one writer at a time, so one of them writes and the others read. The threads that renew and watch open one
    /// more each. A pool of the user's has its own limit.
    pub fn max_connections(mut self, max: u32) -> Self {
        self.max_connections = max;
        self
    }

    /// Opens the file, checks that it can keep locks, and that a second connection sees the same data.
    ///
    /// Needs a tokio runtime with timers.
    ///
    /// # Errors
    /// As [`SqliteStore`] says; [`Error::InvalidOption`] also for a `max_connections` of 0 or above 1000.
    ///
    /// # Cancel safety
    /// May be dropped at any time; what is left then is at most an empty file or table.
    pub async fn connect(self) -> Result<SqliteStore, Error> {
        let statements = Arc::new(Statements::new(table_named(&self.table)?));
        let limit = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        if !(1..=1000).contains(&limit) {
            return Err(Error::invalid_option(
                "max_connections",
                "a store needs from 1 to 1000 connections",
            ));
        }
        let Ready {
            connections,
            boot,
            file,
        } = match self.target {
            Target::Url(url) => {
                let location = Location::parse(&url)?;
                setup::open(location, limit, &statements, self.create_table).await?
            }
            Target::Pool(pool) => {
                let connections = Connections::Pool { pool, ours: false };
                setup::set_up(connections, &statements, self.create_table).await?
            }
        };
        let watched = Watched {
            connections: connections.clone(),
            statements: statements.clone(),
            boot: boot.clone(),
            file,
        };
        let watcher = Arc::new(watched.watcher());
        Ok(SqliteStore {
            inner: Arc::new(Inner {
                connections,
                statements,
                boot,
                watcher,
                group: Group::new(RUNNERS),
                sibling: false,
            }),
        })
    }
}

impl std::fmt::Debug for SqliteBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteBuilder")
            .field("table", &self.table)
            .field("create_table", &self.create_table)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// A table name, and none that SQLite keeps for itself.
fn table_named(text: &str) -> Result<Table, Error> {
    let table = Table::parse(text)?;
    let reserved = table
        .name()
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
    if reserved {
        return Err(Error::invalid_option(
            "table",
            "names that begin with `sqlite_` are SQLite's own",
        ));
    }
    Ok(table)
}

//! The statements of one table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use super::connections::Query;
use crate::drivers::group::Errand;
use crate::drivers::sql::{Table, key_range, micros};
use crate::store::{
    AcquireRequest, AdoptRequest, ForceReleaseRequest, ListRequest, PassRequest, ReleaseRequest,
    RenewRequest, StoredKey,
};

/// The server's clock in microseconds of UTC. It stands still during a statement, so each judges by one moment, and it is
/// the same for every session: `NOW()` and `UNIX_TIMESTAMP()` follow the session's time zone.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// As many renewals go in one statement at most.
pub(super) const RENEWALS: usize = 128;

/// As many rows go in one delete at most: others wait for it no longer than that takes.
pub(super) const PURGES: usize = 64;

/// As many keys are looked at in one statement at most.
pub(super) const LOOKS: usize = 64;

/// A batch of `count` goes as one of this size, so that few texts are to be prepared.
fn padded(count: usize) -> usize {
    [1, 4, 16, 64]
        .into_iter()
        .find(|size| *size >= count)
        .unwrap_or(128)
}

/// What answers, as far as the statements differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    /// `INSERT .. RETURNING`, and `VALUES(column)` for what was asked for.
    MariaDb,
    /// No `RETURNING`, and an alias for the row that was asked for, since `VALUES(column)` is deprecated.
    MySql,
    /// No `RETURNING` on MariaDB: for the tests of what follows then.
    ReadBack,
}

pub(super) struct Statements {
    table: Table,
    quoted: String,
    acquire: Acquire,
    batches: Batches,
    look: SqlStr,
    inspect: SqlStr,
    renew: SqlStr,
    adopt: SqlStr,
    pass: SqlStr,
    release: SqlStr,
    force_release: SqlStr,
    list: SqlStr,
}

/// The texts of one statement.
struct Acquire {
    maria_db: SqlStr,
    my_sql: SqlStr,
    read_back: SqlStr,
}

fn sql(text: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
}

impl Statements {
    pub(super) fn new(table: Table) -> Self {
        let quoted = table.quoted('`');
        let t = &quoted;
        let values = upsert(t, "", |column| format!("VALUES(`{column}`)"));
        Self {
            acquire: Acquire {
                maria_db: sql(format!(
                    "{values} RETURNING COALESCE(`owner` = ?, 0), `token`, `expiry` - {NOW}"
                )),
                read_back: sql(values),
                my_sql: sql(upsert(t, "AS `asked` ", |column| {
                    format!("`asked`.`{column}`")
                })),
            },
            batches: Batches::new(t),
            look: sql(format!(
                "SELECT COALESCE(`owner` = ?, 0), `token`, `expiry` - {NOW} FROM {t} WHERE `key` = ?"
            )),
            inspect: sql(format!(
                "SELECT `holder`, `token`, `expiry` - {NOW}, {NOW} - `granted` FROM {t} \
                 WHERE `key` = ? AND `expiry` > {NOW}"
            )),
            renew: sql(format!(
                "UPDATE {t} SET `expiry` = GREATEST(`expiry`, {NOW} + CAST(? AS SIGNED)) \
                 WHERE `key` = ? AND `owner` = ? AND `expiry` > {NOW}"
            )),
            // The token comes back with the count of rows, as the number that was inserted last.
            adopt: sql(format!(
                "UPDATE {t} SET `owner` = ?, `holder` = ?, `token` = LAST_INSERT_ID(`token`), \
                 `expiry` = GREATEST(`expiry`, {NOW} + CAST(? AS SIGNED)) \
                 WHERE `key` = ? AND `owner` IN (?, ?) AND `expiry` > {NOW}"
            )),
            // The owner comes last: what is before it still sees whose the key was.
            pass: sql(format!(
                "UPDATE {t} SET \
                 `holder` = IF(`owner` = ?, `holder`, ?), \
                 `token` = LAST_INSERT_ID(IF(`owner` = ?, `token`, GREATEST(`token` + 1, {NOW}))), \
                 `granted` = IF(`owner` = ?, `granted`, {NOW}), \
                 `expiry` = GREATEST(IF(`owner` = ?, `expiry`, 0), {NOW} + CAST(? AS SIGNED)), \
                 `owner` = ? \
                 WHERE `key` = ? AND `owner` IN (?, ?) AND `expiry` > {NOW}"
            )),
            release: sql(format!(
                "UPDATE {t} SET `owner` = NULL, `holder` = '', \
                 `expiry` = IF(? > 0, {NOW} + CAST(? AS SIGNED), 0) \
                 WHERE `key` = ? AND `owner` = ? AND `expiry` > {NOW}"
            )),
            force_release: sql(format!(
                "UPDATE {t} SET `owner` = NULL, `holder` = '', `expiry` = 0 \
                 WHERE `key` = ? AND `expiry` > {NOW}"
            )),
            list: sql(format!(
                "SELECT `holder`, `token`, `expiry` - {NOW}, {NOW} - `granted`, `key` FROM {t} \
                 WHERE `key` >= ? AND `key` < ? ORDER BY `key` LIMIT ?"
            )),
            table,
            quoted,
        }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Race-free: of several that do this at once, one makes the table and the others find it.
    pub(super) fn ddl(&self) -> String {
        ddl(&self.quoted)
    }

    /// Writes to the row of the empty key, which no lock has, and needs the rights of every operation.
    ///
    /// Its token rises with each writing, so that who reads a smaller one reads from somewhere else.
    pub(super) fn probe(&self) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO {} (`key`, `holder`, `token`, `granted`, `expiry`) VALUES ('', '', {NOW}, 0, 0) \
             ON DUPLICATE KEY UPDATE `token` = GREATEST(`token` + 1, {NOW})",
            self.quoted
        )))
    }

    /// Finds the row of the probe and changes nothing.
    pub(super) fn probe_count(&self) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE {} SET `expiry` = `expiry` WHERE `key` = ''",
            self.quoted
        )))
    }

    pub(super) fn probe_look(&self) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "SELECT `token` FROM {} WHERE `key` = ''",
            self.quoted
        )))
    }

    pub(super) fn acquire(&self, request: &AcquireRequest, flavour: Flavour) -> Query {
        let text = match flavour {
            Flavour::MariaDb => &self.acquire.maria_db,
            Flavour::MySql => &self.acquire.my_sql,
            Flavour::ReadBack => &self.acquire.read_back,
        };
        let query = sqlx::query(text.clone())
            .bind(bytes(&request.key))
            .bind(request.owner.as_bytes().to_vec())
            .bind(request.holder.as_bytes().to_vec())
            .bind(micros(request.ttl));
        match flavour {
            Flavour::MariaDb => query.bind(request.owner.as_bytes().to_vec()),
            Flavour::MySql | Flavour::ReadBack => query,
        }
    }

    /// Acquires and releases, each of another key, in the order of the keys. Answers a row for each, in that order, and some
    /// more: the owner, the token, what is left of the lease, and whether this statement has changed hands with it.
    pub(super) fn batch(&self, errands: &[Errand]) -> Query {
        let size = BATCHES.into_iter().find(|size| *size >= errands.len());
        let size = size.unwrap_or(errands.len());
        let mut query = sqlx::query(self.batches.of(size));
        let last = errands.last();
        for errand in errands
            .iter()
            .chain(std::iter::repeat_with(|| last).flatten())
            .take(size)
        {
            let (owner, holder, takes, ttl) = match errand {
                Errand::Acquire(request) => (
                    request.owner,
                    request.holder.as_bytes(),
                    1,
                    micros(request.ttl),
                ),
                Errand::Release(request) => (request.owner, &[][..], 0, 0),
            };
            query = query
                .bind(bytes(errand.key()))
                .bind(owner.as_bytes().to_vec())
                .bind(holder.to_vec())
                .bind(takes)
                .bind(takes)
                .bind(ttl);
        }
        query
    }

    /// Whether the owner of `request` has the key, its token, and what is left: what an acquire answers where it can.
    pub(super) fn look(&self, request: &AcquireRequest) -> Query {
        sqlx::query(self.look.clone())
            .bind(request.owner.as_bytes().to_vec())
            .bind(bytes(&request.key))
    }

    pub(super) fn inspect(&self, key: &StoredKey) -> Query {
        sqlx::query(self.inspect.clone()).bind(bytes(key))
    }

    pub(super) fn renew(&self, request: &RenewRequest) -> Query {
        sqlx::query(self.renew.clone())
            .bind(micros(request.ttl))
            .bind(bytes(&request.key))
            .bind(request.owner.as_bytes().to_vec())
    }

    /// Renews what is held of `leases`, at most [`RENEWALS`], and locks the rows in the order of their keys. The server's clock
    /// comes back with the count of rows, as the number that was inserted last; none does if there was nothing to renew.
    pub(super) fn renew_many(&self, leases: &Leases) -> Query {
        let size = padded(leases.0.len());
        let times = |text: &str, between: &str| vec![text; size].join(between);
        let text = format!(
            // Without the index, the rows of everybody would be locked, in an order of the server's.
            "UPDATE {} FORCE INDEX (PRIMARY) SET `expiry` = GREATEST(`expiry`, LAST_INSERT_ID({NOW}) + CASE {} END) \
             WHERE ({}) AND `expiry` > {NOW}",
            self.quoted,
            times("WHEN `key` = ? AND `owner` = ? THEN CAST(? AS SIGNED)", " "),
            times("(`key` = ? AND `owner` = ?)", " OR "),
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for ((key, owner), ttl) in leases.padded(size) {
            query = query.bind(key.clone()).bind(owner.clone()).bind(*ttl);
        }
        for ((key, owner), _) in leases.padded(size) {
            query = query.bind(key.clone()).bind(owner.clone());
        }
        query
    }

    /// Key and owner of those of `leases` that are live, and a row of the server's clock.
    pub(super) fn look_many(&self, leases: &Leases) -> Query {
        let size = padded(leases.0.len());
        let text = format!(
            "SELECT `key`, `owner`, 0 FROM {} WHERE `key` IN ({}) AND `owner` IS NOT NULL AND `expiry` > {NOW} \
             UNION ALL SELECT '', '', {NOW}",
            self.quoted,
            vec!["?"; size].join(", "),
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for ((key, _), _) in leases.padded(size) {
            query = query.bind(key.clone());
        }
        query
    }

    pub(super) fn adopt(&self, request: &AdoptRequest) -> Query {
        sqlx::query(self.adopt.clone())
            .bind(request.owner.as_bytes().to_vec())
            .bind(request.holder.as_bytes().to_vec())
            .bind(micros(request.ttl))
            .bind(bytes(&request.key))
            .bind(request.from.as_bytes().to_vec())
            .bind(request.owner.as_bytes().to_vec())
    }

    pub(super) fn pass(&self, request: &PassRequest) -> Query {
        let owner = request.owner.as_bytes().to_vec();
        sqlx::query(self.pass.clone())
            .bind(owner.clone())
            .bind(request.holder.as_bytes().to_vec())
            .bind(owner.clone())
            .bind(owner.clone())
            .bind(owner.clone())
            .bind(micros(request.ttl))
            .bind(owner.clone())
            .bind(bytes(&request.key))
            .bind(request.from.as_bytes().to_vec())
            .bind(owner)
    }

    pub(super) fn release(&self, request: &ReleaseRequest) -> Query {
        let keep = micros(request.keep);
        sqlx::query(self.release.clone())
            .bind(keep)
            .bind(keep)
            .bind(bytes(&request.key))
            .bind(request.owner.as_bytes().to_vec())
    }

    pub(super) fn force_release(&self, request: &ForceReleaseRequest) -> Query {
        sqlx::query(self.force_release.clone()).bind(bytes(&request.key))
    }

    /// Answers as inspect does, and the key, also of rows that are not held.
    pub(super) fn list(&self, request: &ListRequest) -> Query {
        let (from, to) = key_range(request);
        sqlx::query(self.list.clone())
            .bind(from)
            .bind(to)
            .bind(request.limit.get())
    }

    /// Which of `keys`, at most [`LOOKS`], are held, and for how long already. Locks nothing.
    pub(super) fn held(&self, keys: &[StoredKey]) -> Query {
        let keys: Vec<_> = keys.iter().map(bytes).collect();
        let size = padded(keys.len());
        let text = format!(
            "SELECT `key`, {NOW} - `granted` FROM {} WHERE `key` IN ({}) AND `expiry` > {NOW}",
            self.quoted,
            vec!["?"; size].join(", "),
        );
        bind_all(sqlx::query(AssertSqlSafe(text)), &keys, size)
    }

    /// The next `count` keys after `after`, and which of them may be purged. Locks nothing.
    pub(super) fn purge_look(&self, after: &[u8], count: usize, idle: Duration) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "SELECT `key`, `token` < {NOW} - CAST(? AS SIGNED) AND `expiry` <= {NOW} FROM {} \
             WHERE `key` > ? ORDER BY `key` LIMIT {count}",
            self.quoted
        )))
        .bind(micros(idle))
        .bind(after.to_vec())
    }

    /// Removes what may be purged of `keys`, at most [`PURGES`].
    pub(super) fn purge(&self, keys: &[Vec<u8>], idle: Duration) -> Query {
        let size = padded(keys.len());
        let text = format!(
            "DELETE FROM {} WHERE `key` IN ({}) AND `token` < {NOW} - CAST(? AS SIGNED) AND `expiry` <= {NOW}",
            self.quoted,
            vec!["?"; size].join(", "),
        );
        bind_all(sqlx::query(AssertSqlSafe(text)), keys, size).bind(micros(idle))
    }
}

/// The leases of a batch in the order of their keys, each once, with the longest ttl that was asked for.
pub(super) struct Leases(BTreeMap<(Vec<u8>, Vec<u8>), i64>);

impl Leases {
    pub(super) fn new(requests: &[RenewRequest]) -> Self {
        let mut leases = BTreeMap::new();
        for request in requests {
            let ttl = leases
                .entry((bytes(&request.key), request.owner.as_bytes().to_vec()))
                .or_insert(0);
            *ttl = micros(request.ttl).max(*ttl);
        }
        Self(leases)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The last one fills up the batch.
    fn padded(&self, size: usize) -> impl Iterator<Item = (&(Vec<u8>, Vec<u8>), &i64)> {
        let last = self.0.last_key_value();
        self.0
            .iter()
            .chain(std::iter::repeat_with(move || last).flatten())
            .take(size)
    }
}

/// Takes the key if it is free, and changes nothing but the end of the lease if it is the owner's already.
///
/// The assignments are made from left to right, each sees those before it, and that order is what makes it right: first the
/// owner is decided, by the old expiry; then `owner` equals the asked one if and only if this request has won, and while
/// the old expiry still stands it tells a new grant from a repetition; the expiry comes last. A key that has had its last
/// token is left without an owner.
fn upsert(table: &str, alias: &str, asked: impl Fn(&str) -> String) -> String {
    let t = |column: &str| format!("{table}.`{column}`");
    let free = format!("{} <= {}", t("expiry"), asked("granted"));
    let won = format!("{} = {}", t("owner"), asked("owner"));
    format!(
        "INSERT INTO {table} (`key`, `owner`, `holder`, `token`, `granted`, `expiry`) \
         VALUES (?, ?, ?, {NOW}, {NOW}, {NOW} + CAST(? AS SIGNED)) {alias}\
         ON DUPLICATE KEY UPDATE \
         `owner` = IF({free}, IF({} < {}, {}, NULL), {}), \
         `holder` = IF({won} AND {free}, {}, {}), \
         `token` = IF({won} AND {free}, GREATEST({} + 1, {}), {}), \
         `granted` = IF({won} AND {free}, {}, {}), \
         `expiry` = IF({won}, GREATEST({}, {}), {})",
        t("token"),
        i64::MAX,
        asked("owner"),
        t("owner"),
        asked("holder"),
        t("holder"),
        t("token"),
        asked("token"),
        t("token"),
        asked("granted"),
        t("granted"),
        t("expiry"),
        asked("expiry"),
        t("expiry"),
    )
}

/// The sizes of the batches that are prepared; the last request fills one up, for it does no harm twice.
const BATCHES: [usize; 20] = [
    2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 80, 96, 128,
];

/// The texts for acquires and releases in one statement, by how many they are.
struct Batches {
    row: String,
    before: String,
    after: String,
    texts: Mutex<BTreeMap<usize, SqlStr>>,
}

impl Batches {
    /// A release is a row whose expiry is 0, and its token too, should it be inserted. It leaves its owner in the row, whose lease
    /// has ended.
    ///
    /// As in the upsert, an assignment sees those before it: owner and expiry come last, for they tell what is to be done, and the
    /// moment of the statement in `granted` tells its answer what was done. `VALUES(granted)` is that moment.
    ///
    /// A row that somebody keeps locked ends the statement after a second: the engine counts no shorter.
    fn new(table: &str) -> Self {
        let t = |column: &str| format!("{table}.`{column}`");
        let takes = format!(
            "VALUES(`expiry`) > 0 AND {} <= VALUES(`granted`)",
            t("expiry")
        );
        let frees = format!(
            "VALUES(`expiry`) = 0 AND {} = VALUES(`owner`) AND {} > VALUES(`granted`)",
            t("owner"),
            t("expiry")
        );
        Self {
            before: format!(
                "SET STATEMENT innodb_lock_wait_timeout = 1 FOR \
                 INSERT INTO {table} (`key`, `owner`, `holder`, `token`, `granted`, `expiry`) VALUES "
            ),
            row: format!("(?, ?, ?, ? * {NOW}, {NOW}, ? * {NOW} + CAST(? AS SIGNED))"),
            after: format!(
                " ON DUPLICATE KEY UPDATE \
                 `granted` = IF(({takes}) OR ({frees}), VALUES(`granted`), {}), \
                 `holder` = IF({takes}, VALUES(`holder`), {}), \
                 `token` = IF({takes}, GREATEST({} + 1, VALUES(`token`)), {}), \
                 `owner` = IF({takes}, VALUES(`owner`), {}), \
                 `expiry` = IF({} = VALUES(`owner`), \
                 IF(VALUES(`expiry`) > 0, GREATEST({}, VALUES(`expiry`)), 0), {}) \
                 RETURNING `owner`, `token`, `expiry` - {NOW}, `granted` = {NOW}",
                t("granted"),
                t("holder"),
                t("token"),
                t("token"),
                t("owner"),
                t("owner"),
                t("expiry"),
                t("expiry"),
            ),
            texts: Mutex::default(),
        }
    }

    fn of(&self, size: usize) -> SqlStr {
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        let text = texts.entry(size).or_insert_with(|| {
            let rows = vec![&*self.row; size].join(", ");
            sql([&*self.before, &rows, &self.after].concat())
        });
        text.clone()
    }
}

/// The statement that makes a table of this (quoted) name.
pub(super) fn ddl(quoted: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {quoted} (\n    \
         `key` VARBINARY(640) NOT NULL PRIMARY KEY,\n    \
         `owner` VARBINARY(16),\n    \
         `holder` VARBINARY(255) NOT NULL,\n    \
         `token` BIGINT NOT NULL,\n    \
         `granted` BIGINT NOT NULL,\n    \
         `expiry` BIGINT NOT NULL\n\
         ) ENGINE = InnoDB"
    )
}

/// Binds `size` keys; the last one fills up the batch.
fn bind_all(mut query: Query, keys: &[Vec<u8>], size: usize) -> Query {
    let last = keys.last();
    for key in keys
        .iter()
        .chain(std::iter::repeat_with(|| last).flatten())
        .take(size)
    {
        query = query.bind(key.clone());
    }
    query
}

fn bytes(key: &StoredKey) -> Vec<u8> {
    key.as_bytes().to_vec()
}

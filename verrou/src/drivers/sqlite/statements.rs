//! The statements of one table, and the one reading of the clocks that each is judged by.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use super::connections::Query;
use crate::drivers::group::Errand;
use crate::drivers::sql::{Table, key_range, micros, wall_micros};
use crate::sabotage::Bug;
use crate::store::{
    AcquireRequest, AdoptRequest, ForceReleaseRequest, ListRequest, PassRequest, ReleaseRequest,
    RenewRequest, StoredKey,
};

/// The clocks at one moment, read by the client right before the statement is sent.
///
/// SQLite is in this process, so this is the store's clock. If the statement then waits for a lock, the reading is older
/// than its execution: the statement takes leases for held that have just expired, and gives out or extends leases that
/// are shorter by as much. It never takes a held lease for expired.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Microseconds since boot; elsewhere than on Linux, of UTC.
    pub(super) lease: i64,
    /// Microseconds of UTC: the floor of tokens.
    pub(super) wall: i64,
}

impl Now {
    pub(super) fn read() -> Self {
        let wall = wall_micros();
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let lease =
            i64::try_from(crate::clock::Moment::now().as_nanos() / 1000).unwrap_or(i64::MAX);
        // Since boot is another time in each process there.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let lease = wall;
        Self {
            lease: if Bug::ClientClock.is_loose() {
                wall
            } else {
                lease
            },
            wall: if Bug::TokenWithoutFloor.is_loose() {
                1
            } else {
                wall
            },
        }
    }
}

/// As many renewals go in one statement at most.
pub(super) const RENEWALS: usize = 256;

/// As many keys are looked at in one statement at most.
pub(super) const KEYS: usize = 256;

/// As many requests to take or free a key go in one statement at most.
pub(super) const PARTY: usize = 128;

/// The sizes of those statements; what is left of one is not bound, which is NULL.
const PARTIES: [usize; 11] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 80, PARTY];

/// A batch of `count` goes as one of this size, so that few texts are to be prepared.
pub(super) fn padded(count: usize) -> usize {
    [1, 4, 16, 64]
        .into_iter()
        .find(|size| *size >= count)
        .unwrap_or(RENEWALS)
}

pub(super) struct Statements {
    table: Table,
    quoted: String,
    acquire: SqlStr,
    together: Vec<(usize, SqlStr)>,
    row: SqlStr,
    renew: SqlStr,
    adopt: SqlStr,
    release: SqlStr,
    pass: SqlStr,
    force_release: SqlStr,
    list: SqlStr,
}

fn sql(text: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
}

impl Statements {
    pub(super) fn new(table: Table) -> Self {
        let quoted = match table.schema() {
            Some(_) => table.quoted('"'),
            // A temporary table of the same name would come first.
            None => format!("\"main\".{}", table.quoted('"')),
        };
        let t = &quoted;
        // In an upsert `l` is the row that is there, `excluded` the one asked for.
        let live = "(l.boot = excluded.boot AND l.expiry > excluded.granted)";
        Self {
            acquire: sql(format!(
                "INSERT INTO {t} AS l (key, owner, holder, token, boot, granted, expiry) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                 ON CONFLICT (key) DO UPDATE SET \
                 owner = excluded.owner, \
                 boot = excluded.boot, \
                 holder = CASE WHEN {live} THEN l.holder ELSE excluded.holder END, \
                 token = CASE WHEN {live} THEN l.token ELSE max(l.token + 1, excluded.token) END, \
                 granted = CASE WHEN {live} THEN l.granted ELSE excluded.granted END, \
                 expiry = CASE WHEN {live} THEN max(l.expiry, excluded.expiry) ELSE excluded.expiry END \
                 WHERE CASE WHEN {live} THEN l.owner = excluded.owner ELSE l.token < {} END \
                 RETURNING token",
                i64::MAX
            )),
            together: PARTIES
                .iter()
                .map(|&size| (size, sql(together(t, size))))
                .collect(),
            row: sql(format!(
                "SELECT holder, token, boot, granted, expiry FROM {t} WHERE key = ?1"
            )),
            renew: sql(format!(
                "UPDATE {t} SET expiry = max(expiry, ?5) \
                 WHERE key = ?1 AND owner = ?2 AND boot = ?3 AND expiry > ?4"
            )),
            adopt: sql(format!(
                "UPDATE {t} SET owner = ?6, holder = ?7, expiry = max(expiry, ?5) \
                 WHERE key = ?1 AND owner IN (?2, ?6) AND boot = ?3 AND expiry > ?4 \
                 RETURNING token"
            )),
            release: sql(format!(
                "UPDATE {t} SET owner = NULL, holder = '', expiry = ?5 \
                 WHERE key = ?1 AND owner = ?2 AND boot = ?3 AND expiry > ?4"
            )),
            // A repetition finds its own owner. A key that has had its last token is refused by the table, which is strict.
            pass: sql(format!(
                "UPDATE {t} SET owner = ?6, \
                 holder = CASE WHEN owner = ?6 THEN holder ELSE ?7 END, \
                 token = CASE WHEN owner = ?6 THEN token ELSE max(token + 1, ?8) END, \
                 granted = CASE WHEN owner = ?6 THEN granted ELSE ?4 END, \
                 expiry = CASE WHEN owner = ?6 THEN max(expiry, ?5) ELSE ?5 END \
                 WHERE key = ?1 AND owner IN (?2, ?6) AND boot = ?3 AND expiry > ?4 \
                 RETURNING token"
            )),
            force_release: sql(format!(
                "UPDATE {t} SET owner = NULL, holder = '', expiry = 0 \
                 WHERE key = ?1 AND boot = ?2 AND expiry > ?3"
            )),
            list: sql(format!(
                "SELECT holder, token, boot, granted, expiry, key FROM {t} \
                 WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
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

    /// Changes nothing, for no key is empty, and fails as a write would.
    pub(super) fn probe(&self) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE {} SET expiry = expiry WHERE key = x''",
            self.quoted
        )))
    }

    pub(super) fn acquire(&self, request: &AcquireRequest, boot: &Arc<str>, now: Now) -> Query {
        sqlx::query(self.acquire.clone())
            .bind(bytes(&request.key))
            .bind(request.owner.as_bytes().to_vec())
            .bind(request.holder.to_string())
            .bind(now.wall.max(1))
            .bind(boot.to_string())
            .bind(now.lease)
            .bind(now.lease.saturating_add(micros(request.ttl)))
    }

    /// Takes keys and frees keys, each once; answers key and token of each that was taken or freed. At most [`PARTY`].
    ///
    /// A release is a row whose token is 0, and whose expiry says how long its key stays taken.
    pub(super) fn together(&self, errands: &[Errand], boot: &Arc<str>, now: Now) -> Query {
        let text = self
            .together
            .iter()
            .find(|(size, _)| *size >= errands.len())
            .map(|(_, text)| text.clone());
        let mut query =
            sqlx::query(text.unwrap_or_else(|| sql(together(&self.quoted, errands.len()))))
                .bind(boot.to_string());
        for errand in errands {
            query = match errand {
                Errand::Acquire(request) => query
                    .bind(bytes(&request.key))
                    .bind(request.owner.as_bytes().to_vec())
                    .bind(request.holder.to_string())
                    .bind(now.wall.max(1))
                    .bind(now.lease)
                    .bind(now.lease.saturating_add(micros(request.ttl))),
                Errand::Release(request) => query
                    .bind(bytes(&request.key))
                    .bind(request.owner.as_bytes().to_vec())
                    .bind(String::new())
                    .bind(0_i64)
                    .bind(now.lease)
                    .bind(until(request, now)),
            };
        }
        query
    }

    /// The rows of some keys, live or not. At most [`KEYS`].
    pub(super) fn rows(&self, keys: &[StoredKey]) -> Query {
        let mut query = sqlx::query(AssertSqlSafe(format!(
            "SELECT holder, token, boot, granted, expiry, key FROM {} WHERE key IN ({})",
            self.quoted,
            places(padded(keys.len()))
        )));
        for key in keys {
            query = query.bind(bytes(key));
        }
        query
    }

    /// The row of a key, live or not.
    pub(super) fn row(&self, key: &StoredKey) -> Query {
        sqlx::query(self.row.clone()).bind(bytes(key))
    }

    pub(super) fn renew(&self, request: &RenewRequest, boot: &Arc<str>, now: Now) -> Query {
        sqlx::query(self.renew.clone())
            .bind(bytes(&request.key))
            .bind(request.owner.as_bytes().to_vec())
            .bind(boot.to_string())
            .bind(now.lease)
            .bind(now.lease.saturating_add(micros(request.ttl)))
    }

    /// Answers key and owner of each that was renewed. At most [`RENEWALS`].
    pub(super) fn renew_many(&self, requests: &[RenewRequest], boot: &Arc<str>, now: Now) -> Query {
        let size = padded(requests.len());
        let text = format!(
            "UPDATE {} AS l SET expiry = max(l.expiry, r.expiry) \
             FROM (SELECT column1 AS key, column2 AS owner, max(column3) AS expiry \
             FROM (VALUES {}) GROUP BY 1, 2) AS r \
             WHERE l.key = r.key AND l.owner = r.owner AND l.boot = ? AND l.expiry > ? \
             RETURNING key, owner",
            self.quoted,
            rows(size, 3)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        // Equal ones are grouped, so the last one fills up the batch.
        let last = requests.last();
        for request in requests
            .iter()
            .chain(std::iter::repeat_with(|| last).flatten())
            .take(size)
        {
            query = query
                .bind(bytes(&request.key))
                .bind(request.owner.as_bytes().to_vec())
                .bind(now.lease.saturating_add(micros(request.ttl)));
        }
        query.bind(boot.to_string()).bind(now.lease)
    }

    pub(super) fn adopt(&self, request: &AdoptRequest, boot: &Arc<str>, now: Now) -> Query {
        sqlx::query(self.adopt.clone())
            .bind(bytes(&request.key))
            .bind(request.from.as_bytes().to_vec())
            .bind(boot.to_string())
            .bind(now.lease)
            .bind(now.lease.saturating_add(micros(request.ttl)))
            .bind(request.owner.as_bytes().to_vec())
            .bind(request.holder.to_string())
    }

    pub(super) fn release(&self, request: &ReleaseRequest, boot: &Arc<str>, now: Now) -> Query {
        sqlx::query(self.release.clone())
            .bind(bytes(&request.key))
            .bind(request.owner.as_bytes().to_vec())
            .bind(boot.to_string())
            .bind(now.lease)
            .bind(until(request, now))
    }

    pub(super) fn pass(&self, request: &PassRequest, boot: &Arc<str>, now: Now) -> Query {
        sqlx::query(self.pass.clone())
            .bind(bytes(&request.key))
            .bind(request.from.as_bytes().to_vec())
            .bind(boot.to_string())
            .bind(now.lease)
            .bind(now.lease.saturating_add(micros(request.ttl)))
            .bind(request.owner.as_bytes().to_vec())
            .bind(request.holder.to_string())
            .bind(now.wall.max(1))
    }

    pub(super) fn force_release(
        &self,
        request: &ForceReleaseRequest,
        boot: &Arc<str>,
        now: Now,
    ) -> Query {
        sqlx::query(self.force_release.clone())
            .bind(bytes(&request.key))
            .bind(boot.to_string())
            .bind(now.lease)
    }

    /// Answers rows as `row` does, and the key.
    pub(super) fn list(&self, request: &ListRequest) -> Query {
        let (from, to) = key_range(request);
        sqlx::query(self.list.clone())
            .bind(from)
            .bind(to)
            .bind(i64::from(request.limit.get()))
    }

    /// Which of these keys are held. At most [`KEYS`].
    pub(super) fn held(&self, keys: &[StoredKey], boot: &Arc<str>, now: Now) -> Query {
        let size = padded(keys.len());
        let text = format!(
            "SELECT key FROM {} WHERE boot = ? AND expiry > ? AND key IN ({})",
            self.quoted,
            places(size)
        );
        let mut query = sqlx::query(AssertSqlSafe(text))
            .bind(boot.to_string())
            .bind(now.lease);
        let last = keys.last();
        for key in keys
            .iter()
            .chain(std::iter::repeat_with(|| last).flatten())
            .take(size)
        {
            query = query.bind(bytes(key));
        }
        query
    }

    /// The last of the next `count` keys after `after`, and how many of them may be purged.
    pub(super) fn purge_look(
        &self,
        after: &[u8],
        count: i64,
        limit: i64,
        boot: &Arc<str>,
        now: Now,
    ) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "SELECT max(key), coalesce(sum(token < ?3 AND NOT (boot = ?4 AND expiry > ?5)), 0) \
             FROM (SELECT key, token, boot, expiry FROM {} WHERE key > ?1 ORDER BY key LIMIT ?2)",
            self.quoted
        )))
        .bind(after.to_vec())
        .bind(count)
        .bind(limit)
        .bind(boot.to_string())
        .bind(now.lease)
    }

    /// Removes what may be purged from the keys after `after` to `last`.
    pub(super) fn purge(
        &self,
        after: &[u8],
        last: &[u8],
        limit: i64,
        boot: &Arc<str>,
        now: Now,
    ) -> Query {
        sqlx::query(AssertSqlSafe(format!(
            "DELETE FROM {} WHERE key > ?1 AND key <= ?2 AND token < ?3 AND NOT (boot = ?4 AND expiry > ?5)",
            self.quoted
        )))
        .bind(after.to_vec())
        .bind(last.to_vec())
        .bind(limit)
        .bind(boot.to_string())
        .bind(now.lease)
    }
}

/// The statement that makes a table of this (quoted) name.
pub(super) fn ddl(quoted: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {quoted} (\n    \
         key BLOB NOT NULL PRIMARY KEY,\n    \
         owner BLOB,\n    \
         holder TEXT NOT NULL,\n    \
         token INTEGER NOT NULL,\n    \
         boot TEXT NOT NULL,\n    \
         granted INTEGER NOT NULL,\n    \
         expiry INTEGER NOT NULL\n\
         ) STRICT, WITHOUT ROWID"
    )
}

/// The statement that takes and frees `count` keys; its first parameter is the boot.
fn together(t: &str, count: usize) -> String {
    let live = "(l.boot = excluded.boot AND l.expiry > excluded.granted)";
    format!(
        "INSERT INTO {t} AS l (boot, key, owner, holder, token, granted, expiry) \
         SELECT ?, column1, column2, column3, column4, column5, column6 FROM (VALUES {}) \
         WHERE column1 IS NOT NULL AND (column4 > 0 OR EXISTS (SELECT 1 FROM {t} WHERE key = column1)) \
         ON CONFLICT (key) DO UPDATE SET \
         owner = CASE WHEN excluded.token = 0 THEN NULL ELSE excluded.owner END, \
         boot = excluded.boot, \
         holder = CASE WHEN {live} AND excluded.token > 0 THEN l.holder ELSE excluded.holder END, \
         token = CASE WHEN {live} THEN l.token ELSE max(l.token + 1, excluded.token) END, \
         granted = CASE WHEN {live} THEN l.granted ELSE excluded.granted END, \
         expiry = CASE WHEN {live} AND excluded.token > 0 THEN max(l.expiry, excluded.expiry) \
         ELSE excluded.expiry END \
         WHERE CASE WHEN {live} THEN l.owner = excluded.owner \
         ELSE excluded.token > 0 AND l.token < {} END \
         RETURNING key, token",
        rows(count, 6),
        i64::MAX
    )
}

/// `count` rows of `width` parameters.
fn rows(count: usize, width: usize) -> String {
    let row = format!("({})", places(width));
    vec![row.as_str(); count].join(", ")
}

/// `count` parameters, without numbers: sqlx asks for the name of each, for which SQLite goes through all that have one.
fn places(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Until when a released key stays taken; 0 is not at all.
fn until(request: &ReleaseRequest, now: Now) -> i64 {
    if request.keep.is_zero() {
        0
    } else {
        now.lease.saturating_add(micros(request.keep))
    }
}

fn bytes(key: &StoredKey) -> Vec<u8> {
    key.as_bytes().to_vec()
}

//! The statements of one table.
//!
//! Every value is bytes or a whole number. So the same text serves a prepared statement with parameters, and the simple
//! protocol with literals that contain nothing but digits: hexadecimal for bytes, decimal for numbers.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::drivers::group::Errand;
use crate::drivers::sql::{Table, key_range, micros};
use crate::store::{
    AcquireRequest, AdoptRequest, ForceReleaseRequest, ListRequest, Owner, PassRequest,
    ReleaseRequest, RenewRequest, StoredKey,
};

/// The server's clock in microseconds of UTC, at the moment when it is evaluated: never `now()`, which stands still while
/// a statement waits for a row.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Lets this one commit return before it is on disk: a release that a crash takes back costs a lease's length, no more.
/// The setting is the session's own again afterwards.
const QUICK_COMMIT: &str = "(SELECT set_config('synchronous_commit', 'off', true)) = 'off'";

/// Ends a statement for many soon, and for certain, if somebody keeps one of its rows locked. The setting is the session's own
/// again afterwards.
const PATIENCE: &str = "(SELECT set_config('lock_timeout', '250ms', true)) IS NOT NULL";

/// As many renewals go in one statement at most.
pub(super) const RENEWALS: usize = 256;

/// As many keys are marked as waited for in one statement at most.
pub(super) const MARKS: usize = 256;

/// A value of a statement.
#[derive(Clone)]
enum Value {
    Bytes(Vec<u8>),
    Number(i64),
    ManyBytes(Vec<Vec<u8>>),
    ManyNumbers(Vec<i64>),
}

/// A statement and its values.
#[derive(Clone)]
pub(super) struct Statement {
    text: SqlStr,
    values: Vec<Value>,
}

impl Statement {
    fn new(text: &SqlStr) -> Self {
        Self {
            text: text.clone(),
            values: Vec::new(),
        }
    }

    /// A text without values.
    pub(super) fn plain(text: String) -> Self {
        Self::new(&sql(text))
    }

    fn bytes(mut self, value: &[u8]) -> Self {
        self.values.push(Value::Bytes(value.to_vec()));
        self
    }

    fn key(self, key: &StoredKey) -> Self {
        self.bytes(key.as_bytes())
    }

    fn owner(self, owner: Owner) -> Self {
        self.bytes(owner.as_bytes())
    }

    fn number(mut self, value: i64) -> Self {
        self.values.push(Value::Number(value));
        self
    }

    fn many_bytes(mut self, values: impl Iterator<Item = Vec<u8>>) -> Self {
        self.values.push(Value::ManyBytes(values.collect()));
        self
    }

    fn many_numbers(mut self, values: impl Iterator<Item = i64>) -> Self {
        self.values.push(Value::ManyNumbers(values.collect()));
        self
    }

    /// With parameters, for a statement that the connection prepares once.
    pub(super) fn prepared(&self) -> sqlx::query::Query<'static, Postgres, PgArguments> {
        let mut query = sqlx::query(self.text.clone());
        for value in &self.values {
            query = match value {
                Value::Bytes(bytes) => query.bind(bytes.clone()),
                Value::Number(number) => query.bind(*number),
                Value::ManyBytes(many) => query.bind(many.clone()),
                Value::ManyNumbers(many) => query.bind(many.clone()),
            };
        }
        query
    }

    /// With literals, for one message of the simple protocol.
    pub(super) fn literal(&self) -> SqlStr {
        let mut text = String::with_capacity(2 * self.text.as_str().len());
        let mut rest = self.text.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = after.split_at(digits);
            let place = number.parse::<usize>().ok();
            match place.and_then(|place| self.values.get(place.checked_sub(1)?)) {
                Some(value) => write_literal(&mut text, value),
                None => text.push('$'),
            }
            rest = after;
        }
        text.push_str(rest);
        AssertSqlSafe(text).into_sql_str()
    }
}

fn write_literal(text: &mut String, value: &Value) {
    // Nothing that is written to a `String` fails.
    let _ = match value {
        // No backslash: what it means in a literal is a setting of the session.
        Value::Bytes(bytes) => write!(text, "decode('{}', 'hex')", hex(bytes)),
        Value::Number(number) => write!(text, "({number})"),
        Value::ManyBytes(many) => {
            let list: Vec<_> = many
                .iter()
                .map(|bytes| format!("decode('{}', 'hex')", hex(bytes)))
                .collect();
            write!(text, "ARRAY[{}]", list.join(", "))
        }
        Value::ManyNumbers(many) => {
            let list: Vec<_> = many.iter().map(ToString::to_string).collect();
            write!(text, "ARRAY[{}]", list.join(", "))
        }
    };
}

/// Bytes as Postgres' `encode(.., 'hex')` writes them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads what `encode(.., 'hex')` has written.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(nibble(high)? * 16 + nibble(low)?).ok())
        .collect()
}

pub(super) struct Statements {
    channel: String,
    quoted: String,
    acquire: SqlStr,
    batch: SqlStr,
    renew: SqlStr,
    renew_many: SqlStr,
    adopt: SqlStr,
    pass: SqlStr,
    release: SqlStr,
    force_release: SqlStr,
    inspect: SqlStr,
    list: SqlStr,
    mark: SqlStr,
    purge_look: SqlStr,
    purge: SqlStr,
}

fn sql(text: String) -> SqlStr {
    AssertSqlSafe(Arc::<str>::from(text)).into_sql_str()
}

impl Statements {
    pub(super) fn new(table: &Table) -> Self {
        let quoted = table.quoted('"');
        let channel = table.name().to_owned();
        let t = &quoted;
        // What `waiting` says once a notification is on its way: the time it stood for, as a negative number, and the
        // release after that finds nothing. The old value cannot be had from RETURNING.
        let flip = "-greatest(l.waiting, 0)";
        let ring = format!("pg_notify('{channel}', encode(l.key, 'hex')) IS NULL");
        Self {
            // A key that is seen to be held is not touched: no row lock, no transaction id, no commit to wait for. What
            // decides is the WHERE of the upsert, on the newest row and the clock of that moment.
            acquire: sql(format!(
                "WITH taken AS (\
                 INSERT INTO {t} AS l (key, owner, holder, token, granted, expiry) \
                 SELECT $1::bytea, $2::bytea, $3::bytea, c.now, c.now, c.now + $4::bigint \
                 FROM (SELECT {NOW} AS now OFFSET 0) AS c \
                 WHERE NOT EXISTS (SELECT 1 FROM {t} AS h \
                 WHERE h.key = $1::bytea AND h.expiry > c.now AND h.owner IS DISTINCT FROM $2::bytea) \
                 ON CONFLICT (key) DO UPDATE SET (owner, holder, token, granted, expiry) = (\
                 SELECT excluded.owner, \
                 CASE WHEN s.own THEN l.holder ELSE excluded.holder END, \
                 CASE WHEN s.own THEN l.token ELSE greatest(l.token + 1, s.now) END, \
                 CASE WHEN s.own THEN l.granted ELSE s.now END, \
                 greatest(l.expiry, s.now + $4::bigint) \
                 FROM (SELECT c.now, l.owner = excluded.owner AND l.expiry > c.now AS own \
                 FROM (SELECT {NOW} AS now OFFSET 0) AS c OFFSET 0) AS s) \
                 WHERE l.expiry <= {NOW} OR l.owner = excluded.owner \
                 RETURNING l.token) \
                 SELECT token, NULL::bigint FROM taken \
                 UNION ALL \
                 SELECT NULL::bigint, h.expiry - {NOW} FROM {t} AS h \
                 WHERE h.key = $1::bytea AND NOT EXISTS (SELECT 1 FROM taken)"
            )),
            // Acquires and releases, whose ttl is 0, each of another key, in the order of the keys: two statements that lock the
            // same rows in one order never wait for each other in a circle. A key that is seen to be held, or not to be the
            // releaser's, is not touched.
            batch: sql(format!(
                "WITH asked AS (SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[]) \
                 AS a(key, owner, holder, ttl)), \
                 done AS (\
                 INSERT INTO {t} AS l (key, owner, holder, token, granted, expiry) \
                 SELECT a.key, a.owner, a.holder, c.now, c.now, CASE WHEN a.ttl > 0 THEN c.now + a.ttl ELSE 0 END \
                 FROM asked AS a, (SELECT {NOW} AS now OFFSET 0) AS c \
                 WHERE coalesce((\
                 SELECT CASE WHEN a.ttl > 0 THEN h.expiry <= c.now OR h.owner IS NOT DISTINCT FROM a.owner \
                 ELSE h.expiry > c.now AND h.owner = a.owner END \
                 FROM {t} AS h WHERE h.key = a.key), a.ttl > 0) AND {PATIENCE} \
                 AND (SELECT set_config('synchronous_commit', CASE WHEN $5::bigint > 0 \
                 THEN current_setting('synchronous_commit') ELSE 'off' END, true)) IS NOT NULL \
                 ORDER BY a.key \
                 ON CONFLICT (key) DO UPDATE SET (owner, holder, token, granted, expiry, waiting) = (\
                 SELECT CASE WHEN s.takes THEN excluded.owner END, \
                 CASE WHEN s.own THEN l.holder ELSE excluded.holder END, \
                 CASE WHEN s.own THEN l.token ELSE greatest(l.token + 1, s.now) END, \
                 CASE WHEN s.own THEN l.granted ELSE s.now END, \
                 CASE WHEN s.takes THEN greatest(l.expiry, s.now + excluded.expiry - excluded.granted) ELSE 0 END, \
                 CASE WHEN s.takes THEN l.waiting ELSE {flip} END \
                 FROM (SELECT c.now, l.owner = excluded.owner AND l.expiry > c.now AS own, excluded.expiry > 0 AS takes \
                 FROM (SELECT {NOW} AS now OFFSET 0) AS c OFFSET 0) AS s) \
                 WHERE CASE WHEN excluded.expiry > 0 THEN l.expiry <= {NOW} OR l.owner = excluded.owner \
                 ELSE l.expiry > {NOW} AND l.owner = excluded.owner END \
                 RETURNING l.key, CASE WHEN l.owner IS NOT NULL THEN l.token END AS token, \
                 CASE WHEN l.expiry = 0 AND l.waiting < -{NOW} THEN {ring} END AS rung) \
                 SELECT encode(key, 'hex'), token, NULL::bigint FROM done \
                 UNION ALL \
                 SELECT encode(a.key, 'hex'), NULL, (SELECT h.expiry - {NOW} FROM {t} AS h WHERE h.key = a.key) \
                 FROM asked AS a WHERE a.ttl > 0 AND NOT EXISTS (SELECT 1 FROM done WHERE done.key = a.key)"
            )),
            renew: sql(format!(
                "UPDATE {t} SET expiry = greatest(expiry, {NOW} + $3::bigint) \
                 WHERE key = $1::bytea AND owner = $2::bytea AND expiry > {NOW}"
            )),
            // Two statements that lock the same rows in one order never wait for each other in a circle. The last row is the
            // clock alone: it is there also if no lease is.
            renew_many: sql(format!(
                "WITH own AS (SELECT l.key, r.owner, r.ttl FROM {t} AS l, (\
                 SELECT u.key, u.owner, max(u.ttl) AS ttl \
                 FROM unnest($1::bytea[], $2::bytea[], $3::bigint[]) AS u(key, owner, ttl) GROUP BY 1, 2) AS r \
                 WHERE l.key = r.key AND l.owner = r.owner ORDER BY l.key FOR UPDATE OF l), \
                 renewed AS (UPDATE {t} AS l SET expiry = greatest(l.expiry, {NOW} + own.ttl) FROM own \
                 WHERE l.key = own.key AND l.owner = own.owner AND l.expiry > {NOW} \
                 RETURNING encode(l.key, 'hex') AS key, encode(l.owner, 'hex') AS owner) \
                 SELECT key, owner, NULL::bigint FROM renewed UNION ALL SELECT NULL, NULL, {NOW}"
            )),
            adopt: sql(format!(
                "UPDATE {t} SET owner = $3::bytea, holder = $4::bytea, \
                 expiry = greatest(expiry, {NOW} + $5::bigint) \
                 WHERE key = $1::bytea AND owner IN ($2::bytea, $3::bytea) AND expiry > {NOW} \
                 RETURNING token"
            )),
            pass: sql(format!(
                "UPDATE {t} AS l SET (owner, holder, token, granted, expiry) = (\
                 SELECT $3::bytea, \
                 CASE WHEN s.own THEN l.holder ELSE $4::bytea END, \
                 CASE WHEN s.own THEN l.token ELSE greatest(l.token + 1, s.now) END, \
                 CASE WHEN s.own THEN l.granted ELSE s.now END, \
                 CASE WHEN s.own THEN greatest(l.expiry, s.now + $5::bigint) ELSE s.now + $5::bigint END \
                 FROM (SELECT c.now, l.owner = $3::bytea AS own \
                 FROM (SELECT {NOW} AS now OFFSET 0) AS c OFFSET 0) AS s) \
                 WHERE key = $1::bytea AND owner IN ($2::bytea, $3::bytea) AND expiry > {NOW} \
                 RETURNING l.token"
            )),
            release: sql(format!(
                "UPDATE {t} AS l SET owner = NULL, holder = ''::bytea, \
                 expiry = CASE WHEN $3::bigint = 0 THEN 0 ELSE {NOW} + $3::bigint END, \
                 waiting = CASE WHEN $3::bigint = 0 THEN {flip} ELSE l.waiting END \
                 WHERE key = $1::bytea AND owner = $2::bytea AND expiry > {NOW} AND {QUICK_COMMIT} \
                 RETURNING CASE WHEN $3::bigint = 0 AND l.waiting < -{NOW} THEN {ring} END"
            )),
            force_release: sql(format!(
                "UPDATE {t} AS l SET owner = NULL, holder = ''::bytea, expiry = 0, waiting = {flip} \
                 WHERE key = $1::bytea AND expiry > {NOW} \
                 RETURNING CASE WHEN l.waiting < -{NOW} THEN {ring} END"
            )),
            inspect: sql(format!(
                "SELECT encode(l.holder, 'hex'), l.token, l.expiry - c.now, c.now - l.granted \
                 FROM {t} AS l, (SELECT {NOW} AS now OFFSET 0) AS c \
                 WHERE l.key = $1::bytea AND l.expiry > c.now"
            )),
            // With both ends of the range in one WHERE, a planner that has no statistics yet sorts all of it for each page.
            list: sql(format!(
                "SELECT encode(l.holder, 'hex'), l.token, l.expiry - c.now, c.now - l.granted, encode(l.key, 'hex') \
                 FROM (SELECT * FROM {t} WHERE key >= $1::bytea ORDER BY key LIMIT $3::bigint) AS l, \
                 (SELECT {NOW} AS now OFFSET 0) AS c \
                 WHERE l.key < $2::bytea ORDER BY l.key"
            )),
            mark: sql(format!(
                "WITH watched AS (SELECT key FROM {t} WHERE key = ANY($1::bytea[]) ORDER BY key FOR UPDATE) \
                 UPDATE {t} AS l SET waiting = {NOW} + $2::bigint FROM watched \
                 WHERE l.key = watched.key AND {QUICK_COMMIT} \
                 RETURNING encode(l.key, 'hex'), l.expiry > {NOW}"
            )),
            purge_look: sql(format!(
                "SELECT encode(l.key, 'hex'), l.token, l.expiry <= c.now AND l.token < c.now - $3::bigint \
                 FROM {t} AS l, (SELECT {NOW} AS now OFFSET 0) AS c \
                 WHERE l.key > $1::bytea ORDER BY l.key LIMIT $2::bigint"
            )),
            // A row that somebody works with is not idle.
            purge: sql(format!(
                "WITH idle AS (SELECT l.key FROM {t} AS l, unnest($1::bytea[], $2::bigint[]) AS u(key, token) \
                 WHERE l.key = u.key AND l.token = u.token ORDER BY l.key FOR UPDATE OF l SKIP LOCKED) \
                 DELETE FROM {t} AS l USING idle \
                 WHERE l.key = idle.key AND l.expiry <= {NOW} AND l.token < {NOW} - $3::bigint"
            )),
            channel,
            quoted,
        }
    }

    /// The channel of notifications: the table's name without its schema, so that processes which name the same table in
    /// different ways hear each other. Tables of one name share it, which costs them hints for nothing.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn quoted(&self) -> &str {
        &self.quoted
    }

    pub(super) fn ddl(&self) -> String {
        ddl(&self.quoted)
    }

    /// Changes nothing, for no key is empty, and fails as a write would.
    pub(super) fn probe(&self) -> Statement {
        Statement::plain(format!(
            "UPDATE {} SET expiry = expiry WHERE key = ''::bytea",
            self.quoted
        ))
    }

    /// Answers the token, or NULL and what is left of another's lease.
    pub(super) fn acquire(&self, request: &AcquireRequest) -> Statement {
        Statement::new(&self.acquire)
            .key(&request.key)
            .owner(request.owner)
            .bytes(request.holder.as_bytes())
            .number(micros(request.ttl))
    }

    /// Answers a row for each acquire and for each release that was done, in any order: the key, and the token that was granted, or
    /// what is left of another's lease.
    pub(super) fn batch(&self, errands: &[Errand]) -> Statement {
        let acquires = errands
            .iter()
            .filter(|errand| matches!(errand, Errand::Acquire(_)));
        Statement::new(&self.batch)
            .many_bytes(
                errands
                    .iter()
                    .map(|errand| errand.key().as_bytes().to_vec()),
            )
            .many_bytes(errands.iter().map(|errand| match errand {
                Errand::Acquire(request) => request.owner.as_bytes().to_vec(),
                Errand::Release(request) => request.owner.as_bytes().to_vec(),
            }))
            .many_bytes(errands.iter().map(|errand| match errand {
                Errand::Acquire(request) => request.holder.as_bytes().to_vec(),
                Errand::Release(_) => Vec::new(),
            }))
            .many_numbers(errands.iter().map(|errand| match errand {
                Errand::Acquire(request) => micros(request.ttl).max(1),
                Errand::Release(_) => 0,
            }))
            .number(i64::try_from(acquires.count()).unwrap_or(i64::MAX))
    }

    pub(super) fn renew(&self, request: &RenewRequest) -> Statement {
        Statement::new(&self.renew)
            .key(&request.key)
            .owner(request.owner)
            .number(micros(request.ttl))
    }

    /// Answers key and owner of each that was renewed, and last the server's clock. At most [`RENEWALS`].
    pub(super) fn renew_many(&self, requests: &[RenewRequest]) -> Statement {
        Statement::new(&self.renew_many)
            .many_bytes(
                requests
                    .iter()
                    .map(|request| request.key.as_bytes().to_vec()),
            )
            .many_bytes(
                requests
                    .iter()
                    .map(|request| request.owner.as_bytes().to_vec()),
            )
            .many_numbers(requests.iter().map(|request| micros(request.ttl)))
    }

    /// Answers the token.
    pub(super) fn adopt(&self, request: &AdoptRequest) -> Statement {
        Statement::new(&self.adopt)
            .key(&request.key)
            .owner(request.from)
            .owner(request.owner)
            .bytes(request.holder.as_bytes())
            .number(micros(request.ttl))
    }

    /// Answers the token.
    pub(super) fn pass(&self, request: &PassRequest) -> Statement {
        Statement::new(&self.pass)
            .key(&request.key)
            .owner(request.from)
            .owner(request.owner)
            .bytes(request.holder.as_bytes())
            .number(micros(request.ttl))
    }

    pub(super) fn release(&self, request: &ReleaseRequest) -> Statement {
        Statement::new(&self.release)
            .key(&request.key)
            .owner(request.owner)
            .number(micros(request.keep))
    }

    pub(super) fn force_release(&self, request: &ForceReleaseRequest) -> Statement {
        Statement::new(&self.force_release).key(&request.key)
    }

    /// Answers holder, token, what is left and how long it is held.
    pub(super) fn inspect(&self, key: &StoredKey) -> Statement {
        Statement::new(&self.inspect).key(key)
    }

    /// Answers as inspect does, and the key, also of rows that are not held.
    pub(super) fn list(&self, request: &ListRequest) -> Statement {
        let (from, to) = key_range(request);
        Statement::new(&self.list)
            .bytes(&from)
            .bytes(&to)
            .number(request.limit.get().into())
    }

    /// Says of these keys that somebody waits for them, for `length` microseconds; answers each that has a row, and
    /// whether it is held. At most [`MARKS`].
    pub(super) fn mark(&self, keys: &[StoredKey], length: i64) -> Statement {
        Statement::new(&self.mark)
            .many_bytes(keys.iter().map(|key| key.as_bytes().to_vec()))
            .number(length)
    }

    /// The next `count` keys after `after`, their tokens, and whether they may be purged.
    pub(super) fn purge_look(&self, after: &[u8], count: i64, idle: i64) -> Statement {
        Statement::new(&self.purge_look)
            .bytes(after)
            .number(count)
            .number(idle)
    }

    /// Removes those of these keys that still have these tokens and may be purged.
    pub(super) fn purge(&self, idle_keys: Vec<(Vec<u8>, i64)>, idle: i64) -> Statement {
        let (keys, tokens): (Vec<_>, Vec<_>) = idle_keys.into_iter().unzip();
        Statement::new(&self.purge)
            .many_bytes(keys.into_iter())
            .many_numbers(tokens.into_iter())
            .number(idle)
    }
}

/// The statement that makes a table of this (quoted) name.
pub(super) fn ddl(quoted: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {quoted} (\n    \
         key BYTEA NOT NULL PRIMARY KEY,\n    \
         owner BYTEA,\n    \
         holder BYTEA NOT NULL,\n    \
         token BIGINT NOT NULL,\n    \
         granted BIGINT NOT NULL,\n    \
         expiry BIGINT NOT NULL,\n    \
         waiting BIGINT NOT NULL DEFAULT 0\n\
         ) WITH (fillfactor = 50)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_has_nothing_but_digits_of_its_value() {
        let text = sql("SELECT $1, $2, $1, $3, $4, $9".to_owned());
        let statement = Statement::new(&text)
            .bytes(b"a'\\")
            .number(-7)
            .many_bytes([b"$1".to_vec(), Vec::new()].into_iter())
            .many_numbers([1, 2].into_iter());
        assert_eq!(
            statement.literal().as_str(),
            "SELECT decode('61275c', 'hex'), (-7), decode('61275c', 'hex'), \
             ARRAY[decode('2431', 'hex'), decode('', 'hex')], ARRAY[1, 2], $"
        );
    }

    #[test]
    fn hexadecimal_reads_back() {
        for bytes in [&b""[..], b"\x00\xff\x7f", "schl\u{fc}ssel".as_bytes()] {
            assert_eq!(unhex(&hex(bytes)).as_deref(), Some(bytes));
        }
        for bad in ["a", "zz", "0g", "\u{e9}"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}

//! The checks of a server before any lock is taken.

use std::pin::pin;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::connections::{Answer, Checkout, Connections, Query};
use super::errors::{is_transient, judged, refused};
use super::statements::{Flavour, Statements};
use crate::clock::{Moment, until};
use crate::drivers::sql::Table;
use crate::error::{ConnectKind, Error};

/// The options of a URL that sqlx knows. It overlooks all others, so that a mistyped `ssl-mode` would be none.
const OPTIONS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "charset",
    "collation",
    "statement-cache-capacity",
    "socket",
    "timezone",
    "time-zone",
];

/// Reads a URL. Its text, or a part of it, is in no error.
pub(super) fn parse(url: &str, table: &Table) -> Result<MySqlConnectOptions, Error> {
    let bad = |reason| refused(ConnectKind::Url, reason);
    let rest = url
        .strip_prefix("mysql://")
        .or_else(|| url.strip_prefix("mariadb://"))
        .ok_or_else(|| bad("a url begins with `mysql://` or `mariadb://`"))?;
    if rest.contains(['#', ' ', '\t', '\r', '\n', '\\']) {
        return Err(bad(
            "`#`, `\\` and white space in a password are to be written as `%23`, `%5C`, `%20`",
        ));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    if database.contains(['/', '@', ':']) {
        return Err(bad(
            "a database has no `/`, `@` or `:`; in a password, `/` is to be written as `%2F`",
        ));
    }
    let mut socket = false;
    for option in query.split('&').filter(|option| !option.is_empty()) {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        if !OPTIONS.contains(&name) {
            return Err(bad("the url has an option that is not known"));
        }
        socket |= name == "socket";
    }
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host.is_empty() && !socket {
        return Err(bad("the url has no host"));
    }
    if database.is_empty() && table.schema().is_none() {
        return Err(bad("the url has no database, and the table no schema"));
    }
    // The words of that error may quote the url.
    let options = MySqlConnectOptions::from_str(&format!(
        "mysql://{}",
        url.split_once("://").map_or("", |(_, rest)| rest)
    ))
    .map_err(|_| bad("the url, or an option in it, cannot be read"))?;
    let host = options.get_host().trim_matches(['[', ']']).to_owned();
    Ok(options
        .host(&host)
        // All that sqlx would set; the store sets its own.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .set_names(false)
        .disable_statement_logging())
}

/// Checks the server and the table, and makes the table if it is missing and `create_table`, all within `timeout`.
pub(super) async fn set_up(
    connections: &Connections,
    statements: &Statements,
    create_table: bool,
    timeout: Duration,
) -> Result<Flavour, Error> {
    let mut checked = pin!(check(connections, statements, create_table));
    until(Moment::now().after(timeout), &mut checked)
        .await
        .unwrap_or_else(|_| {
            Err(refused(
                ConnectKind::Unreachable,
                "the server did not answer in time",
            ))
        })
}

async fn check(
    connections: &Connections,
    statements: &Statements,
    create_table: bool,
) -> Result<Flavour, Error> {
    let mut one = checkout(connections).await?;
    let flavour = check_server(&mut one).await?;
    if !check_table(&mut one, statements.table()).await? {
        if !create_table {
            return Err(refused(ConnectKind::Schema, "the table does not exist"));
        }
        ask(&mut one, || {
            sqlx::query(AssertSqlSafe(statements.ddl())).persistent(false)
        })
        .await?;
        if !check_table(&mut one, statements.table()).await? {
            return Err(refused(ConnectKind::Rights, "the table cannot be seen"));
        }
    }
    ask(&mut one, || statements.probe()).await?;
    let counted = ask(&mut one, || statements.probe_count()).await?;
    if counted.found != 1 {
        return Err(refused(
            ConnectKind::Unsupported,
            "what is between here and the server does not pass on that found rows are to be counted",
        ));
    }
    let written = probed(&mut one, statements).await?;
    drop(one);

    // What the keeper will do: another connection, which must see what this one has written.
    let sibling = connections.sibling();
    let seen = async {
        let mut other = checkout(&sibling).await?;
        check_server(&mut other).await?;
        probed(&mut other, statements).await
    }
    .await;
    sibling.close().await;
    match seen {
        Ok(seen) if seen >= written => Ok(flavour),
        Ok(_) => Err(refused(
            ConnectKind::Isolated,
            "a second connection does not see what the first has written",
        )),
        Err(Error::Connect {
            kind: ConnectKind::Schema,
            source,
            ..
        }) => Err(Error::connect(super::DRIVER, ConnectKind::Isolated, source)),
        Err(error) => Err(error),
    }
}

/// The version, and the settings that would break promises.
async fn check_server(checkout: &mut Checkout) -> Result<Flavour, Error> {
    let answer = ask(checkout, || {
        sqlx::query(
            "SELECT VERSION(), CAST(@@GLOBAL.read_only AS CHAR), CAST(@@SESSION.autocommit AS CHAR), \
             CAST(@@SESSION.sql_mode AS CHAR)",
        )
    })
    .await?;
    let row = first(&answer)?;
    let flavour = flavour(&text(row, 0)?).ok_or_else(|| {
        refused(
            ConnectKind::Unsupported,
            "MariaDB 10.5 or MySQL 8.0.20 is the oldest that works",
        )
    })?;
    if !matches!(&*text(row, 1)?, "0" | "OFF") {
        return Err(refused(ConnectKind::ReadOnly, "`read_only` is set"));
    }
    if !matches!(&*text(row, 2)?, "1" | "ON") {
        return Err(refused(
            ConnectKind::Unsupported,
            "the pool's connections do not commit by themselves",
        ));
    }
    let modes = text(row, 3)?;
    // The one evaluates assignments in another order, the other takes an empty text for none.
    if modes.contains("SIMULTANEOUS_ASSIGNMENT") || modes.contains("EMPTY_STRING_IS_NULL") {
        return Err(refused(
            ConnectKind::Unsupported,
            "the pool sets `sql_mode` to SIMULTANEOUS_ASSIGNMENT or EMPTY_STRING_IS_NULL",
        ));
    }
    Ok(flavour)
}

/// What answers by this name, if it is new enough.
fn flavour(version: &str) -> Option<Flavour> {
    let maria_db = version.contains("MariaDB");
    // A replication fix of old clients.
    let number = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut parts = number
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse::<u32>().ok());
    let number = (parts.next()?, parts.next()?, parts.next().unwrap_or(0));
    if maria_db {
        (number >= (10, 5, 0)).then_some(Flavour::MariaDb)
    } else {
        (number >= (8, 0, 20)).then_some(Flavour::MySql)
    }
}

const COLUMNS: [(&str, &str, i64, bool); 6] = [
    ("key", "varbinary", 640, false),
    ("owner", "varbinary", 16, true),
    ("holder", "varbinary", 255, false),
    ("token", "bigint", 0, false),
    ("granted", "bigint", 0, false),
    ("expiry", "bigint", 0, false),
];

/// Whether there is a table, which then is as it must be.
async fn check_table(checkout: &mut Checkout, table: &Table) -> Result<bool, Error> {
    let wrong = |reason| Err(refused(ConnectKind::Schema, reason));
    let answer = ask(checkout, || {
        sqlx::query(
            "SELECT t.TABLE_NAME, t.TABLE_TYPE, COALESCE(t.ENGINE, ''), c.COLUMN_NAME, c.DATA_TYPE, \
             CAST(COALESCE(c.CHARACTER_MAXIMUM_LENGTH, 0) AS SIGNED), c.IS_NULLABLE, c.COLUMN_KEY, \
             c.COLUMN_DEFAULT IS NULL AND c.EXTRA = '', c.COLUMN_TYPE LIKE '%unsigned%' \
             FROM information_schema.TABLES t JOIN information_schema.COLUMNS c \
             ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME \
             WHERE t.TABLE_SCHEMA = COALESCE(?, DATABASE()) AND t.TABLE_NAME = ?",
        )
        .bind(table.schema().map(str::to_owned))
        .bind(table.name().to_owned())
    })
    .await?;
    // The comparison folds case, as the names of some servers do. Where they do not, there may be two.
    let mut rows = Vec::new();
    for row in &answer.rows {
        rows.push((text(row, 0)?, row));
    }
    if rows.iter().any(|(name, _)| name == table.name()) {
        rows.retain(|(name, _)| name == table.name());
    }
    if rows.is_empty() {
        return Ok(false);
    }
    let mut found = 0;
    for (_, row) in &rows {
        if text(row, 1)? != "BASE TABLE" {
            return wrong("it is no table");
        }
        if !text(row, 2)?.eq_ignore_ascii_case("InnoDB") {
            return wrong("its engine is not InnoDB");
        }
        let name = text(row, 3)?;
        let primary = text(row, 7)? == "PRI";
        let nullable = text(row, 6)? == "YES";
        let right = match COLUMNS.iter().find(|column| column.0 == name) {
            Some((_, kind, length, may_be_null)) => {
                found += 1;
                text(row, 4)?.eq_ignore_ascii_case(kind)
                    && number(row, 5)? >= *length
                    && nullable == *may_be_null
                    && number(row, 9)? == 0
            }
            // Somebody's own column is no harm as long as a new row need not name it.
            None => nullable || number(row, 8)? == 0,
        };
        if !right {
            return wrong("a column is of another type");
        }
        if primary != (name == "key") {
            return wrong("its primary key is not `key` alone");
        }
    }
    if found == COLUMNS.len() {
        Ok(true)
    } else {
        wrong("a column is missing")
    }
}

/// The token of the probe's row as this connection sees it; 0 if it sees none.
async fn probed(checkout: &mut Checkout, statements: &Statements) -> Result<i64, Error> {
    let answer = ask(checkout, || statements.probe_look()).await?;
    answer.rows.first().map_or(Ok(0), |row| number(row, 0))
}

async fn checkout(connections: &Connections) -> Result<Checkout, Error> {
    connections.checkout().await.map_err(|error| judged(&error))
}

/// Executes a statement of the set-up.
async fn ask(checkout: &mut Checkout, query: impl Fn() -> Query) -> Result<Answer, Error> {
    loop {
        match checkout.run(query()).await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_transient(&error) => tokio::task::yield_now().await,
            Err(error) => return Err(judged(&error)),
        }
    }
}

fn first(answer: &Answer) -> Result<&MySqlRow, Error> {
    answer
        .rows
        .first()
        .ok_or_else(|| refused(ConnectKind::NotAStore, "it answers nothing"))
}

/// A text, of whatever type and collation a version says it is.
fn text(row: &MySqlRow, column: usize) -> Result<String, Error> {
    let bytes: Vec<u8> = row.try_get(column).map_err(|error| judged(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn number(row: &MySqlRow, column: usize) -> Result<i64, Error> {
    row.try_get(column).map_err(|error| judged(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<MySqlConnectOptions, Error> {
        parse(url, &Table::parse("t")?)
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_its_text() {
        for url in [
            "",
            "localhost",
            "redis://u:s3cret@h/db",
            "postgres://u:s3cret@h/db",
            "mysql:u:s3cret@h/db",
            "mysql://u:s3cret@/db",
            "mysql://u:s3cret@h",
            "mysql://u:s3cret@h/",
            "mysql://u:s3cret@h/db?sslmod=required",
            "mysql://u:s3cret@h/db?ssl-mode=s3cret",
            "mysql://u:s3cret@h:99999/db",
            "mysql://u:a/s3cret@h/db",
            "mysql://u:1/s3cret@h",
            "mysql://u:1#s3cret@h/db",
            "mysql://u:1?s3cret@h/db",
            "mysql://u:s3 cret@h/db",
        ] {
            let error = parsed(url).expect_err(url);
            assert!(
                matches!(
                    error,
                    Error::Connect {
                        kind: ConnectKind::Url,
                        ..
                    }
                ),
                "{url}: {error:?}"
            );
            assert!(!format!("{error:?} {error}").contains("cret"), "{error:?}");
        }
    }

    #[test]
    fn a_url_is_read() -> Result<(), Error> {
        let options = parsed("mariadb://u%40:p%40%3A%2F%25@[::1]:33/db?ssl-mode=disabled")?;
        assert_eq!(options.get_username(), "u@");
        assert_eq!(options.get_host(), "::1");
        assert_eq!(options.get_port(), 33);
        assert_eq!(options.get_database(), Some("db"));
        assert!(parse("mysql://u@h", &Table::parse("s.t")?).is_ok());
        Ok(())
    }

    #[test]
    fn the_server_is_told_by_its_version() {
        for (version, is) in [
            ("10.11.19-MariaDB-0+deb12u1", Some(Flavour::MariaDb)),
            ("5.5.5-10.6.1-MariaDB-log", Some(Flavour::MariaDb)),
            ("10.4.33-MariaDB", None),
            ("11.8.2-MariaDB-ubu2404", Some(Flavour::MariaDb)),
            ("8.0.20", Some(Flavour::MySql)),
            ("8.0.19-log", None),
            ("8.4.3-commercial", Some(Flavour::MySql)),
            ("9.1", Some(Flavour::MySql)),
            ("5.7.44-log", None),
            ("nonsense", None),
        ] {
            assert_eq!(flavour(version), is, "{version}");
        }
    }
}

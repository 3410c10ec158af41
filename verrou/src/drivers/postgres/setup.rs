//! The checks of a database before any lock is taken.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgRow, PgSslMode};
use sqlx::{ConnectOptions as _, Row as _};

use super::connections::{Checkout, Connections, Protocol};
use super::failure::{because, code, connecting, is_dead, is_transient, refused};
use super::statements::{Statement, Statements, hex};
use crate::clock::{self, Moment};
use crate::error::{ConnectKind, Error};

/// Before 12 nothing was tried.
const OLDEST: i32 = 120_000;

/// What a URL may say. sqlx passes over the rest, and logs it: a misspelt `password` too.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Reads a URL. No error quotes any of it.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, Error> {
    let wrong = |why: &str| Err(refused(ConnectKind::Url, why));
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme))
    {
        return wrong("a url begins with `postgres://` or `postgresql://`");
    }
    if let Some((_, query)) = url.split_once('?') {
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            let is_setting = name.starts_with("options[") && name.ends_with(']');
            if !is_setting && !PARAMETERS.contains(&name) {
                return wrong("the url has a parameter that is not known");
            }
        }
    }
    let Ok(options) = PgConnectOptions::from_str(url) else {
        return wrong("the url cannot be read; write `@ : / ? # %` in a password as %XX");
    };
    let encrypted = matches!(
        options.get_ssl_mode(),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    if encrypted && cfg!(not(any(feature = "tls-rustls", feature = "tls-native-tls"))) {
        return wrong("its sslmode needs the feature `tls-rustls` or `tls-native-tls`");
    }
    let host = options.get_host();
    // An address of IPv6 comes with the brackets that it has in a URL.
    let options = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => {
            let address = address.to_owned();
            options.host(&address)
        }
        None => options,
    };
    // A pooler refuses settings at the start of a session, and no statement of ours has such digits.
    Ok(options.extra_float_digits(None).disable_statement_logging())
}

/// What a set-up needs besides its connections.
pub(super) struct Plan<'a> {
    pub(super) statements: &'a Statements,
    pub(super) protocol: Protocol,
    pub(super) create_table: bool,
}

/// Does all of it within `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut work = std::pin::pin!(work);
    match clock::until(Moment::now().after(limit), &mut work).await {
        Ok(done) => done,
        Err(clock::Elapsed) => Err(refused(
            ConnectKind::Unreachable,
            format!("no answer within the connect timeout of {limit:?}"),
        )),
    }
}

/// Checks the server, creates the table, checks it, and looks at it through a second connection.
pub(super) async fn set_up(connections: &Connections, plan: &Plan<'_>) -> Result<(), Error> {
    let mut one = connections.checkout().await.map_err(connecting)?;
    check_server(&mut one, plan).await?;
    if plan.create_table && find_table(&mut one, plan).await?.is_none() {
        create_table(&mut one, plan).await?;
    }
    let place = check_table(&mut one, plan).await?;
    drop(one);

    // What the keeper will do: another connection, which must see the same table of the same server.
    let sibling = connections.sibling();
    let checked = check_sibling(&sibling, plan, &place).await;
    sibling.close().await;
    checked
}

async fn check_sibling(sibling: &Connections, plan: &Plan<'_>, place: &Place) -> Result<(), Error> {
    let mut other = sibling.checkout().await.map_err(connecting)?;
    check_server(&mut other, plan).await?;
    if find_table(&mut other, plan).await?.as_ref() != Some(place) {
        return Err(refused(
            ConnectKind::Isolated,
            "the second connection finds another table, or another server",
        ));
    }
    ask(&mut other, &plan.statements.probe(), plan.protocol)
        .await
        .map(|_| ())
}

/// The server can be written to, and is one that keeps locks.
async fn check_server(checkout: &mut Checkout, plan: &Plan<'_>) -> Result<(), Error> {
    let text = "SELECT version(), current_setting('server_version_num')::int, \
                pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'";
    let rows = ask(checkout, &Statement::plain(text.to_owned()), plan.protocol).await?;
    let row = first(&rows)?;
    let version: String = column(row, 0)?;
    if !version.starts_with("PostgreSQL ") {
        return Err(refused(
            ConnectKind::Unsupported,
            "it speaks the protocol of Postgres, but is something else",
        ));
    }
    if column::<i32>(row, 1)? < OLDEST {
        return Err(refused(
            ConnectKind::Unsupported,
            "it is older than Postgres 12",
        ));
    }
    if column::<bool>(row, 2)? {
        return Err(refused(ConnectKind::ReadOnly, "it is a standby"));
    }
    if column::<bool>(row, 3)? {
        return Err(refused(
            ConnectKind::ReadOnly,
            "`default_transaction_read_only` is on for this role, database or server",
        ));
    }
    Ok(())
}

/// Which table of which server a connection sees.
#[derive(PartialEq, Eq)]
struct Place {
    /// When the server was started, its database, and the table in it.
    identity: String,
    table: i64,
}

/// The table, if there is one.
async fn find_table(checkout: &mut Checkout, plan: &Plan<'_>) -> Result<Option<Place>, Error> {
    // As text in hexadecimal: a name needs no quotes of its own that way.
    let text = format!(
        "SELECT extract(epoch FROM pg_postmaster_start_time())::text || ' ' || d.oid::text, \
         to_regclass(convert_from(decode('{}', 'hex'), 'UTF8'))::oid::bigint \
         FROM pg_database AS d WHERE d.datname = current_database()",
        hex(plan.statements.quoted().as_bytes())
    );
    let rows = ask(checkout, &Statement::plain(text), plan.protocol).await?;
    let row = first(&rows)?;
    let identity = column(row, 0)?;
    Ok(column::<Option<i64>>(row, 1)?.map(|table| Place { identity, table }))
}

/// Of several that do this at once, one makes the table and the others find it, or are told that they came second.
async fn create_table(checkout: &mut Checkout, plan: &Plan<'_>) -> Result<(), Error> {
    let ddl = Statement::plain(plan.statements.ddl());
    loop {
        match checkout.run(&ddl, Protocol::Simple).await {
            Ok(_) => return Ok(()),
            // IF NOT EXISTS looks before it locks: then the catalogue's unique index is what refuses the second.
            Err(error) if matches!(code(&error), Some("23505" | "42P07" | "42710")) => {}
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                // Somebody with more rights may have made it meanwhile.
                return match is_dead(&error) || find_table(checkout, plan).await?.is_none() {
                    true => Err(connecting(error)),
                    false => Ok(()),
                };
            }
        }
        if find_table(checkout, plan).await?.is_some() {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

const COLUMNS: [(&str, &str, bool); 7] = [
    ("key", "bytea", true),
    ("owner", "bytea", false),
    ("holder", "bytea", true),
    ("token", "bigint", true),
    ("granted", "bigint", true),
    ("expiry", "bigint", true),
    ("waiting", "bigint", true),
];

async fn check_table(checkout: &mut Checkout, plan: &Plan<'_>) -> Result<Place, Error> {
    let Some(place) = find_table(checkout, plan).await? else {
        return Err(refused(
            ConnectKind::Schema,
            "there is no such table; `schema_sql()` prints the statement that creates it",
        ));
    };
    let text = format!(
        "SELECT a.attname::text, format_type(a.atttypid, NULL), a.attnotnull, \
         a.atthasdef OR a.attidentity <> '', c.relkind::text, c.relpersistence::text, \
         EXISTS (SELECT 1 FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate \
         AND i.indisvalid AND i.indpred IS NULL AND i.indnatts = 1 AND i.indkey[0] = a.attnum), \
         has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
         AND has_table_privilege(c.oid, 'UPDATE') \
         FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid \
         WHERE c.oid = ({})::oid AND a.attnum > 0 AND NOT a.attisdropped",
        place.table
    );
    let rows = ask(checkout, &Statement::plain(text), plan.protocol).await?;
    let shape = |why: String| Err(refused(ConnectKind::Schema, why));
    let mut found = 0;
    for row in &rows {
        let name: String = column(row, 0)?;
        let kind: String = column(row, 1)?;
        let not_null: bool = column(row, 2)?;
        if !matches!(column::<String>(row, 4)?.as_str(), "r" | "p") {
            return shape("it is no table".to_owned());
        }
        match column::<String>(row, 5)?.as_str() {
            "t" => return Err(refused(ConnectKind::Isolated, "the table is temporary")),
            "u" => {
                return Err(refused(
                    ConnectKind::Unsupported,
                    "the table is UNLOGGED: a crash of the server would free every lock",
                ));
            }
            _ => {}
        }
        if !column::<bool>(row, 7)? {
            return Err(refused(
                ConnectKind::Rights,
                "the role needs SELECT, INSERT and UPDATE on the table",
            ));
        }
        match COLUMNS.iter().find(|column| column.0 == name) {
            Some(wanted) => {
                found += 1;
                if wanted.1 != kind || wanted.2 != not_null {
                    return shape(format!("its column `{name}` has another type"));
                }
                if name == "key" && !column::<bool>(row, 6)? {
                    return shape("its column `key` is not unique by itself".to_owned());
                }
            }
            // Somebody's own column is no harm as long as a new row need not name it.
            None if not_null && !column::<bool>(row, 3)? => {
                return shape("it has a further column without a default".to_owned());
            }
            None => {}
        }
    }
    if found < COLUMNS.len() {
        return shape("it lacks a column".to_owned());
    }
    ask(checkout, &plan.statements.probe(), plan.protocol).await?;
    Ok(place)
}

/// Executes a statement of the set-up.
async fn ask(
    checkout: &mut Checkout,
    statement: &Statement,
    protocol: Protocol,
) -> Result<Vec<PgRow>, Error> {
    loop {
        match checkout.run(statement, protocol).await {
            Ok(answer) => return Ok(answer.rows),
            Err(error) if is_transient(&error) => tokio::task::yield_now().await,
            Err(error) => return Err(connecting(error)),
        }
    }
}

fn first(rows: &[PgRow]) -> Result<&PgRow, Error> {
    rows.first()
        .ok_or_else(|| because(ConnectKind::NotAStore, sqlx::Error::RowNotFound))
}

fn column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(index)
        .map_err(|error| because(ConnectKind::NotAStore, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_have_every_character() -> Result<(), Error> {
        let options = parse("postgres://u:p%40%3A%2F%25@[::1]:5433/db?sslmode=disable")?;
        assert_eq!(options.get_host(), "::1");
        assert_eq!(options.get_port(), 5433);
        Ok(())
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_a_word_of_it() {
        for bad in [
            "",
            "s3cret",
            "mysql://u:s3cret@localhost/db",
            "postgres://u:s3cret@localhost:port/db",
            "postgres://u:s3/cret@localhost/db",
            "postgres://u:s3#cret@localhost/db",
            "postgres://u@localhost/db?pasword=s3cret",
            "postgres://u@localhost/db?sslmode=s3cret",
        ] {
            let Err(error) = parse(bad) else {
                panic!("{bad} is accepted");
            };
            assert!(
                matches!(
                    error,
                    Error::Connect {
                        kind: ConnectKind::Url,
                        ..
                    }
                ),
                "{error:?}"
            );
            assert!(!format!("{error:?}{error}").contains("s3"), "{error:?}");
        }
    }
}

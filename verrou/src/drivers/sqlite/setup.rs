//! The checks of a lock file before any lock is taken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::connections::{BUSY_TIMEOUT, Checkout, Connections, Query, code, is_busy};
use super::files::{self, Location, explained, failed};
use super::statements::Statements;
use crate::clock::{Moment, sleep_until};
use crate::drivers::sql::Table;
use crate::error::{ConnectKind, Error};
use crate::key::Shown;

/// How long a set-up tries while other processes have the file locked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause after a lock that SQLite does not wait for.
const PAUSE: Duration = Duration::from_millis(2);

/// What a store has once it is set up.
pub(super) struct Ready {
    pub(super) connections: Connections,
    pub(super) boot: Arc<str>,
    /// The file's path as SQLite has resolved it.
    pub(super) file: PathBuf,
}

/// Opens, and if need be creates, a file of the store's own.
pub(super) async fn open(
    location: Location,
    limit: usize,
    statements: &Statements,
    create_table: bool,
) -> Result<Ready, Error> {
    let path = location.path.clone();
    blocking(move || files::prepare(&location)).await?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Normal)
        .thread_name(|number| format!("verrou-sqlite-{number}"))
        .disable_statement_logging();
    if cfg!(not(target_os = "linux")) {
        // SQLite makes it; on Linux it is there. Later connections never make another one.
        let created = options.clone().create_if_missing(true).connect().await;
        drop(created.map_err(judged)?);
    }
    let file = blocking(move || files::identify(&path)).await?;
    let first = Connections::own(options, file, limit);
    let deadline = Moment::now().after(PATIENCE);
    let mut checkout = patient(&first, deadline).await?;
    write_ahead(&mut checkout, deadline).await?;
    drop(checkout);
    set_up(first, statements, create_table).await
}

/// Everything that is the same for the store's own connections and for a user's pool.
pub(super) async fn set_up(
    connections: Connections,
    statements: &Statements,
    create_table: bool,
) -> Result<Ready, Error> {
    let boot = blocking(files::boot_id).await?;
    let table = statements.table();
    let deadline = Moment::now().after(PATIENCE);
    let mut one = patient(&connections, deadline).await?;
    let file = backing_file(&mut one, table, deadline).await?;
    blocking(move || files::check(&file)).await?;
    if create_table {
        ask(&mut one, deadline, || {
            sqlx::query(AssertSqlSafe(statements.ddl()))
        })
        .await?;
    }
    check_table(&mut one, table, deadline).await?;
    ask(&mut one, deadline, || statements.probe()).await?;
    let file = backing_file(&mut one, table, deadline).await?;
    drop(one);

    // What the keeper will do: another connection, which must see the same table of the same file.
    let sibling = connections.sibling();
    let checked = check_sibling(&sibling, &file, statements, deadline).await;
    sibling.close().await;
    checked?;
    Ok(Ready {
        connections,
        boot,
        file,
    })
}

async fn check_sibling(
    sibling: &Connections,
    file: &Path,
    statements: &Statements,
    deadline: Moment,
) -> Result<(), Error> {
    let mut other = patient(sibling, deadline).await?;
    if backing_file(&mut other, statements.table(), deadline).await? != file {
        return Err(failed(
            ConnectKind::Isolated,
            "a second connection of the pool opens another file; give a pool whose connections all open the same one",
        ));
    }
    check_table(&mut other, statements.table(), deadline)
        .await
        .map_err(|error| match error {
            Error::Connect {
                kind: ConnectKind::Schema,
                source,
                ..
            } => {
                let what = "a second connection of the pool does not see the table of the first";
                match source {
                    Some(source) => explained(ConnectKind::Isolated, what, source),
                    None => failed(ConnectKind::Isolated, what),
                }
            }
            other => other,
        })?;
    ask(&mut other, deadline, || statements.probe())
        .await
        .map(|_| ())
}

/// Switches to write-ahead logging; for a file that has it already this takes no lock.
async fn write_ahead(checkout: &mut Checkout, deadline: Moment) -> Result<(), Error> {
    let mode = ask(checkout, deadline, || sqlx::query("PRAGMA journal_mode")).await?;
    if text(&mode, 0)?.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let mode = ask(checkout, deadline, || {
        sqlx::query("PRAGMA journal_mode = WAL")
    })
    .await?;
    if text(&mode, 0)?.eq_ignore_ascii_case("wal") {
        Ok(())
    } else {
        Err(failed(
            ConnectKind::Unsupported,
            "SQLite cannot use write-ahead logging for this file: its file system has no shared memory; put it on a local disk",
        ))
    }
}

/// The file behind the table's schema, as SQLite knows it.
async fn backing_file(
    checkout: &mut Checkout,
    table: &Table,
    deadline: Moment,
) -> Result<PathBuf, Error> {
    let schema = table.schema().unwrap_or("main").to_owned();
    let rows = ask(checkout, deadline, || {
        sqlx::query("SELECT file FROM pragma_database_list WHERE name = ?1 COLLATE NOCASE")
            .bind(schema.clone())
    })
    .await?;
    if rows.is_empty() {
        return Err(failed(
            ConnectKind::Schema,
            format!(
                "no database is attached as `{schema}`; attach it to every connection of the pool, or name a table without it"
            ),
        ));
    }
    let file = text(&rows, 0)?;
    if file.is_empty() {
        // A temporary one is as if in memory.
        return Err(files::in_memory());
    }
    Ok(PathBuf::from(file))
}

const COLUMNS: [(&str, &str, bool); 7] = [
    ("key", "BLOB", true),
    ("owner", "BLOB", false),
    ("holder", "TEXT", true),
    ("token", "INTEGER", true),
    ("boot", "TEXT", true),
    ("granted", "INTEGER", true),
    ("expiry", "INTEGER", true),
];

async fn check_table(
    checkout: &mut Checkout,
    table: &Table,
    deadline: Moment,
) -> Result<(), Error> {
    let rows = ask(checkout, deadline, || {
        sqlx::query(
            "SELECT c.name, c.type, c.\"notnull\", c.pk, c.dflt_value IS NULL, t.type = 'table' \
             FROM pragma_table_list(?1) AS t, pragma_table_info(?1, ?2) AS c \
             WHERE t.schema = ?2 COLLATE NOCASE",
        )
        .bind(table.name().to_owned())
        .bind(table.schema().unwrap_or("main").to_owned())
    })
    .await?;
    let named = table.schema().map_or_else(
        || format!("`{}`", table.name()),
        |schema| format!("`{schema}.{}`", table.name()),
    );
    if rows.is_empty() {
        return Err(failed(
            ConnectKind::Schema,
            format!(
                "the table {named} is missing; create it with what `SqliteStore::schema_sql()` or `schema_sql_for` prints, \
                 or let `create_table(true)` do it"
            ),
        ));
    }
    let mut found = Vec::new();
    for row in &rows {
        let read = || -> Result<_, sqlx::Error> {
            Ok((
                row.try_get::<String, _>(0)?,
                row.try_get::<String, _>(1)?,
                row.try_get::<bool, _>(2)?,
                row.try_get::<i64, _>(3)?,
                row.try_get::<bool, _>(4)?,
                row.try_get::<bool, _>(5)?,
            ))
        };
        let (name, kind, not_null, key, no_default, is_table) = read().map_err(|error| {
            explained(
                ConnectKind::Schema,
                format!("the columns of {named} cannot be read"),
                error,
            )
        })?;
        if !is_table {
            return Err(failed(
                ConnectKind::Schema,
                format!("{named} is a view and no table; name another one"),
            ));
        }
        let wrong = match COLUMNS.iter().find(|column| column.0 == name) {
            Some(&(name, wanted, filled)) => {
                found.push(name);
                let right = wanted.eq_ignore_ascii_case(&kind)
                    && filled == not_null
                    && key == i64::from(name == "key");
                (!right).then(|| {
                    let filled = if filled { " NOT NULL" } else { "" };
                    let key = if name == "key" {
                        ", and alone the primary key"
                    } else {
                        ""
                    };
                    format!("has to be {wanted}{filled}{key}")
                })
            }
            // Somebody's own column is no harm as long as a new row need not name it.
            None => (key != 0 || (not_null && no_default))
                .then(|| "is not verrou's, and a row could not be written without it".to_owned()),
        };
        if let Some(wrong) = wrong {
            return Err(failed(
                ConnectKind::Schema,
                format!("the column `{}` of the table {named} {wrong}", Shown(&name)),
            ));
        }
    }
    match COLUMNS.iter().find(|column| !found.contains(&column.0)) {
        None => Ok(()),
        Some((missing, ..)) => Err(failed(
            ConnectKind::Schema,
            format!("the table {named} has no column `{missing}`"),
        )),
    }
}

/// Executes a statement of the set-up.
async fn ask(
    checkout: &mut Checkout,
    deadline: Moment,
    mut query: impl FnMut() -> Query,
) -> Result<Vec<sqlx::sqlite::SqliteRow>, Error> {
    loop {
        match checkout.run(query()).await {
            Ok(answer) => return Ok(answer.rows),
            Err(error) if is_busy(&error) && !deadline.has_passed() => pause().await,
            Err(error) => return Err(judged(error)),
        }
    }
}

/// Connects, also while another process sets up the same file.
async fn patient(connections: &Connections, deadline: Moment) -> Result<Checkout, Error> {
    loop {
        match connections.writer().await {
            Ok(checkout) => return Ok(checkout),
            Err(error) if is_busy(&error) && !deadline.has_passed() => pause().await,
            Err(error) => return Err(judged(error)),
        }
    }
}

/// The switch to write-ahead logging does not wait for locks itself. No lock call runs in here: a timer is allowed.
async fn pause() {
    sleep_until(Moment::now().after(PAUSE)).await;
}

fn text(rows: &[sqlx::sqlite::SqliteRow], column: usize) -> Result<String, Error> {
    rows.first()
        .ok_or(sqlx::Error::RowNotFound)
        .and_then(|row| row.try_get(column))
        .map_err(|error| failed(ConnectKind::NotAStore, error))
}

/// Looks at files off the runtime's thread: a network file system may not answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(failed(ConnectKind::Unreachable, error)),
    }
}

/// What an error of SQLite says about the file.
fn judged(error: sqlx::Error) -> Error {
    let kind = match code(&error) {
        // SQLITE_ERROR: the statements are right, so the table is not.
        Some(1) => ConnectKind::Schema,
        // PERM, AUTH
        Some(3 | 23) => ConnectKind::Rights,
        Some(8) => ConnectKind::ReadOnly,
        // CORRUPT, NOTADB
        Some(11 | 26) => ConnectKind::NotAStore,
        _ if is_busy(&error) => {
            return explained(
                ConnectKind::Unreachable,
                "another process keeps the file locked; end its transaction, or give the locks a file of their own",
                error,
            );
        }
        _ => ConnectKind::Unreachable,
    };
    failed(kind, error)
}

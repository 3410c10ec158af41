//! What the errors of a server and of its connections mean.

use sqlx::mysql::MySqlDatabaseError;

use crate::error::{ConnectKind, Error};
use crate::store::StoreError;

/// Errors whose words name nothing but users, hosts, databases, tables and settings. Others may quote data: a key or an owner.
const HARMLESS: [u16; 27] = [
    1020, 1040, 1044, 1045, 1046, 1047, 1049, 1053, 1130, 1142, 1143, 1146, 1203, 1205, 1213, 1226,
    1227, 1251, 1290, 1317, 1665, 1698, 1792, 1836, 1927, 2061, 4031,
];

/// What went wrong, in words that hold no secret.
#[derive(Clone, Debug)]
pub(super) struct Reported(String);

impl Reported {
    pub(super) fn new(error: &sqlx::Error) -> Self {
        let Some(refusal) = refusal(error) else {
            return Self(error.to_string());
        };
        let (number, state) = (refusal.number(), refusal.code().unwrap_or("HY000"));
        if HARMLESS.contains(&number) {
            Self(format!(
                "the server says {number} ({state}): {}",
                refusal.message()
            ))
        } else {
            Self(format!("the server says {number} ({state})"))
        }
    }
}

impl std::fmt::Display for Reported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Reported {}

fn refusal(error: &sqlx::Error) -> Option<&MySqlDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The server's error number.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    refusal(error).map(MySqlDatabaseError::number)
}

/// Another transaction was in the way, and nothing was done.
///
/// `ER_LOCK_DEADLOCK`, `ER_LOCK_WAIT_TIMEOUT`, and `ER_CHECKREAD` of `innodb_snapshot_isolation`.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(1213 | 1205 | 1020))
}

/// The connection has ended.
///
/// A server says why before it closes one: it shuts down, it was told to, or the connection was idle for too long; 1317 is the
/// same for one query. 1243: it does not know what was prepared, so another server has taken over behind a proxy. 2000 to 2999
/// are a client's numbers, 9000 to 9999 ProxySQL's: a proxy has lost its server.
pub(super) fn is_dead(error: &sqlx::Error) -> bool {
    match number(error) {
        Some(number) => matches!(
            number,
            1053 | 1243 | 1317 | 1927 | 2000..=2060 | 2062..=2999 | 3169 | 4031 | 9000..=9999
        ),
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// The connection is dead, or leads to a server that takes no writes any more: another one may lead to the new primary.
pub(super) fn is_of_no_use(error: &sqlx::Error) -> bool {
    is_dead(error) || number(error).is_some_and(is_read_only)
}

/// The options `--read-only` and `--innodb-read-only`; a read-only transaction.
fn is_read_only(number: u16) -> bool {
    matches!(number, 1290 | 1792 | 1836 | 1874)
}

/// Judges a call that failed after it was sent.
pub(super) fn failed(error: &sqlx::Error) -> StoreError {
    let reported = Reported::new(error);
    match number(error) {
        // Where in the commit it struck cannot be told: ER_ERROR_DURING_COMMIT, ER_RUN_HOOK_ERROR, and a kill.
        Some(1180 | 3100) | None => StoreError::unknown(reported),
        Some(_) if is_dead(error) => StoreError::unknown(reported),
        Some(_) => StoreError::not_applied(reported),
    }
}

/// What an error during set-up says about the server.
pub(super) fn judged(error: &sqlx::Error) -> Error {
    let kind = match number(error) {
        // Access denied, by password or by the method; and by the host.
        Some(1045 | 1130 | 1251 | 1698 | 2061) => ConnectKind::Credentials,
        // A right to the database, a table, a column; to do what only an administrator may.
        Some(1044 | 1142 | 1143 | 1227 | 1370) => ConnectKind::Rights,
        Some(number) if is_read_only(number) => ConnectKind::ReadOnly,
        // No such database, none chosen.
        Some(1046 | 1049) => ConnectKind::NotAStore,
        // No such column or table; the statements are right, so the table is not.
        Some(1054 | 1064 | 1146 | 1364) => ConnectKind::Schema,
        // The binary log cannot take statements under READ COMMITTED.
        Some(1665) => ConnectKind::Unsupported,
        _ => match error {
            // TLS is asked for and there is none here or there; or there is none, and the account's method to prove the
            // password (MySQL's `caching_sha2_password`) needs it.
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => ConnectKind::Unsupported,
            sqlx::Error::Protocol(_) | sqlx::Error::ColumnDecode { .. } => ConnectKind::NotAStore,
            _ => ConnectKind::Unreachable,
        },
    };
    Error::connect(
        super::DRIVER,
        kind,
        Some(std::sync::Arc::new(Reported::new(error))),
    )
}

/// The server can be used, but not for this.
pub(super) fn refused(kind: ConnectKind, reason: &'static str) -> Error {
    Error::connect(
        super::DRIVER,
        kind,
        Some(std::sync::Arc::new(Reported(reason.to_owned()))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Outcome;

    #[test]
    fn a_connection_that_broke_is_an_unknown_outcome() {
        let broken = sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into());
        assert!(is_dead(&broken) && !is_transient(&broken));
        assert_eq!(failed(&broken).outcome(), Outcome::Unknown);
    }
}

//! What an error of sqlx or of the server means, and what of it may be shown.

use std::fmt;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::drivers::sql;
use crate::error::{Cause, ConnectKind, Error};
use crate::store::StoreError;

/// What the server said. Its detail is left out: that may quote a row, and with it the owner.
#[derive(Debug)]
struct Refusal {
    code: String,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}

fn server(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The SQLSTATE, if it was the server that answered.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    server(error).map(PgDatabaseError::code)
}

/// `error` without what must not be shown.
pub(super) fn shown(error: sqlx::Error) -> Cause {
    match server(&error) {
        Some(refusal) => std::sync::Arc::new(Refusal {
            code: refusal.code().to_owned(),
            message: refusal.message().to_owned(),
        }),
        None => std::sync::Arc::new(error),
    }
}

/// Nothing was done, and the same statement again will most likely be: a serialization failure, a deadlock, a lock that
/// was not to be had within the session's `lock_timeout`.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    matches!(code(error), Some("40001" | "40P01" | "55P03"))
}

/// The connection has ended.
pub(super) fn is_dead(error: &sqlx::Error) -> bool {
    match server(error) {
        // A pooler that has lost its server says so in class 08.
        Some(refusal) => {
            matches!(refusal.severity(), PgSeverity::Fatal | PgSeverity::Panic)
                || refusal.code().starts_with("08")
        }
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// The connection is dead, or leads to a server that takes no writes any more: another one may lead to the new primary.
pub(super) fn is_of_no_use(error: &sqlx::Error) -> bool {
    is_dead(error) || code(error) == Some("25006")
}

/// Judges a call that failed after it was sent.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    let refused = match server(&error) {
        // An error takes the whole statement back; the end of the session, or 40003, says nothing of it.
        Some(refusal) => !is_dead(&error) && refusal.code() != "40003",
        None => false,
    };
    if refused {
        refusal(error)
    } else {
        StoreError::unknown(shown(error))
    }
}

/// A call that was not sent, or that the server refused.
pub(super) fn refusal(error: sqlx::Error) -> StoreError {
    StoreError::not_applied(shown(error))
}

/// The same for an acquire, whose token may be the last.
pub(super) fn is_out_of_range(error: &sqlx::Error) -> bool {
    code(error) == Some("22003")
}

pub(super) fn tokens_used_up() -> StoreError {
    sql::tokens_used_up()
}

pub(super) fn no_runtime(error: tokio::runtime::TryCurrentError) -> sqlx::Error {
    sqlx::Error::config(error)
}

/// A set-up that failed in the hands of sqlx or of the server.
pub(super) fn connecting(error: sqlx::Error) -> Error {
    let kind = match code(&error) {
        Some(code) => match code {
            "28P01" | "28000" => ConnectKind::Credentials,
            "42501" => ConnectKind::Rights,
            "25006" => ConnectKind::ReadOnly,
            // No such database; no such schema, table, column or function; another type; nowhere to create.
            "3D000" => ConnectKind::Unreachable,
            "3F000" | "42P01" | "42703" | "42883" | "42804" | "42P10" => ConnectKind::Schema,
            "0A000" | "42601" => ConnectKind::Unsupported,
            _ => ConnectKind::Unreachable,
        },
        None => match &error {
            sqlx::Error::Protocol(_) | sqlx::Error::Decode(_) => ConnectKind::NotAStore,
            _ => ConnectKind::Unreachable,
        },
    };
    because(kind, error)
}

pub(super) fn because(kind: ConnectKind, error: sqlx::Error) -> Error {
    Error::connect(super::DRIVER, kind, Some(shown(error)))
}

/// A set-up that found something wrong by itself.
pub(super) fn refused(kind: ConnectKind, why: impl Into<String>) -> Error {
    let why: Box<dyn std::error::Error + Send + Sync> = why.into().into();
    Error::connect(super::DRIVER, kind, Some(why.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Outcome;

    #[test]
    fn a_lost_connection_is_an_unknown_outcome() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert!(is_dead(&lost()));
        assert!(!is_transient(&lost()));
        assert_eq!(failed(lost()).outcome(), Outcome::Unknown);
    }

    #[test]
    fn a_full_pool_is_no_dead_connection() {
        assert!(!is_dead(&sqlx::Error::PoolTimedOut));
        assert_eq!(
            refusal(sqlx::Error::PoolTimedOut).outcome(),
            Outcome::NotApplied
        );
    }
}

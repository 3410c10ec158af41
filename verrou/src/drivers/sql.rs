//! What the SQL drivers share: table names, and the numbers of a lease as columns take them.

#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod lookout;

use std::time::Duration;

#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use lookout::{Duty, Lookout};

use crate::error::Error;
use crate::store::{Cursor, ListRequest, StoreError};
use crate::token::FencingToken;

/// The table of a store that was not told another one.
pub(crate) const DEFAULT_TABLE: &str = "verrou_locks";

/// The longest name of a table or schema, in bytes; Postgres cuts longer ones.
const MAX_NAME: usize = 63;

/// A table name that was checked, so that it may stand in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    schema: Option<String>,
    name: String,
}

impl Table {
    /// Reads `name` or `schema.name`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if a part is not `[A-Za-z_][A-Za-z0-9_]{0,62}`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if !is_name(name) || !schema.is_none_or(is_name) {
            return Err(Error::invalid_option(
                "table",
                "a table is `name` or `schema.name`, each of 1 to 63 of the characters `A-Z a-z 0-9 _`, not first a digit",
            ));
        }
        Ok(Self {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    pub(crate) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name for a statement, each part between two `quote`, which no part contains.
    pub(crate) fn quoted(&self, quote: char) -> String {
        match &self.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{quote}{}{quote}", self.name),
            None => format!("{quote}{}{quote}", self.name),
        }
    }
}

fn is_name(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().next().is_some_and(first)
        && text
            .bytes()
            .all(|byte| first(byte) || byte.is_ascii_digit())
}

/// A length in microseconds, rounded up; at most `i64::MAX / 4`, so that a time plus it fits a `BIGINT`.
pub(crate) fn micros(duration: Duration) -> i64 {
    let micros = duration.as_nanos().div_ceil(1000);
    i64::try_from(micros).unwrap_or(i64::MAX).min(i64::MAX / 4)
}

/// The time from `earlier` to `later`, both in microseconds; zero if `earlier` is later.
pub(crate) fn between(earlier: i64, later: i64) -> Duration {
    Duration::from_micros(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

/// The wall clock of this machine in microseconds of UTC, as a column takes it; a server has its own.
#[cfg(feature = "sqlite")]
pub(crate) fn wall_micros() -> i64 {
    i64::try_from(crate::clock::wall_micros()).unwrap_or(i64::MAX)
}

/// The token in a column.
///
/// # Errors
/// An unknown outcome for a number that no grant can have: the statement was executed, and the table is damaged.
pub(crate) fn token(column: i64) -> Result<FencingToken, StoreError> {
    u64::try_from(column)
        .ok()
        .and_then(FencingToken::new)
        .ok_or_else(|| StoreError::unknown("the table holds a fencing token below 1"))
}

/// The keys among which a page is: from the first one up to the second one.
///
/// Every stored key is UTF-8, which has no byte FF: so the range holds all that begin with the prefix.
pub(crate) fn key_range(request: &ListRequest) -> (Vec<u8>, Vec<u8>) {
    let prefix = request.prefix.as_bytes();
    let from = request.after.as_ref().map_or(prefix, Cursor::as_bytes);
    (from.to_vec(), [prefix, b"\xFF"].concat())
}

/// Where the next page begins, if this one was full: at the smallest key after `last`, which was held or not.
pub(crate) fn next_page(
    request: &ListRequest,
    rows: usize,
    last: Option<Vec<u8>>,
) -> Option<Cursor> {
    let is_full = u32::try_from(rows).is_ok_and(|rows| rows >= request.limit.get());
    let mut next = last.filter(|_| is_full)?;
    next.push(0);
    Some(Cursor::new(next))
}

/// The key had its last token.
pub(crate) fn tokens_used_up() -> StoreError {
    StoreError::not_applied("the fencing tokens of this key are used up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_name_cannot_leave_its_quotes() {
        let long = "t".repeat(64);
        for bad in [
            "",
            ".",
            "t.",
            ".t",
            "1t",
            "a.b.c",
            "t\"; DROP TABLE x; --",
            "t`",
            "t t",
            "t\u{e9}",
            "a.1",
            &long,
        ] {
            assert!(
                matches!(
                    Table::parse(bad),
                    Err(Error::InvalidOption {
                        option: "table",
                        ..
                    })
                ),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_table_name_is_quoted_with_its_schema() -> Result<(), Error> {
        assert_eq!(Table::parse("a.b_1")?.quoted('"'), r#""a"."b_1""#);
        assert_eq!(Table::parse("_x")?.quoted('`'), "`_x`");
        assert!(Table::parse(&"t".repeat(63)).is_ok());
        Ok(())
    }

    #[test]
    fn lengths_are_rounded_up_and_never_overflow() {
        assert_eq!(micros(Duration::from_nanos(1)), 1);
        assert_eq!(micros(Duration::from_micros(7)), 7);
        assert!(micros(Duration::MAX).checked_add(i64::MAX / 2).is_some());
        assert_eq!(between(5, 3), Duration::ZERO);
        assert_eq!(
            between(i64::MIN, i64::MAX),
            Duration::from_micros(i64::MAX as u64)
        );
    }

    #[test]
    fn a_damaged_token_is_an_error() {
        assert!(token(0).is_err());
        assert!(token(-1).is_err());
        assert_eq!(token(i64::MAX).ok(), Some(FencingToken::MAX));
    }
}

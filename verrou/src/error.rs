//! Every error of this library.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::holder::{Holder, Utc};
use crate::key::Shown;

/// The cause of an error, shared: every waiter that was queued behind a failed call gets the same one.
pub type Cause = Arc<dyn StdError + Send + Sync + 'static>;

/// Why a lock operation did not succeed.
///
/// Not getting a lock ([`is_busy`](Self::is_busy)), losing one ([`is_lost`](Self::is_lost)) and a store that failed
/// ([`is_store`](Self::is_store)) call for different reactions, so they are never confused. Messages name what was
/// attempted, on which key and store, and what to do; they show no URL, password, owner or serialized lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the key, and the lock was not to wait ([`Wait::Never`](crate::Wait::Never)).
    #[non_exhaustive]
    Busy {
        /// The store that was asked.
        store: String,
        /// The key that is held.
        key: String,
    },
    /// The key was not free in time, or before the attempts were used up.
    #[non_exhaustive]
    Timeout {
        /// The store that was asked.
        store: String,
        /// The key that is held.
        key: String,
        /// How long the acquire waited.
        waited: Duration,
        /// How often it asked the store; 0 if it stood in the queue of its process all the time.
        attempts: u32,
        /// Who held it when the wait ended, if that was known by then: always a holder of this process, one of another as far
        /// as the store told it within the wait. No wait is longer for it.
        holder: Option<Box<Holder>>,
    },
    /// The lease ended while the guard still lived; a lost guard is never held again.
    #[non_exhaustive]
    Lost {
        /// The store of the lock.
        store: String,
        /// The key that was lost first.
        key: String,
    },
    /// The store says that this owner does not hold the key.
    #[non_exhaustive]
    NotHeld {
        /// The store of the lock.
        store: String,
        /// The key.
        key: String,
    },
    /// The wait began inside the body that holds this key: it would wait for itself.
    #[non_exhaustive]
    Reentrant {
        /// The store of the lock.
        store: String,
        /// The key.
        key: String,
    },
    /// The store failed, or did not answer in time.
    #[non_exhaustive]
    Store {
        /// What was attempted: `acquire`, `extend`, `release`, ...
        attempted: &'static str,
        /// The store of the lock.
        store: String,
        /// The key.
        key: String,
        /// Whether the store may have done it all the same.
        outcome: Outcome,
        /// What the driver reported.
        source: Cause,
    },
    /// A driver could not be set up.
    #[non_exhaustive]
    Connect {
        /// The driver: `sqlite`, `redis`, ...
        driver: &'static str,
        /// What is wrong.
        kind: ConnectKind,
        /// What the driver's library reported, if that is where it was found.
        source: Option<Cause>,
    },
    /// The instance cannot be built as configured.
    #[non_exhaustive]
    Config {
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// No store of this name is registered.
    #[non_exhaustive]
    UnknownStore {
        /// The name that was asked for.
        name: String,
        /// The names that are registered.
        known: Vec<String>,
    },
    /// There is no instance: neither [`init`](crate::init) nor a scope.
    NotInitialized,
    /// [`init`](crate::init) was called before.
    AlreadyInitialized,
    /// The key is not a lock key.
    #[non_exhaustive]
    InvalidKey {
        /// The key, cut after 64 characters.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option has a value that cannot work.
    #[non_exhaustive]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The text is no serialized lock, or not one for this store.
    #[non_exhaustive]
    InvalidSerialized {
        /// What is wrong with it.
        reason: String,
    },
    /// The instance was shut down.
    ShutDown,
}

/// Whether a store that failed may have done what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The store did not do it.
    NotApplied,
    /// Nobody knows: the request may have been executed, or may be executed later.
    Unknown,
}

/// What is wrong with a store that is being set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectKind {
    /// The URL or path cannot be read, or has an option that this driver does not know.
    Url,
    /// Nothing answers there, or not in time; for a file: it cannot be opened.
    Unreachable,
    /// The server refused the credentials.
    Credentials,
    /// The role or process lacks a right that the driver needs.
    Rights,
    /// The store can be read but not written.
    ReadOnly,
    /// What answers is something else: another database, not a database at all.
    NotAStore,
    /// The table is missing, or has other columns than this version needs.
    Schema,
    /// The server is too old, or is set up in a way that breaks the promises of a lock.
    Unsupported,
    /// The keeper's connection would see other data than the one given.
    Isolated,
}

impl ConnectKind {
    fn advice(self) -> &'static str {
        match self {
            Self::Url => "the url cannot be used; see the driver's page for its form",
            Self::Unreachable => {
                "it cannot be reached; check that it exists, runs and accepts connections"
            }
            Self::Credentials => "the credentials were refused; check user and password",
            Self::Rights => "a right is missing; see the driver's page for the rights it needs",
            Self::ReadOnly => "it is read-only; a lock store must be writable",
            Self::NotAStore => "what is there is not such a database",
            Self::Schema => {
                "the table is missing or has another shape; create it with what `schema_sql()` prints, or name another one"
            }
            Self::Unsupported => "it cannot keep the promises of a lock; see the driver's page",
            Self::Isolated => {
                "a second connection would not see the same data, so a lock could not be renewed; \
                 use a database that several connections share"
            }
        }
    }
}

impl Error {
    /// The lock is held by somebody else: [`Busy`](Self::Busy) or [`Timeout`](Self::Timeout).
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Timeout { .. })
    }

    /// The lock was held and lost: [`Lost`](Self::Lost).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// The store failed: [`Store`](Self::Store) or [`Connect`](Self::Connect).
    #[must_use]
    pub fn is_store(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::Connect { .. })
    }

    pub(crate) fn invalid_key(key: &str, reason: impl Into<String>) -> Self {
        Self::InvalidKey {
            key: key.chars().take(64).collect(),
            reason: reason.into(),
        }
    }

    pub(crate) fn invalid_option(option: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidOption {
            option,
            reason: reason.into(),
        }
    }

    pub(crate) fn invalid_serialized(reason: impl Into<String>) -> Self {
        Self::InvalidSerialized {
            reason: reason.into(),
        }
    }

    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config {
            reason: reason.into(),
        }
    }

    /// For drivers: the store could not be set up.
    #[must_use]
    pub fn connect(driver: &'static str, kind: ConnectKind, source: Option<Cause>) -> Self {
        Self::Connect {
            driver,
            kind,
            source,
        }
    }
}

/// A lock by its key and its store; both may come from a foreign text.
struct Named<'a>(&'a str, &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock `{}` on store `{}`", Shown(self.1), Shown(self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { store, key } => {
                write!(f, "{} is held by somebody else; try later, or give it a `wait`", Named(store, key))
            }
            Self::Timeout { store, key, waited, attempts, holder } => {
                write!(f, "{} was still held by ", Named(store, key))?;
                match holder.as_ref().filter(|holder| !holder.holder.is_empty()) {
                    Some(holder) => {
                        write!(f, "`{}` (since {})", Shown(&holder.holder), Utc(holder.since))?;
                    }
                    None => f.write_str("somebody else")?,
                }
                write!(
                    f,
                    " after {waited:.3?} and {attempts} {}; \
                     try later, or allow a longer `wait` or more `attempts`",
                    if *attempts == 1 { "attempt" } else { "attempts" },
                )
            }
            Self::Lost { store, key } => write!(
                f,
                "{} was lost: its lease ended before the work did; \
                 stop, and repair by the fencing token what may be half done",
                Named(store, key)
            ),
            Self::NotHeld { store, key } => write!(
                f,
                "{} is not held by this owner: it expired, was released by force, or was handed on; \
                 stop what relies on it, and acquire it anew",
                Named(store, key)
            ),
            Self::Reentrant { store, key } => write!(
                f,
                "{} is held by the body that now waits for it; \
                 pass the guard on, or call the part that does not lock",
                Named(store, key)
            ),
            Self::Store { attempted, store, key, outcome, source: _ } => {
                write!(f, "could not {attempted} {}: the store failed", Named(store, key))?;
                f.write_str(match outcome {
                    Outcome::NotApplied => " and did nothing; try again when it works",
                    Outcome::Unknown => " and may have done it all the same; the lease bounds what is left behind",
                })
            }
            Self::Connect { driver, kind, source: _ } => {
                write!(f, "could not set up the {driver} store: {}", kind.advice())
            }
            Self::Config { reason } => write!(f, "verrou cannot be built: {}", Shown(reason)),
            Self::UnknownStore { name, known } => {
                write!(f, "no store is registered as `{}`; known: ", Shown(name))?;
                for (index, name) in known.iter().enumerate() {
                    write!(f, "{}`{}`", if index == 0 { "" } else { ", " }, Shown(name))?;
                }
                Ok(())
            }
            Self::NotInitialized => f.write_str(
                "there is no verrou instance: call `verrou::init` once at start-up, or run this inside `verrou.scope(..)`",
            ),
            Self::AlreadyInitialized => f.write_str(
                "`verrou::init` was called before; it is for the start of the program, use `verrou.scope(..)` in tests",
            ),
            Self::InvalidKey { key, reason } => {
                write!(f, "`{}` cannot be a lock key: {}", Shown(key), Shown(reason))
            }
            Self::InvalidOption { option, reason } => write!(f, "invalid `{option}`: {}", Shown(reason)),
            Self::InvalidSerialized { reason } => write!(f, "cannot restore the serialized lock: {}", Shown(reason)),
            Self::ShutDown => f.write_str("this verrou instance was shut down; build a new one to take locks"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Store { source, .. } => Some(&**source),
            Self::Connect { source, .. } => source
                .as_ref()
                .map(|source| &**source as &(dyn StdError + 'static)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::FencingToken;

    #[test]
    fn a_message_does_not_repeat_its_source() {
        let error = Error::Store {
            attempted: "acquire",
            store: "jobs".into(),
            key: "k".into(),
            outcome: Outcome::Unknown,
            source: Arc::new(std::io::Error::other("broken pipe")),
        };
        assert!(!error.to_string().contains("broken pipe"));
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("broken pipe")
        );
    }

    fn timeout(attempts: u32) -> Error {
        Error::Timeout {
            store: "jobs".into(),
            key: "k".into(),
            waited: Duration::from_millis(1500),
            attempts,
            holder: None,
        }
    }

    #[test]
    fn a_timeout_says_what_was_tried_and_what_would_help() {
        let said = |attempts| timeout(attempts).to_string();
        assert_eq!(
            said(1),
            "lock `k` on store `jobs` was still held by somebody else after 1.500s and 1 attempt; \
             try later, or allow a longer `wait` or more `attempts`"
        );
        assert!(said(0).contains("and 0 attempts; "), "{}", said(0));
        let mut named = timeout(1);
        if let Error::Timeout { holder, .. } = &mut named {
            let held_for = Duration::from_secs(3);
            let known = Holder::new("api-7:12".into(), FencingToken::MAX, held_for, held_for);
            *holder = Some(Box::new(Holder {
                since: std::time::UNIX_EPOCH,
                ..known
            }));
        }
        let named = named.to_string();
        let by = "was still held by `api-7:12` (since 1970-01-01T00:00:00Z) after 1.500s and";
        assert!(named.contains(by), "{named}");
        assert!(said(2).contains("and 2 attempts; "), "{}", said(2));
    }

    #[test]
    fn a_lock_that_is_not_held_is_to_be_acquired_anew() {
        let error = Error::NotHeld {
            store: "jobs".into(),
            key: "k".into(),
        };
        assert!(error.to_string().ends_with("acquire it anew"), "{error}");
    }

    #[test]
    fn the_bounds_of_a_key_are_named_where_they_were_missed() {
        let missed = |key: &str| match crate::key::StoredKey::new("", key) {
            Err(error) => error.to_string(),
            Ok(key) => panic!("{key} was accepted"),
        };
        let bounds = "a key has 1 to 512 bytes and no NUL";
        for key in ["", "a\0b", &"k".repeat(513)] {
            let text = missed(key);
            assert_eq!(text.matches(bounds).count(), 1, "{text}");
        }
        let other = Error::invalid_key("t:", "the value of `<a>` is empty");
        assert_eq!(
            other.to_string(),
            "`t:` cannot be a lock key: the value of `<a>` is empty"
        );
    }

    #[test]
    fn a_message_is_one_line_whatever_the_names_are() {
        let evil = || "x\n\x1b[2J\u{202e}".to_owned();
        let (store, key, reason) = (evil(), evil(), evil());
        let errors = [
            Error::Busy {
                store: evil(),
                key: evil(),
            },
            Error::Timeout {
                store: evil(),
                key: evil(),
                waited: Duration::ZERO,
                attempts: 1,
                holder: Some(Box::new(Holder::new(
                    evil(),
                    FencingToken::MAX,
                    Duration::ZERO,
                    Duration::ZERO,
                ))),
            },
            Error::Lost {
                store: evil(),
                key: evil(),
            },
            Error::NotHeld {
                store: evil(),
                key: evil(),
            },
            Error::Reentrant {
                store: evil(),
                key: evil(),
            },
            Error::Store {
                attempted: "acquire",
                store,
                key,
                outcome: Outcome::NotApplied,
                source: Arc::new(std::io::Error::other("broken pipe")),
            },
            Error::Config { reason },
            Error::UnknownStore {
                name: evil(),
                known: vec![evil()],
            },
            Error::invalid_key(&evil(), evil()),
            Error::invalid_option("ttl", evil()),
            Error::invalid_serialized(evil()),
        ];
        for error in errors {
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(!text.contains(['\n', '\x1b', '\u{202e}']), "{text:?}");
            }
        }
    }

    #[test]
    fn an_unknown_store_names_the_known_ones() {
        let error = Error::UnknownStore {
            name: "x".into(),
            known: vec!["redis".into(), "jobs".into()],
        };
        assert_eq!(
            error.to_string(),
            "no store is registered as `x`; known: `redis`, `jobs`"
        );
    }

    #[test]
    fn a_long_key_is_cut_in_the_error() {
        let Error::InvalidKey { key, .. } =
            Error::invalid_key(&"k".repeat(5000), "it is longer than 512 bytes")
        else {
            panic!("another error");
        };
        assert_eq!(key.len(), 64);
    }
}

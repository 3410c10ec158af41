//! What is told of an error of the redis crate: never its own text, which may hold arguments, users and addresses.

use std::sync::Arc;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{ConnectKind, Error, Outcome};
use crate::store::StoreError;

use super::DRIVER;

/// The cause of an error of this driver.
#[derive(Debug)]
pub(super) struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// A failure in our own words.
pub(super) fn failure(text: impl Into<String>) -> Failure {
    Failure(text.into())
}

/// What went wrong, without what a server or a library says in detail.
pub(super) fn told(error: &RedisError) -> Failure {
    if lacks_right(error) {
        return Failure("the user lacks the right to a command of the scripts".to_owned());
    }
    if let Some(code) = server_code(error) {
        return match advice(&code) {
            Some(advice) => Failure(format!("the server answered {code}: {advice}")),
            None => Failure(format!("the server answered {code}")),
        };
    }
    Failure(match error.kind() {
        ErrorKind::Io => match io_kind(error) {
            Some(std::io::ErrorKind::Other) | None => "the connection failed".to_owned(),
            Some(std::io::ErrorKind::InvalidData) => {
                "the connection failed: invalid data, or a certificate that is not trusted"
                    .to_owned()
            }
            Some(kind) => format!("the connection failed: {kind}"),
        },
        ErrorKind::AuthenticationFailed => "the credentials were refused".to_owned(),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            "the answer is not one of a Redis server".to_owned()
        }
        ErrorKind::InvalidClientConfig => "the connection is not configured rightly".to_owned(),
        ErrorKind::ClusterConnectionNotFound => {
            "no node of the cluster could be reached for this key".to_owned()
        }
        ErrorKind::MasterNameNotFoundBySentinel => {
            "the sentinels know no primary of this name".to_owned()
        }
        ErrorKind::RESP3NotSupported => "the server does not speak RESP3".to_owned(),
        ErrorKind::Client => "the connection could not be made".to_owned(),
        _ => "the redis client failed".to_owned(),
    })
}

fn io_kind(error: &RedisError) -> Option<std::io::ErrorKind> {
    let source = std::error::Error::source(error)?;
    // The redis crate shows its shared pointer as the source.
    let shared = source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>();
    let io = match shared {
        Some(shared) => shared.downcast_ref::<std::io::Error>(),
        None => source.downcast_ref::<std::io::Error>(),
    };
    io.map(std::io::Error::kind)
}

/// Inside of a script a missing right has no code of its own.
fn lacks_right(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError)
        && error.detail().is_some_and(|detail| {
            detail.contains("ACL failure") || detail.contains("can't run this command")
        })
}

/// Before Redis 7 the refusal of a write in a script has no code of its own, and comes in the text.
fn is_read_only(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => error
            .detail()
            .is_some_and(|detail| detail.contains("-READONLY ")),
        _ => false,
    }
}

/// The error code of an answer of the server, if it is one.
fn server_code(error: &RedisError) -> Option<String> {
    if is_read_only(error) {
        return Some("READONLY".to_owned());
    }
    let code = match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => error.code()?,
        _ => return None,
    };
    let plain = code.len() <= 20 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    Some(if plain { code } else { "an error" }.to_owned())
}

fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "READONLY" => "it is a replica and takes no writes; connect to the primary",
        "OOM" => "its memory is full",
        "MISCONF" => "it cannot save its data, and takes no writes until it can",
        "LOADING" => "it is still loading its data",
        "BUSY" => "it is busy with a script",
        "NOAUTH" => "it asks for a password",
        "WRONGPASS" => "user or password is wrong",
        "NOPERM" => "the user lacks the right to a command, key or channel",
        "CLUSTERDOWN" => "the cluster is down",
        "MOVED" | "ASK" | "CROSSSLOT" => {
            "it is a node of a cluster; use `from_cluster_client` of the feature `redis-cluster`"
        }
        "NOREPLICAS" => "it has fewer replicas than it is told to write with",
        "MASTERDOWN" => "it is a replica without its primary",
        "WRONGTYPE" => "a key of this prefix holds something that is no lock",
        _ => return None,
    })
}

/// Whether the server knows the script by its hash.
pub(super) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether the connection is of no more use: it is dead, or leads to a server that is not the primary any more.
pub(super) fn is_of_no_use(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(ServerErrorKind::MasterDown) => true,
        _ if is_read_only(error) => true,
        _ => error.is_unrecoverable_error(),
    }
}

/// Whether the server has executed what was sent; `clustered` if the client may have sent it more than once.
pub(super) fn outcome(error: &RedisError, clustered: bool) -> Outcome {
    // The scripts write nothing before the last command that can be refused.
    match error.kind() {
        ErrorKind::Server(
            ServerErrorKind::ClusterDown
            | ServerErrorKind::TryAgain
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading,
        ) if clustered => Outcome::Unknown,
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => {
            Outcome::NotApplied
        }
        _ => Outcome::Unknown,
    }
}

/// `error` as the answer of a call; in doubt an earlier attempt of it may have been executed.
pub(super) fn store_error(error: &RedisError, clustered: bool, doubt: bool) -> StoreError {
    match outcome(error, clustered) {
        Outcome::NotApplied if !doubt => StoreError::not_applied(told(error)),
        _ => StoreError::unknown(told(error)),
    }
}

/// `error` of a store that is being set up.
pub(super) fn connect_error(error: &RedisError) -> Error {
    let kind = match server_code(error).as_deref() {
        _ if lacks_right(error) => ConnectKind::Rights,
        Some("NOAUTH" | "WRONGPASS") => ConnectKind::Credentials,
        Some("NOPERM") => ConnectKind::Rights,
        Some("READONLY" | "MASTERDOWN" | "MISCONF" | "OOM" | "NOREPLICAS") => ConnectKind::ReadOnly,
        Some("MOVED" | "ASK" | "CROSSSLOT") => ConnectKind::Unsupported,
        Some("LOADING" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN") => ConnectKind::Unreachable,
        Some("WRONGTYPE") => ConnectKind::Schema,
        Some(_) => ConnectKind::Unsupported,
        None => match error.kind() {
            ErrorKind::AuthenticationFailed => ConnectKind::Credentials,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => ConnectKind::NotAStore,
            ErrorKind::RESP3NotSupported => ConnectKind::Unsupported,
            ErrorKind::InvalidClientConfig => ConnectKind::Url,
            _ => ConnectKind::Unreachable,
        },
    };
    refused(kind, told(error))
}

/// A store that cannot be set up, for a reason in our own words.
pub(super) fn refused(kind: ConnectKind, failure: Failure) -> Error {
    Error::connect(DRIVER, kind, Some(Arc::new(failure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str, detail: &str) -> RedisError {
        redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))
    }

    #[test]
    fn no_detail_of_a_server_is_told() {
        for code in ["ERR", "NOPERM", "hunter2", "HUNTER2"] {
            let text =
                told(&answered(code, "hunter2 with args beginning with: hunter2")).to_string();
            assert!(!text.to_lowercase().contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_refusal_is_not_applied_and_silence_is_unknown() {
        assert_eq!(outcome(&answered("OOM", ""), false), Outcome::NotApplied);
        let cut = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(outcome(&cut.into(), false), Outcome::Unknown);
    }
}

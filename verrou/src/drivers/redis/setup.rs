//! The checks of a server before any lock is taken.

use std::time::Duration;

use redis::Value;

use super::answers::acquired;
use super::connections::{Connections, Link, NoLink, PATIENCE};
use super::failure::{self, connect_error, failure, refused};
use super::outlook::Outlook;
use super::scripts::{self, Names};
use crate::error::{ConnectKind, Error};
use crate::store::{AcquireRequest, Acquired, Owner, ReleaseRequest, StoredKey};

/// The oldest server whose commands the scripts get along with.
const OLDEST: u32 = 6;

/// Something about the server that breaks a promise in some fault, though not in daily work.
///
/// [`RedisStore::warnings`](super::RedisStore::warnings) has what was found at the start; what comes later is logged, like this, as
/// [doubts](crate::store::Doubt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisWarning {
    /// There is no append-only file.
    WeakPersistence,
    /// There are replicas, and replication does not wait for them.
    AsynchronousFailover,
    /// The server may evict keys, which was [allowed](super::RedisBuilder::allow_eviction).
    Eviction,
    /// The server is a replica, which was [allowed](super::RedisBuilder::allow_replica).
    Replica,
}

impl std::fmt::Display for RedisWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WeakPersistence => {
                "the server keeps no append-only file: when it restarts, every lock is free, while its holder does not \
                 know; set `appendonly yes`"
            }
            Self::AsynchronousFailover => {
                "the server has replicas: a failover may take the last grants back, so that a key has two holders"
            }
            Self::Eviction => {
                "the server may evict a held lock when its memory is full; set `maxmemory-policy noeviction`"
            }
            Self::Replica => "the server is a replica: it shows locks, late, and grants none",
        })
    }
}

/// What the user allows, against the advice.
#[derive(Clone, Copy, Default)]
pub(super) struct Allowed {
    pub(super) replica: bool,
    pub(super) eviction: bool,
}

/// What was found of a server that can keep locks.
pub(super) struct Checked {
    pub(super) warnings: Vec<RedisWarning>,
    pub(super) outlook: Outlook,
}

/// Looks whether the server can keep locks, within `limit`.
pub(super) async fn check(
    connections: &Connections,
    names: &Names,
    allowed: Allowed,
    limit: Duration,
) -> Result<Checked, Error> {
    match tokio::time::timeout(limit, checks(connections, names, allowed)).await {
        Ok(checked) => checked,
        Err(_) => Err(refused(
            ConnectKind::Unreachable,
            failure("no answer in time"),
        )),
    }
}

async fn checks(
    connections: &Connections,
    names: &Names,
    allowed: Allowed,
) -> Result<Checked, Error> {
    let link = match connections.checkout(PATIENCE).await {
        Ok(link) => link,
        // The handshake is user, password and database.
        Err(NoLink::Theirs(error)) if error.code() == Some("ERR") => {
            return Err(refused(
                ConnectKind::Url,
                failure("the server refused the number of the database, or its credentials"),
            ));
        }
        Err(NoLink::Theirs(error)) => return Err(connect_error(&error)),
        Err(NoLink::Ours(failure)) => return Err(refused(ConnectKind::Unreachable, failure)),
    };
    let mut warnings = Vec::new();
    let infos = infos(&link, connections.is_cluster()).await?;
    for info in &infos {
        for warning in judge(info, connections.is_cluster(), allowed)? {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    if !warnings.contains(&RedisWarning::Replica) {
        probe(&link, connections.is_cluster(), names).await?;
    }
    Ok(Checked {
        outlook: Outlook::new(&infos, &warnings),
        warnings,
    })
}

/// What the server, or each primary of a cluster, says of itself.
async fn infos(link: &Link, clustered: bool) -> Result<Vec<String>, Error> {
    let info = redis::cmd("INFO");
    #[cfg(feature = "redis-cluster")]
    if clustered {
        let answer = link.everywhere(info).await;
        let Value::Map(nodes) = answer.map_err(|error| connect_error(&error))? else {
            return Err(no_redis());
        };
        return nodes
            .into_iter()
            .map(|(_, info)| text(info).ok_or_else(no_redis))
            .collect();
    }
    let _ = clustered;
    let answer = link.command(&info).await;
    let answer = answer.map_err(|error| connect_error(&error))?;
    Ok(vec![text(answer).ok_or_else(no_redis)?])
}

fn no_redis() -> Error {
    refused(
        ConnectKind::NotAStore,
        failure("the answer is not one of a Redis server"),
    )
}

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A field of an INFO.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

/// What one server's INFO tells against it.
pub(super) fn warnings(info: &str) -> Vec<RedisWarning> {
    let is = |name: &str, test: fn(&str) -> bool| field(info, name).is_some_and(test);
    let mut warnings = Vec::new();
    if is("role", |role| role == "slave") {
        warnings.push(RedisWarning::Replica);
    }
    if is("maxmemory_policy", |policy| policy != "noeviction") {
        warnings.push(RedisWarning::Eviction);
    }
    if is("aof_enabled", |enabled| enabled == "0") {
        warnings.push(RedisWarning::WeakPersistence);
    }
    if is("connected_slaves", |count| count != "0") {
        warnings.push(RedisWarning::AsynchronousFailover);
    }
    warnings
}

/// What one server's INFO means for its locks.
fn judge(info: &str, clustered: bool, allowed: Allowed) -> Result<Vec<RedisWarning>, Error> {
    let field = |name: &str| field(info, name);
    let version = field("redis_version").ok_or_else(no_redis)?;
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    let unsupported = |text: &str| Err(refused(ConnectKind::Unsupported, failure(text)));
    if major.is_some_and(|major: u32| major < OLDEST) {
        return unsupported("the server is older than Redis 6.0");
    }
    match field("redis_mode") {
        Some("sentinel") => {
            return Err(refused(
                ConnectKind::NotAStore,
                failure("it is a sentinel; use `from_sentinel`"),
            ));
        }
        Some("cluster") if !clustered => {
            return unsupported(
                "it is a node of a cluster; use `from_cluster_client` of the feature `redis-cluster`",
            );
        }
        _ => {}
    }
    let warnings = warnings(info);
    if warnings.contains(&RedisWarning::Replica) && !allowed.replica {
        return Err(refused(
            ConnectKind::ReadOnly,
            failure(
                "it is a replica; connect to the primary, or `allow_replica(true)` to look only",
            ),
        ));
    }
    if warnings.contains(&RedisWarning::Eviction) && !allowed.eviction {
        return unsupported(
            "its `maxmemory-policy` may evict held locks; set `noeviction`, or `allow_eviction(true)`",
        );
    }
    Ok(warnings)
}

/// Loads the scripts, and takes and releases a key: so rights, memory and disk are known to do.
async fn probe(link: &Link, clustered: bool, names: &Names) -> Result<(), Error> {
    if !clustered {
        let load = |source: &str| {
            let mut command = redis::cmd("SCRIPT");
            command.arg("LOAD").arg(source);
            command
        };
        // A user who may not load them sends each once in full.
        let loaded = link.commands(scripts::all().into_iter().map(load).collect());
        let _ = loaded.await.map_err(|error| connect_error(&error))?;
    }
    let owner = Owner::random().map_err(|_| {
        refused(
            ConnectKind::Unsupported,
            failure("the system has no random numbers"),
        )
    })?;
    let name = u64::from_le_bytes(owner.as_bytes()[..8].try_into().unwrap_or_default());
    let key = StoredKey::new("", &format!("verrou-probe-{name:016x}"))?;
    let request = AcquireRequest::new(key.clone(), owner, Duration::from_secs(2));
    let taken = link.run(&names.acquire(&request)).await;
    let taken = taken.map_err(|error| failure::connect_error(&error))?;
    if !matches!(acquired(&taken), Ok(Acquired::Granted { .. })) {
        return Err(no_redis());
    }
    let released = link
        .run(&names.release(&ReleaseRequest::new(key, owner)))
        .await;
    released.map_err(|error| failure::connect_error(&error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "redis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\n\
                        aof_enabled:1\r\nrole:master\r\nconnected_slaves:0\r\n";

    fn kind(info: &str, allowed: Allowed) -> Result<Vec<RedisWarning>, ConnectKind> {
        judge(info, false, allowed).map_err(|error| match error {
            Error::Connect { kind, .. } => kind,
            other => panic!("{other}"),
        })
    }

    #[test]
    fn a_good_server_gets_no_warning() {
        assert_eq!(kind(GOOD, Allowed::default()), Ok(vec![]));
    }

    #[test]
    fn what_breaks_promises_is_refused_unless_allowed() {
        let strict = Allowed::default();
        let lax = Allowed {
            replica: true,
            eviction: true,
        };
        let with = |from: &str, to: &str| GOOD.replace(from, to);
        let evicting = with("noeviction", "volatile-lru");
        assert_eq!(kind(&evicting, strict), Err(ConnectKind::Unsupported));
        assert_eq!(kind(&evicting, lax), Ok(vec![RedisWarning::Eviction]));
        let replica = with("role:master", "role:slave");
        assert_eq!(kind(&replica, strict), Err(ConnectKind::ReadOnly));
        assert_eq!(kind(&replica, lax), Ok(vec![RedisWarning::Replica]));
        let old = with("7.0.15", "5.0.14");
        assert_eq!(kind(&old, lax), Err(ConnectKind::Unsupported));
        let sentinel = with("standalone", "sentinel");
        assert_eq!(kind(&sentinel, lax), Err(ConnectKind::NotAStore));
        let node = with("standalone", "cluster");
        assert_eq!(kind(&node, lax), Err(ConnectKind::Unsupported));
        assert_eq!(kind("", lax), Err(ConnectKind::NotAStore));
        let weak = with("aof_enabled:1", "aof_enabled:0");
        assert_eq!(kind(&weak, strict), Ok(vec![RedisWarning::WeakPersistence]));
    }
}

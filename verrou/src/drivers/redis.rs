//! Locks on a Redis server.

mod address;
mod answers;
mod company;
mod connections;
mod failure;
mod outlook;
mod scripts;
mod setup;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::sentinel::SentinelClient;
use redis::{Client, ProtocolVersion, RedisError, Value};

use self::address::{client_at, tuned};
use self::answers::{acquired, adopted, holding, renewed, reply, scanned};
use self::connections::{Connections, PATIENCE, Source};
use self::failure::{failure, is_of_no_use, outcome, store_error};
use self::outlook::Outlook;
use self::scripts::{Call, Names};
use self::setup::Allowed;
pub use self::setup::RedisWarning;
use self::watcher::Watcher;
use crate::clock::Moment;
use crate::drivers::group::Group;
use crate::error::{Error, Outcome};
use crate::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Cursor, Doubt,
    ForceReleaseRequest, Holding, InspectRequest, ListRequest, Listed, LockStore, Page,
    PassRequest, Passed, ReleaseRequest, RenewRequest, Reply, Sent, StoreError, StoredKey, Watch,
    all,
};

const DRIVER: &str = "redis";

/// The cursor with which a scan begins, and which it ends with.
const FIRST_SCAN: &[u8] = b"0";

/// How many scripts for many requests are under way at the same time: while the server does one, the next is made.
const IN_FLIGHT: usize = 2;

/// How long the counter of a free key is kept, unless the builder says otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(600);

/// Locks on a Redis server (6.0 or newer, or one that speaks like it), in one round trip an operation.
///
/// Choose it for processes on several machines that have a Redis, and for short waits: it is the fastest of the drivers
/// with a server, and the one that forgets most easily. What must not happen twice after a failover belongs behind the
/// token, or into a database that keeps its writes.
///
/// A URL is `redis://[user][:password]@host[:port][/database][?protocol=resp3]`, `rediss://` for TLS (a feature `tls-..`), or
/// `redis+unix:///path`. Special characters of a password are written `%XX`. Clones share their connections: one for each
/// runtime that calls, one for the thread that renews leases, and one more while somebody waits.
///
/// # Options
/// [`RedisStore::builder`], [`from_client`](RedisStore::from_client),
/// [`from_connection_manager`](RedisStore::from_connection_manager), [`from_sentinel`](RedisStore::from_sentinel) and
/// `from_cluster_client` (feature `redis-cluster`) take the [time to connect](RedisBuilder::connect_timeout), the [prefix of
/// the keys](RedisBuilder::prefix), the [time a token is remembered](RedisBuilder::token_grace), the
/// [protocol](RedisBuilder::protocol), and what is refused otherwise: an
/// [evicting server](RedisBuilder::allow_eviction), a [replica](RedisBuilder::allow_replica). What else weakens the locks of a
/// server is told by [`warnings`](RedisStore::warnings), and logged.
///
/// # Statements
/// One script for each operation, by `EVALSHA`; a server that was restarted gets it once in full. Acquires and releases that wait
/// at the same moment share one script, and so do renewals; on a cluster each goes by itself. A lock is the key
/// `<prefix>:{k<namespace>:<key>}lock`, with `..waiters` while somebody waits; `<prefix>:fence` is the counter of all keys. On a
/// cluster each key has its own, `..fence` in the same slot. All expire by themselves: the counter when the clock is past the
/// last token by the grace, so that a million keys of one use leave nothing behind. A release publishes on one of the channels `<prefix>:wake:<0 to 15>`, and only if
/// somebody has lately found the key taken. The user needs `+@scripting +@read +@write +@pubsub +time +info +ping` on `~<prefix>:*`
/// and `&<prefix>:wake:*`.
///
/// # What it holds through
///
/// | | | shown by the tests |
/// |---|---|---|
/// | exclusion holds through | the death of any client, a frozen server, lost connections, `SCRIPT FLUSH`; with `appendonly yes` the death of the server's process | `redis::clocks::a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry`, `redis::faults::a_frozen_server_is_an_error_in_time_and_the_lock_works_afterwards`, `redis::faults::connections_that_are_killed_are_not_noticed`, `redis::faults::scripts_that_are_flushed_are_not_noticed`, `redis::faults::an_append_only_file_keeps_locks_and_tokens_over_a_crash` |
/// | may break on | a failover or a power cut that takes the last writes back, a restart without an append-only file, `FLUSHALL`, an evicting `maxmemory-policy`, a step of the server's clock | `redis::faults::a_lock_that_vanishes_with_the_data_is_lost_and_the_next_token_is_greater`, `redis::keys::tokens_rise_over_flushall`, `redis::connecting::an_evicting_server_is_refused_unless_allowed`, `redis::connecting::weak_persistence_is_a_warning`, `doubts::a_step_of_the_clock_of_redis_is_told`, `doubts::a_policy_that_evicts_is_told_also_when_it_is_set_later`, `doubts::a_server_that_was_started_anew_is_told_and_so_is_the_lease_that_went_with_it`; not tested: writes that a failover or power cut takes back: no test can order them |
/// | the token survives | release, expiry and force release; a restart, a flush and a failover by its floor at the server's clock, unless that is set back by more than the grace | `redis::resp3::tokens_rise_over_a_release`, `redis::resp3::tokens_rise_over_an_expiry`, `redis::resp3::tokens_rise_over_a_force_release`, `redis::faults::a_lock_that_vanishes_with_the_data_is_lost_and_the_next_token_is_greater`, `redis::keys::tokens_rise_over_flushall`, `redis::topologies::a_store_follows_the_sentinels_to_the_new_primary` |
/// | clock | the server's wall clock | `redis::clocks::clients_an_hour_fast_and_slow_exclude_each_other`, `redis::resp3::a_token_is_not_behind_the_time` |
/// | scope | who uses the same server and database, with the same prefix | `redis::processes::two_thousand_increments_in_four_processes_are_two_thousand`, `redis::connecting::databases_of_one_server_are_apart`, `redis::keys::stores_with_other_prefixes_do_not_meet` |
///
/// # Errors
/// [`Error::Connect`] with the [kind](crate::ConnectKind) of what is wrong with the server, before any lock is taken;
/// [`Error::InvalidOption`] for a prefix or time that cannot be used.
///
/// # Examples
/// ```no_run
/// use verrou::{LockFactory, drivers::RedisStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), verrou::Error> {
/// let store = RedisStore::connect("redis://127.0.0.1/").await?;
/// for warning in store.warnings() {
///     eprintln!("{warning}");
/// }
/// let guard = LockFactory::new(store).create_lock("report").acquire().await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    connections: Connections,
    group: Group,
    names: Arc<Names>,
    watcher: Arc<Watcher>,
    warnings: Arc<[RedisWarning]>,
    outlook: Arc<Outlook>,
    /// Whether those who wait can be told.
    wakes: bool,
    /// A sibling leaves the watcher alone when it is closed.
    sibling: bool,
}

impl RedisStore {
    /// Connects to the server at `url`, and checks that it can keep locks.
    ///
    /// Needs a tokio runtime with I/O and timers.
    ///
    /// # Errors
    /// As [`RedisStore`] says.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::builder(url).connect().await
    }

    /// A store on the server at `url`, with options.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(Target::Url(url.to_owned()))
    }

    /// A store that makes its connections from `client`, with options; [`connect`](RedisBuilder::connect) sets it up.
    pub fn from_client(client: Client) -> RedisBuilder {
        RedisBuilder::on(Source::Client(client))
    }

    /// A store whose calls go over the application's `manager`; renewals and wake-ups have connections from `client`.
    ///
    /// Both must lead to the same server, as the same user. Set a `response_timeout` of the manager no shorter than the
    /// request timeout of verrou, or none: a call that it ends early has an unknown outcome.
    pub fn from_connection_manager(client: Client, manager: ConnectionManager) -> RedisBuilder {
        RedisBuilder::on(Source::Manager(client, manager))
    }

    /// A store on the primary that the sentinels of `client` name, asked again whenever a connection is made.
    ///
    /// The client must have been built for the primary (`SentinelServerType::Master`).
    pub fn from_sentinel(client: SentinelClient) -> RedisBuilder {
        let client = Arc::new(tokio::sync::Mutex::new(client));
        RedisBuilder::on(Source::Sentinel(client))
    }

    /// A store on a cluster, with options; [`connect`](RedisBuilder::connect) sets it up.
    ///
    /// Keys are spread over the slots, each with its counter in one. Give the client RESP3
    /// (`ClusterClientBuilder::use_protocol`): without it nobody can be told of a release, and waiters poll. A release tells
    /// all nodes. [Listing](LockStore::list) is not supported.
    #[cfg(feature = "redis-cluster")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis-cluster")))]
    pub fn from_cluster_client(client: redis::cluster::ClusterClient) -> RedisBuilder {
        RedisBuilder::on(Source::Cluster(Box::new(client)))
    }

    /// What was found to weaken the locks of this server, when it was connected to. Worth a line in the log.
    #[must_use]
    pub fn warnings(&self) -> &[RedisWarning] {
        &self.inner.warnings
    }
}

impl LockStore for RedisStore {
    async fn acquire(&self, request: AcquireRequest) -> Result<Acquired, StoreError> {
        if self.inner.connections.is_cluster() {
            return self.inner.acquire(&request).await;
        }
        self.inner.group.acquire(self, request).await
    }

    async fn renew(&self, request: RenewRequest) -> Result<Reply, StoreError> {
        let inner = &*self.inner;
        let (sent, patience) = (request.sent.clone(), patience(request.ttl));
        let call = inner.names.renew(&[request]);
        match *renewed(&inner.call(&sent, &call, patience).await?)?.0 {
            [reply] => Ok(reply),
            _ => Err(answers::no_answer()),
        }
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Adopted, StoreError> {
        let inner = &*self.inner;
        let call = inner.names.adopt(&request);
        adopted(&inner.call(&request.sent, &call, PATIENCE).await?)
    }

    async fn release(&self, request: ReleaseRequest) -> Result<Reply, StoreError> {
        if self.inner.connections.is_cluster() {
            return self.inner.release(&request).await;
        }
        self.inner.group.release(self, request).await
    }

    async fn pass(&self, request: PassRequest) -> Result<Passed, StoreError> {
        let inner = &*self.inner;
        let call = inner.names.pass(&request);
        match acquired(&inner.call(&request.sent, &call, PATIENCE).await?)? {
            Acquired::Granted { token } => Ok(Passed::Granted { token }),
            Acquired::Held { .. } => Ok(Passed::NotHeld),
        }
    }

    async fn inspect(&self, request: InspectRequest) -> Result<Option<Holding>, StoreError> {
        let inner = &*self.inner;
        let call = inner.names.inspect(&request.key);
        holding(inner.call(&request.sent, &call, PATIENCE).await?)
    }

    async fn force_release(&self, request: ForceReleaseRequest) -> Result<bool, StoreError> {
        let inner = &*self.inner;
        let call = inner.names.force_release(&request.key);
        let (answer, doubt) = inner.attempt(&request.sent, &call, PATIENCE).await?;
        match reply(&answer)? {
            Reply::NotHeld if doubt => Err(StoreError::unknown(failure(
                "the key is free, but the answer that says since when was lost",
            ))),
            reply => Ok(reply == Reply::Done),
        }
    }

    async fn renew_many(&self, requests: Vec<RenewRequest>) -> Vec<Result<Reply, StoreError>> {
        let inner = &*self.inner;
        if inner.connections.is_cluster() {
            let renewals = requests.into_iter().map(|request| self.renew(request));
            return all(renewals).await;
        }
        let shortest = requests.iter().map(|request| request.ttl).min();
        let patience = shortest.map_or(PATIENCE, patience);
        let call = [inner.names.renew(&requests)];
        let sent: Vec<&Sent> = requests.iter().map(|request| &request.sent).collect();
        let begun = Moment::now();
        let answered = match inner.call_all(&sent, &call, patience).await {
            Ok(answers) => answers
                .into_iter()
                .next()
                .unwrap_or_else(|| Err(answers::no_answer())),
            Err(error) => Err(error),
        };
        match answered.and_then(|answer| renewed(&answer)) {
            Ok((replies, now)) if replies.len() == requests.len() => {
                inner.outlook.heard(now, begun);
                replies.into_iter().map(Ok).collect()
            }
            Ok(_) => requests.iter().map(|_| Err(answers::no_answer())).collect(),
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn watch(&self, key: &StoredKey) -> Watch {
        if !self.inner.wakes {
            return Watch::none();
        }
        self.inner.watcher.watch(key)
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StoreError> {
        let inner = &*self.inner;
        if inner.connections.is_cluster() {
            return Err(StoreError::unsupported("listing keys"));
        }
        let after = request.after.as_ref().map_or(FIRST_SCAN, Cursor::as_bytes);
        let mut scan = redis::cmd("SCAN");
        scan.arg(after).arg("MATCH");
        scan.arg(inner.names.pattern(&request.prefix));
        scan.arg("COUNT").arg(request.limit.get());
        let link = inner.connections.checkout(PATIENCE).await?;
        request.sent.mark();
        let answer = link.command(&scan).await;
        let answer = answer.map_err(|error| inner.failed(&link, &error, false))?;
        let (next, names) = scanned(answer)?;
        let keys = names.iter().filter_map(|name| inner.names.key_of(name));
        let keys: Vec<StoredKey> = keys
            .filter(|key| key.as_str().starts_with(&request.prefix))
            .collect();
        let mut listed = Vec::with_capacity(keys.len());
        if !keys.is_empty() {
            let calls: Vec<Call> = keys.iter().map(|key| inner.names.inspect(key)).collect();
            let answers = inner.call_all(&[], &calls, PATIENCE).await?;
            for (key, answer) in keys.into_iter().zip(answers) {
                if let Some(holding) = holding(answer?)? {
                    listed.push(Listed::new(key, holding));
                }
            }
        }
        let next = (next != FIRST_SCAN).then(|| Cursor::new(next));
        Ok(Page::new(listed, next))
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(DRIVER).pass();
        if self.inner.wakes {
            capabilities = capabilities.watch();
        }
        if !self.inner.connections.is_cluster() {
            capabilities = capabilities.list();
        }
        capabilities
    }

    fn doubts(&self) -> Vec<Doubt> {
        self.inner.outlook.take()
    }

    fn for_keeper(&self) -> Option<Self> {
        let inner = &*self.inner;
        Some(Self {
            inner: Arc::new(Inner {
                connections: inner.connections.sibling(),
                group: Group::new(IN_FLIGHT),
                names: inner.names.clone(),
                watcher: inner.watcher.clone(),
                warnings: inner.warnings.clone(),
                outlook: inner.outlook.clone(),
                wakes: inner.wakes,
                sibling: true,
            }),
        })
    }

    async fn close(&self) {
        if !self.inner.sibling {
            self.inner.watcher.close();
        }
        self.inner.connections.close();
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No URL: it may have a password.
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl Inner {
    /// One script.
    async fn call(
        &self,
        sent: &Sent,
        call: &Call,
        patience: Duration,
    ) -> Result<Value, StoreError> {
        let (answer, _) = self.attempt(sent, call, patience).await?;
        Ok(answer)
    }

    /// One script. A call whose connection was found dead is made once more, on another: then the answer comes with
    /// whether it may have been executed before.
    async fn attempt(
        &self,
        sent: &Sent,
        call: &Call,
        patience: Duration,
    ) -> Result<(Value, bool), StoreError> {
        let link = self.connections.checkout(patience).await?;
        sent.mark();
        let error = match link.run(call).await {
            Ok(answer) => return Ok((answer, false)),
            Err(error) => error,
        };
        let Some(doubt) = self.may_repeat(&link, &error) else {
            return Err(self.failed(&link, &error, false));
        };
        let link = self.another(patience, doubt).await?;
        match link.run(call).await {
            Ok(answer) => Ok((answer, doubt)),
            Err(error) => Err(self.failed(&link, &error, doubt)),
        }
    }

    /// Several scripts in one round trip, each with its own answer, in order. What the server says of itself rides on it
    /// when it is time.
    async fn call_all(
        &self,
        sent: &[&Sent],
        calls: &[Call],
        patience: Duration,
    ) -> Result<Vec<Result<Value, StoreError>>, StoreError> {
        let commands = |link: &connections::Link| {
            let look = self
                .outlook
                .is_due(link.number())
                .then(|| redis::cmd("INFO"));
            calls
                .iter()
                .map(|call| call.by_hash().clone())
                .chain(look)
                .collect()
        };
        // Whether an earlier attempt may have been executed.
        let mut in_doubt = false;
        let mut link = self.connections.checkout(patience).await?;
        sent.iter().for_each(|sent| sent.mark());
        let mut answers = match usable(link.commands(commands(&link)).await) {
            Ok(answers) => answers,
            Err(error) => {
                let Some(doubt) = self.may_repeat(&link, &error) else {
                    return Err(self.failed(&link, &error, false));
                };
                link = self.another(patience, doubt).await?;
                in_doubt = doubt;
                let answers = link.commands(commands(&link)).await;
                answers.map_err(|error| self.failed(&link, &error, doubt))?
            }
        };
        if answers.len() > calls.len()
            && let Some(Ok(info)) = answers.pop()
            && let Some(info) = setup::text(info)
        {
            self.outlook.looked(&info);
        }
        self.run_unknown(&link, calls, &mut answers).await;
        let settled = answers
            .into_iter()
            .map(|answer| answer.map_err(|error| self.failed(&link, &error, in_doubt)));
        Ok(settled.collect())
    }

    /// Runs those again that the server did not know: one of them teaches it all of them.
    async fn run_unknown(
        &self,
        link: &connections::Link,
        calls: &[Call],
        answers: &mut [redis::RedisResult<Value>],
    ) {
        let unknown = answers.iter().zip(0..).filter_map(|(answer, place)| {
            let error = answer.as_ref().err()?;
            failure::is_unknown_script(error).then_some(place)
        });
        let unknown: Vec<usize> = unknown.collect();
        let Some((&first, rest)) = unknown.split_first() else {
            return;
        };
        answers[first] = link.run(&calls[first]).await;
        if rest.is_empty() {
            return;
        }
        let again = rest
            .iter()
            .map(|&place| calls[place].by_hash().clone())
            .collect();
        match link.commands(again).await {
            Ok(again) => {
                for (&place, answer) in rest.iter().zip(again) {
                    answers[place] = answer;
                }
            }
            Err(error) => {
                for &place in rest {
                    answers[place] = Err(error.clone());
                }
            }
        }
    }

    /// Whether to make a call again that failed so; then, whether it may have been executed already.
    fn may_repeat(&self, link: &connections::Link, error: &RedisError) -> Option<bool> {
        if !is_of_no_use(error) {
            return None;
        }
        self.connections.discard(link);
        Some(outcome(error, self.connections.is_cluster()) != Outcome::NotApplied)
    }

    /// A connection in place of a dead one.
    async fn another(
        &self,
        patience: Duration,
        doubt: bool,
    ) -> Result<connections::Link, StoreError> {
        let link = self.connections.checkout(patience).await;
        link.map_err(|why| match StoreError::from(why) {
            error if doubt => StoreError::unknown(std::sync::Arc::clone(error.cause())),
            error => error,
        })
    }

    fn failed(&self, link: &connections::Link, error: &RedisError, doubt: bool) -> StoreError {
        if is_of_no_use(error) {
            self.connections.discard(link);
        }
        store_error(error, self.connections.is_cluster(), doubt)
    }
}

/// The answers of several commands; an error if the server is of no use, which each of them says then.
fn usable(
    answers: redis::RedisResult<Vec<redis::RedisResult<Value>>>,
) -> redis::RedisResult<Vec<redis::RedisResult<Value>>> {
    let answers = answers?;
    match answers.first() {
        Some(Err(error)) if is_of_no_use(error) => Err(error.clone()),
        _ => Ok(answers),
    }
}

/// A connection that does not answer a renewal must be given up while there is time for another.
fn patience(ttl: Duration) -> Duration {
    (ttl / 8).clamp(Duration::from_millis(5), PATIENCE)
}

/// A [`RedisStore`] that is not connected yet.
#[must_use = "nothing happens before `connect`"]
pub struct RedisBuilder {
    target: Target,
    prefix: String,
    grace: Duration,
    connect_timeout: Duration,
    protocol: Option<ProtocolVersion>,
    allowed: Allowed,
}

enum Target {
    Url(String),
    Source(Box<Source>),
}

impl RedisBuilder {
    fn on(source: Source) -> Self {
        Self::new(Target::Source(Box::new(source)))
    }

    fn new(target: Target) -> Self {
        Self {
            target,
            prefix: "verrou".to_owned(),
            grace: DEFAULT_GRACE,
            connect_timeout: Duration::from_secs(2),
            protocol: None,
            allowed: Allowed::default(),
        }
    }

    /// What the names of all keys and channels of this store begin with; by default `verrou`.
    ///
    /// Stores exclude each other only if they have the same prefix.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How long the counter of the tokens is kept after its last use; by default 10 minutes.
    ///
    /// After that the next token comes from the server's clock alone, so keep this longer than the clock could be set
    /// back, by hand or by a failover to a server whose clock is behind. Give all stores of a prefix the same. On a cluster each
    /// key has its own counter: one that was used in this time takes some 120 bytes.
    pub fn token_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a connection may take, all in it; by default 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The protocol of the connections for calls; by default that of the URL or client, which is RESP2 unless told
    /// otherwise. Not for a connection manager, sentinels or a cluster, which are given theirs where they are built.
    pub fn protocol(mut self, protocol: ProtocolVersion) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// Whether to take a server whose `maxmemory-policy` may evict keys; by default it is refused.
    ///
    /// Such a server may drop a held lock when its memory is full: then a key has two holders.
    pub fn allow_eviction(mut self, allow: bool) -> Self {
        self.allowed.eviction = allow;
        self
    }

    /// Whether to take a replica, to look who holds what; by default it is refused. It grants nothing.
    pub fn allow_replica(mut self, allow: bool) -> Self {
        self.allowed.replica = allow;
        self
    }

    /// Connects, and checks within the time to connect that the server can keep locks: version, role, eviction, rights.
    ///
    /// Needs a tokio runtime with I/O and timers. May be dropped at any time; what is left then is a key of ours for 2 s.
    ///
    /// # Errors
    /// As [`RedisStore`] says; [`Error::InvalidOption`] also for a `connect_timeout` of 0 or a `protocol` where none is
    /// taken.
    pub async fn connect(self) -> Result<RedisStore, Error> {
        if self.connect_timeout.is_zero() {
            return Err(Error::invalid_option(
                "connect_timeout",
                "a connection takes some time",
            ));
        }
        #[cfg(feature = "tls-rustls")]
        connections::ensure_crypto();
        let source = match self.target {
            Target::Url(url) => Source::Client(client_at(&url)?),
            Target::Source(source) => *source,
        };
        let source = match (source, self.protocol) {
            (Source::Client(client), protocol) => Source::Client(tuned(&client, protocol)?),
            (_, Some(_)) => {
                return Err(Error::invalid_option(
                    "protocol",
                    "it is given where the connection manager, sentinel or cluster client is built",
                ));
            }
            (Source::Manager(client, manager), None) => {
                Source::Manager(tuned(&client, None)?, manager)
            }
            (source, None) => source,
        };
        let names = Arc::new(Names::new(&self.prefix, self.grace, source.is_cluster())?);
        let connections = Connections::new(source, self.connect_timeout);
        let limit = self.connect_timeout;
        let checked = setup::check(&connections, &names, self.allowed, limit).await?;
        let wakes = connections.can_listen(&names.channel(0)).await;
        let watcher = Watcher::new(connections.sibling(), &names);
        Ok(RedisStore {
            inner: Arc::new(Inner {
                connections,
                group: Group::new(IN_FLIGHT),
                names,
                watcher: Arc::new(watcher),
                warnings: checked.warnings.into(),
                outlook: Arc::new(checked.outlook),
                wakes,
                sibling: false,
            }),
        })
    }
}

impl std::fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBuilder")
            .field("prefix", &self.prefix)
            .field("token_grace", &self.grace)
            .field("connect_timeout", &self.connect_timeout)
            .field("protocol", &self.protocol)
            .field("allow_eviction", &self.allowed.eviction)
            .field("allow_replica", &self.allowed.replica)
            .finish_non_exhaustive()
    }
}

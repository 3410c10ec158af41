//! Where the connections come from, and how a store keeps one up.
//!
//! A connection of the redis crate is driven by a task, and dies with the runtime of that task. So a store has one for
//! each runtime that it is used on, made when the first call on that runtime needs it. It is made in a task of its own:
//! a caller that goes away, or is not polled, keeps nobody else waiting, and calls themselves hold no timer.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, PushInfo, RedisError, Value};
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use super::failure::{Failure, failure, told};
use super::scripts::Call;
use crate::store::StoreError;

/// A connection that is silent for this long while it owes an answer is given up, and the next call makes another one.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The longest pause before a connection is tried again after it could not be made.
const SLOWEST: Duration = Duration::from_millis(100);

/// What connections are made from.
#[derive(Clone)]
pub(super) enum Source {
    Client(Client),
    /// A connection that the application shares; others are made from the client.
    Manager(Client, ConnectionManager),
    /// Asked for the primary whenever a connection is made.
    Sentinel(Arc<tokio::sync::Mutex<SentinelClient>>),
    #[cfg(feature = "redis-cluster")]
    Cluster(Box<redis::cluster::ClusterClient>),
}

#[derive(Clone)]
enum Wire {
    Plain(MultiplexedConnection),
    /// Has timers in its calls, which need their runtime.
    Manager(ConnectionManager),
    #[cfg(feature = "redis-cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Source {
    pub(super) fn is_cluster(&self) -> bool {
        match self {
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(_) => true,
            _ => false,
        }
    }

    /// The same without what is shared with the application.
    fn own(&self) -> Self {
        match self {
            Self::Manager(client, _) => Self::Client(client.clone()),
            other => other.clone(),
        }
    }

    async fn connect(&self) -> Result<Wire, RedisError> {
        match self {
            Self::Client(client) => plain(client).await.map(Wire::Plain),
            Self::Manager(_, manager) => Ok(Wire::Manager(manager.clone())),
            Self::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                plain(&nodelay(&client)?).await.map(Wire::Plain)
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(client) => client.get_async_connection().await.map(Wire::Cluster),
        }
    }

    /// A connection that gets what is published on the channels it subscribes to, through `pushes`.
    async fn listen(&self, pushes: UnboundedSender<PushInfo>) -> Result<Listening, RedisError> {
        let client = match self {
            Self::Client(client) | Self::Manager(client, _) => client.clone(),
            Self::Sentinel(sentinel) => sentinel.lock().await.async_get_client().await?,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(client) => {
                let config = redis::cluster::ClusterConfig::new().set_push_sender(pushes);
                let connection = client.get_async_connection_with_config(config).await?;
                return Ok(Listening::Cluster(connection));
            }
        };
        // Only RESP3 has messages and answers on one connection, whatever the others speak.
        let info = client.get_connection_info();
        let redis = info
            .redis_settings()
            .clone()
            .set_protocol(redis::ProtocolVersion::RESP3);
        let client = Client::open(info.clone().set_redis_settings(redis))?;
        let config = untimed().set_push_sender(pushes);
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        Ok(Listening::Plain(connection))
    }
}

/// The connection of those who wait.
pub(super) enum Listening {
    Plain(MultiplexedConnection),
    #[cfg(feature = "redis-cluster")]
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Listening {
    pub(super) async fn subscribe(&mut self, channel: &str) -> Result<(), RedisError> {
        match self {
            Self::Plain(connection) => connection.subscribe(channel).await,
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => connection.subscribe(channel).await,
        }
    }

    /// Runs `commands`, whose answers do not matter. Fails if the connection is dead.
    pub(super) async fn run(&mut self, commands: Vec<Cmd>) -> Result<(), RedisError> {
        match self {
            Self::Plain(connection) => {
                let count = commands.len();
                let pipeline = piped(commands);
                connection.req_packed_commands(&pipeline, 0, count).await?;
            }
            #[cfg(feature = "redis-cluster")]
            Self::Cluster(connection) => {
                for command in &commands {
                    connection.req_packed_command(command).await?;
                }
            }
        }
        Ok(())
    }
}

fn piped(commands: Vec<Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// No timers in calls; the connection itself is bounded from outside.
fn untimed() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
}

async fn plain(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    client
        .get_multiplexed_async_connection_with_config(&untimed())
        .await
}

/// Small requests leave at once.
pub(super) fn nodelay(client: &Client) -> Result<Client, RedisError> {
    let info = client.get_connection_info();
    let settings = info.tcp_settings().clone().set_nodelay(true);
    Client::open(info.clone().set_tcp_settings(settings))
}

/// Chooses a provider of cryptography for rustls if the application has not: without one rustls panics.
#[cfg(feature = "tls-rustls")]
pub(super) fn ensure_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The connections of a store, or of its sibling.
pub(super) struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    connect_timeout: Duration,
    slots: Mutex<Slots>,
    next: AtomicU64,
    /// How often in a row no connection could be made.
    failures: AtomicU32,
}

#[derive(Default)]
struct Slots {
    slots: Vec<Slot>,
    closed: bool,
}

/// Why there is no connection.
pub(super) enum NoLink {
    Theirs(RedisError),
    Ours(Failure),
}

impl From<NoLink> for StoreError {
    fn from(why: NoLink) -> Self {
        StoreError::not_applied(match why {
            NoLink::Theirs(error) => told(&error),
            NoLink::Ours(failure) => failure,
        })
    }
}

type Made = Option<Result<Link, RedisError>>;

/// The connection of one runtime.
struct Slot {
    runtime: Id,
    number: u64,
    made: watch::Receiver<Made>,
    /// Dropping it ends the task that made the connection and watches over its runtime.
    _stay: oneshot::Sender<()>,
}

/// A connection that is up, as far as we know.
#[derive(Clone)]
pub(in crate::drivers) struct Link {
    wire: Wire,
    number: u64,
    health: Arc<Mutex<Health>>,
}

struct Health {
    /// Calls without an answer.
    owed: usize,
    /// When the last answer came, or the first call without one was sent.
    since: Instant,
    /// A call was given up after it had waited for long.
    given_up: bool,
}

impl Connections {
    pub(super) fn new(source: Source, connect_timeout: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                connect_timeout,
                slots: Mutex::default(),
                next: AtomicU64::new(0),
                failures: AtomicU32::new(0),
            }),
        }
    }

    /// Others of the same kind; nothing is opened yet.
    pub(super) fn sibling(&self) -> Self {
        Self::new(self.shared.source.own(), self.shared.connect_timeout)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.shared.source.is_cluster()
    }

    /// The connection of this runtime; made if there is none, or if it owes an answer for longer than `patience`.
    ///
    /// Nothing is sent yet, so this may be dropped anywhere.
    pub(super) async fn checkout(&self, patience: Duration) -> Result<Link, NoLink> {
        let Ok(runtime) = Handle::try_current() else {
            return Err(NoLink::Ours(failure("a call needs a tokio runtime")));
        };
        let mut made = self.made(&runtime, patience)?;
        let made = match made.wait_for(Option::is_some).await {
            Ok(made) => made.clone(),
            // The runtime has ended, or the store was closed.
            Err(_) => None,
        };
        match made {
            Some(made) => made.map_err(NoLink::Theirs),
            None => Err(NoLink::Ours(failure("the connection was closed"))),
        }
    }

    fn made(&self, runtime: &Handle, patience: Duration) -> Result<watch::Receiver<Made>, NoLink> {
        let mut slots = self.shared.slots();
        if slots.closed {
            return Err(NoLink::Ours(failure("the store is closed")));
        }
        let id = runtime.id();
        if let Some(at) = slots.slots.iter().position(|slot| slot.runtime == id)
            && let Some(slot) = slots.slots.get(at)
        {
            let stale = matches!(&*slot.made.borrow(), Some(Ok(link)) if link.is_stale(patience));
            if !stale {
                return Ok(slot.made.clone());
            }
            slots.slots.swap_remove(at);
        }
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (making, made) = watch::channel(None);
        let (stay, stays) = oneshot::channel();
        slots.slots.push(Slot {
            runtime: id,
            number,
            made: made.clone(),
            _stay: stay,
        });
        // A runtime that shuts down drops the task at once, and with it the slot: not under the lock.
        drop(slots);
        let occupied = Occupied {
            shared: Arc::downgrade(&self.shared),
            number,
        };
        let source = self.shared.source.clone();
        let limit = self.shared.connect_timeout;
        let pause = self.shared.pause();
        drop(runtime.spawn(async move {
            let made = connect(&source, number, pause, limit).await;
            let failed = made.is_err();
            if let Some(shared) = occupied.shared.upgrade() {
                if failed {
                    shared.failures.fetch_add(1, Ordering::Relaxed);
                    // Before the error is told: who then tries again finds no connection, and starts one.
                    shared.discard(number);
                } else {
                    shared.failures.store(0, Ordering::Relaxed);
                }
            }
            // Nobody may wait any more.
            let _ = making.send(Some(made));
            if !failed {
                // Until the connection is discarded or the runtime ends: both drop `occupied`.
                let _ = stays.await;
            }
            drop(occupied);
        }));
        Ok(made)
    }

    /// Forgets a connection that is of no more use.
    pub(super) fn discard(&self, link: &Link) {
        self.shared.discard(link.number);
    }

    /// Whether waiters can be told: only a cluster's client may lack the protocol for it.
    pub(super) async fn can_listen(&self, channel: &str) -> bool {
        if !self.is_cluster() {
            return true;
        }
        let (pushes, _pushed) = tokio::sync::mpsc::unbounded_channel();
        match self.listen(pushes).await {
            Ok(mut listening) => {
                let subscribing = listening.subscribe(channel);
                let subscribed = tokio::time::timeout(PATIENCE, subscribing).await;
                subscribed.is_ok_and(|subscribed| subscribed.is_ok())
            }
            Err(_) => false,
        }
    }

    /// A connection that listens, within the limits of this store.
    pub(super) async fn listen(
        &self,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<Listening, StoreError> {
        let connecting = self.shared.source.listen(pushes);
        match tokio::time::timeout(self.shared.connect_timeout, connecting).await {
            Ok(Ok(listening)) => Ok(listening),
            Ok(Err(error)) => Err(StoreError::not_applied(told(&error))),
            Err(_) => Err(StoreError::not_applied(failure("no answer in time"))),
        }
    }

    /// Refuses what comes from now on; calls under way end as they would.
    pub(super) fn close(&self) {
        let mut slots = self.shared.slots();
        slots.closed = true;
        let gone = std::mem::take(&mut slots.slots);
        drop(slots);
        drop(gone);
    }
}

async fn connect(
    source: &Source,
    number: u64,
    pause: Duration,
    limit: Duration,
) -> Result<Link, RedisError> {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    let wire = tokio::time::timeout(limit, source.connect())
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
    Ok(Link {
        wire,
        number,
        health: Arc::new(Mutex::new(Health {
            owed: 0,
            since: Instant::now(),
            given_up: false,
        })),
    })
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn discard(&self, number: u64) {
        let mut slots = self.slots();
        let at = slots.slots.iter().position(|slot| slot.number == number);
        let gone = at.map(|at| slots.slots.swap_remove(at));
        drop(slots);
        drop(gone);
    }

    /// None at first; then it doubles up to [`SLOWEST`].
    fn pause(&self) -> Duration {
        match self.failures.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            failures => Duration::from_millis(1 << failures.min(7)).min(SLOWEST),
        }
    }
}

/// Takes the connection out of the store when its task ends, in whatever way.
struct Occupied {
    shared: Weak<Shared>,
    number: u64,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.discard(self.number);
        }
    }
}

impl Link {
    /// Tells it from the others of this store.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn is_stale(&self, patience: Duration) -> bool {
        let health = self.health();
        health.given_up || (health.owed > 0 && health.since.elapsed() > patience)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a script, which the server need not know.
    pub(super) async fn run(&self, call: &Call) -> Result<Value, RedisError> {
        match self.command(call.by_hash()).await {
            Err(error) if super::failure::is_unknown_script(&error) => {
                self.command(&call.by_source()).await
            }
            answer => answer,
        }
    }

    /// One command. Its answer may have errors inside.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, RedisError> {
        let owed = Owed::new(self);
        let answer = match self.wire.clone() {
            Wire::Plain(mut wire) => wire.req_packed_command(command).await,
            Wire::Manager(mut wire) => {
                let command = command.clone();
                detached(async move { wire.req_packed_command(&command).await }).await
            }
            #[cfg(feature = "redis-cluster")]
            Wire::Cluster(mut wire) => {
                let command = command.clone();
                detached(async move { wire.req_packed_command(&command).await }).await
            }
        };
        owed.paid();
        match answer? {
            Value::ServerError(error) => Err(error.into()),
            answer => Ok(answer),
        }
    }

    /// Several commands in one round trip, each with its own answer. Not for a cluster, where they go apart.
    pub(super) async fn commands(
        &self,
        commands: Vec<Cmd>,
    ) -> Result<Vec<Result<Value, RedisError>>, RedisError> {
        let count = commands.len();
        let pipeline = piped(commands);
        let owed = Owed::new(self);
        let answers = match self.wire.clone() {
            Wire::Plain(mut wire) => wire.req_packed_commands(&pipeline, 0, count).await,
            Wire::Manager(mut wire) => {
                detached(async move { wire.req_packed_commands(&pipeline, 0, count).await }).await
            }
            #[cfg(feature = "redis-cluster")]
            Wire::Cluster(mut wire) => {
                detached(async move { wire.req_packed_commands(&pipeline, 0, count).await }).await
            }
        };
        owed.paid();
        Ok(answers?.into_iter().map(Value::extract_error).collect())
    }

    /// One command to every primary of a cluster.
    #[cfg(feature = "redis-cluster")]
    pub(super) async fn everywhere(&self, command: Cmd) -> Result<Value, RedisError> {
        use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
        match self.wire.clone() {
            Wire::Cluster(mut wire) => {
                let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answer = detached(async move { wire.route_command(command, all).await }).await;
                answer.and_then(Value::extract_error)
            }
            _ => self.command(&command).await,
        }
    }
}

/// Runs `call` in a task, so that its timers stay on their runtime when we are polled on elsewhere.
async fn detached<T: Send + 'static>(
    call: impl Future<Output = Result<T, RedisError>> + Send + 'static,
) -> Result<T, RedisError> {
    match tokio::spawn(call).await {
        Ok(answer) => answer,
        // Its runtime has ended.
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()),
    }
}

/// A call that the connection owes an answer.
struct Owed<'a> {
    link: &'a Link,
    sent: Instant,
    paid: bool,
}

impl<'a> Owed<'a> {
    fn new(link: &'a Link) -> Self {
        let sent = Instant::now();
        let mut health = link.health();
        if health.owed == 0 {
            health.since = sent;
        }
        health.owed += 1;
        drop(health);
        Self {
            link,
            sent,
            paid: false,
        }
    }

    fn paid(mut self) {
        self.paid = true;
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let mut health = self.link.health();
        health.owed -= 1;
        if self.paid {
            health.since = Instant::now();
        } else if health.since <= self.sent && self.sent.elapsed() > PATIENCE / 4 {
            // Nothing has come since it was sent.
            health.given_up = true;
        }
    }
}

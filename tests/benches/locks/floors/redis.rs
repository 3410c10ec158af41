//! What a cycle on Redis cannot be faster than: two round trips, and the two commands of the simplest lock.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script};

use crate::contender::Contender;
use crate::must::must;

/// One connection that all tasks share, set up like the driver's: small requests leave at once, no timers in calls.
pub(crate) async fn connection(url: &str) -> MultiplexedConnection {
    let client = must(Client::open(url), "the floor's client");
    let info = client.get_connection_info();
    let settings = info.tcp_settings().clone().set_nodelay(true);
    let client = must(
        Client::open(info.clone().set_tcp_settings(settings)),
        "the floor's client",
    );
    let untimed = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let made = client.get_multiplexed_async_connection_with_config(&untimed);
    must(made.await, "the floor's connection")
}

/// Two round trips of a command that does nothing.
pub(crate) struct Pings(pub(crate) MultiplexedConnection);

impl Pings {
    async fn ping(&self) {
        let mut connection = self.0.clone();
        let done = redis::cmd("PING").query_async::<()>(&mut connection).await;
        must(done, "PING");
    }
}

impl Contender for Pings {
    type Key = ();
    type Held = ();

    fn key(&self, _: &str) {}

    async fn acquire(&self, (): &()) {
        self.ping().await;
    }

    async fn release(&self, (): ()) {
        self.ping().await;
    }
}

/// The lock that everybody writes first: no token, no renewal, nobody waits.
pub(crate) struct SetNx {
    connection: MultiplexedConnection,
    delete: Script,
}

impl SetNx {
    pub(crate) fn on(connection: MultiplexedConnection) -> Self {
        let delete = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";
        Self {
            connection,
            delete: Script::new(delete),
        }
    }
}

impl Contender for SetNx {
    type Key = String;
    type Held = (String, u128);

    fn key(&self, name: &str) -> String {
        format!("floor:{name}")
    }

    async fn acquire(&self, key: &String) -> (String, u128) {
        let owner = u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..));
        let mut connection = self.connection.clone();
        let mut set = redis::cmd("SET");
        set.arg(key).arg(&owner.to_be_bytes()[..]);
        set.arg("NX").arg("PX").arg(20_000);
        let done: Option<String> = must(set.query_async(&mut connection).await, "SET NX");
        assert!(done.is_some(), "nobody else has {key}");
        (key.clone(), owner)
    }

    async fn release(&self, (key, owner): (String, u128)) {
        let mut connection = self.connection.clone();
        let mut delete = self.delete.key(key);
        delete.arg(&owner.to_be_bytes()[..]);
        let deleted: i64 = must(delete.invoke_async(&mut connection).await, "the delete");
        assert_eq!(deleted, 1, "it was there");
    }
}

//! The Redis driver on real servers: the contract on each kind of them, and what they do to it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "redis/batches.rs"]
mod batches;
#[cfg(target_os = "linux")]
#[path = "redis/clocks.rs"]
mod clocks;
#[path = "redis/connecting.rs"]
mod connecting;
#[path = "redis/faults.rs"]
mod faults;
#[path = "redis/keys.rs"]
mod keys;
#[path = "redis/processes.rs"]
mod processes;
#[path = "redis/topologies.rs"]
mod topologies;
#[path = "redis/waking.rs"]
mod waking;

use tests::servers::redis::{shared_cluster, shared_url};
use verrou::drivers::RedisStore;
use verrou::testkit::{Backend, contract_suite};

contract_suite!(resp2, speaking(redis::ProtocolVersion::RESP2));
contract_suite!(resp3, speaking(redis::ProtocolVersion::RESP3));
contract_suite!(manager, managed());
contract_suite!(cluster, clustered(redis::ProtocolVersion::RESP3));
contract_suite!(cluster_resp2, clustered(redis::ProtocolVersion::RESP2));

fn speaking(protocol: redis::ProtocolVersion) -> impl Backend<Store = RedisStore> {
    move || async move {
        let builder = RedisStore::builder(&shared_url()).protocol(protocol);
        builder.connect().await.unwrap()
    }
}

fn managed() -> impl Backend<Store = RedisStore> {
    || async {
        let client = redis::Client::open(shared_url()).unwrap();
        let manager = client.get_connection_manager().await.unwrap();
        let builder = RedisStore::from_connection_manager(client, manager);
        builder.connect().await.unwrap()
    }
}

fn clustered(protocol: redis::ProtocolVersion) -> impl Backend<Store = RedisStore> {
    move || async move {
        let urls = shared_cluster().urls();
        let client = redis::cluster::ClusterClientBuilder::new(urls).use_protocol(protocol);
        let builder = RedisStore::from_cluster_client(client.build().unwrap());
        builder.connect().await.unwrap()
    }
}

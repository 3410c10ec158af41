//! Waiters hear of a release, whatever happens to the connection that tells them.

use std::time::{Duration, Instant};

use tests::servers::redis::{Server, shared_cluster};
use tests::{eventually, soon};
use verrou::drivers::RedisStore;
use verrou::{LockFactory, Retry, Wait};

const LONG: Duration = Duration::from_secs(40);
/// Far below the delays of polling here.
const PROMPT: Duration = Duration::from_secs(5);

fn slowly() -> Retry {
    Retry::new().delays(LONG, LONG)
}

async fn a_release_wakes(holder: LockFactory, waiter: LockFactory, marked: impl FnMut() -> bool) {
    let guard = holder
        .create_lock("k")
        .ttl(LONG * 2)
        .acquire()
        .await
        .unwrap();
    let lock = waiter
        .create_lock("k")
        .retry(slowly())
        .wait(Wait::For(LONG * 2));
    let waiting = tokio::spawn(async move { lock.acquire().await });
    eventually("the waiter is known", marked).await;
    let released = Instant::now();
    guard.release().await.unwrap();
    let next = soon("the waiter", waiting).await.unwrap().unwrap();
    assert!(
        released.elapsed() < PROMPT,
        "woken after {:?}",
        released.elapsed()
    );
    next.release().await.unwrap();
}

async fn locks(server: &Server) -> LockFactory {
    LockFactory::new(RedisStore::connect(&server.url()).await.unwrap())
}

fn listens(server: &Server) -> bool {
    let list: String = server.ask(&["CLIENT", "LIST", "TYPE", "PUBSUB"]);
    !list.trim().is_empty()
}

fn is_marked(server: &Server) -> bool {
    server.ask::<i64>(&["EXISTS", "verrou:{k:k}waiters"]) == 1
}

#[tokio::test]
async fn a_release_by_another_store_wakes_a_waiter_that_polls_seldom() {
    let server = Server::start();
    let (holder, waiter) = (locks(&server).await, locks(&server).await);
    a_release_wakes(holder, waiter, || is_marked(&server) && listens(&server)).await;
}

#[tokio::test]
async fn a_waiter_is_woken_after_its_connection_was_cut() {
    let server = Server::start();
    let (holder, waiter) = (locks(&server).await, locks(&server).await);
    let mut killed = 0;
    a_release_wakes(holder, waiter, || {
        if killed < 3 && is_marked(&server) && listens(&server) {
            killed += server.ask::<i64>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            return false;
        }
        killed >= 3 && listens(&server)
    })
    .await;
}

#[tokio::test]
async fn a_waiter_is_woken_on_a_cluster() {
    let cluster = shared_cluster();
    let store = || async {
        let client = redis::cluster::ClusterClientBuilder::new(cluster.urls())
            .use_protocol(redis::ProtocolVersion::RESP3)
            .build();
        let builder = RedisStore::from_cluster_client(client.unwrap()).prefix("waking");
        LockFactory::new(builder.connect().await.unwrap())
    };
    let (holder, waiter) = (store().await, store().await);
    let marked = || {
        cluster.nodes().iter().any(|node| {
            let keys: Vec<String> = node.ask(&["KEYS", "waking:{k:k}waiters"]);
            !keys.is_empty()
        })
    };
    a_release_wakes(holder, waiter, marked).await;
}

#[tokio::test]
async fn a_release_that_nobody_waits_for_publishes_nothing() {
    let server = Server::start();
    let locks = locks(&server).await;
    for _ in 0..10 {
        locks
            .create_lock("k")
            .acquire()
            .await
            .unwrap()
            .release()
            .await
            .unwrap();
    }
    let stats: String = server.ask(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_publish"), "{stats}");
}

#[tokio::test]
async fn the_connection_goes_with_the_last_waiter() {
    let server = Server::start();
    let (holder, waiter) = (locks(&server).await, locks(&server).await);
    a_release_wakes(holder, waiter.clone(), || {
        is_marked(&server) && listens(&server)
    })
    .await;
    eventually("nobody listens", || !listens(&server)).await;
    drop(waiter);
}

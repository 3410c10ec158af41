//! Sentinels and clusters.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{ConnectionAddr, ProtocolVersion};
use tests::servers::redis::{Watched, shared_cluster, shared_url, try_ask};
use tests::{DEADLINE, soon, wall_micros};
use verrou::drivers::{RedisStore, RedisWarning};
use verrou::{LockFactory, LockGuard};

fn sentinel(watched: &Watched) -> SentinelClient {
    let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), watched.sentinel_port());
    let builder = SentinelClientBuilder::new([address], "locks", SentinelServerType::Master);
    builder.unwrap().build().unwrap()
}

/// Tries until the store works again.
async fn acquired(locks: &LockFactory, key: &str) -> LockGuard {
    let begun = std::time::Instant::now();
    loop {
        match locks
            .create_lock(key)
            .ttl(Duration::from_secs(10))
            .acquire()
            .await
        {
            Ok(guard) => return guard,
            Err(error) => {
                assert!(error.is_store(), "{error}");
                assert!(begun.elapsed() < DEADLINE, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_store_follows_the_sentinels_to_the_new_primary() {
    let mut watched = Watched::start();
    let store = RedisStore::from_sentinel(sentinel(&watched))
        .connect()
        .await
        .unwrap();
    assert!(
        store
            .warnings()
            .contains(&RedisWarning::AsynchronousFailover)
    );
    let locks = LockFactory::new(store);
    let guard = acquired(&locks, "k").await;
    let before = guard.token();
    guard.release().await.unwrap();
    watched.primary.kill();
    let guard = soon("the failover", acquired(&locks, "k")).await;
    assert!(guard.token() > before);
    tests::eventually("the replica is the primary", || {
        watched.replica.is_primary()
    })
    .await;
    // Renewal has gone over as well.
    guard.extend(Duration::from_secs(30)).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_store_leaves_a_primary_that_became_a_replica() {
    let watched = Watched::start();
    let store = RedisStore::from_sentinel(sentinel(&watched))
        .connect()
        .await
        .unwrap();
    let locks = LockFactory::new(store);
    acquired(&locks, "k").await.release().await.unwrap();
    // It refuses until it has heard of the replica's state.
    let failover =
        || try_ask::<String>(&watched.sentinel_url(), &["SENTINEL", "FAILOVER", "locks"]).is_ok();
    tests::eventually("the sentinel begins the failover", failover).await;
    let replica =
        || watched.replica.info("role") == "master" && watched.primary.info("role") == "slave";
    tests::eventually("the two have changed places", replica).await;
    soon("the new primary", acquired(&locks, "k"))
        .await
        .release()
        .await
        .unwrap();
    tests::eventually("the replica is the primary", || {
        watched.replica.is_primary()
    })
    .await;
}

/// 8 tasks, 700 cycles each, over 4 keys; no error surfaces, and the counters are exact.
async fn eight_tasks_exclude_each_other(stores: Vec<RedisStore>) {
    let locks: Vec<LockFactory> = stores.into_iter().map(LockFactory::new).collect();
    let run = wall_micros();
    let counters: Arc<[Mutex<u32>; 4]> = Arc::default();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let (locks, counters) = (locks[task % locks.len()].clone(), counters.clone());
        tasks.spawn(async move {
            for round in 0..700 {
                let which = (task + round) % 4;
                // A brace would steer the slot, if it could.
                let lock = locks.create_lock(format!("counter}}{run}:{which}"));
                let guard = lock.acquire().await.unwrap();
                let before = *counters[which].lock().unwrap();
                tokio::task::yield_now().await;
                *counters[which].lock().unwrap() = before + 1;
                guard.release().await.unwrap();
            }
        });
    }
    while let Some(ended) = soon("the tasks", tasks.join_next()).await {
        ended.unwrap();
    }
    for counter in &*counters {
        assert_eq!(*counter.lock().unwrap(), 1400);
    }
}

async fn on_one_server(protocol: ProtocolVersion) {
    let connect = || {
        RedisStore::builder(&shared_url())
            .protocol(protocol)
            .connect()
    };
    let stores = vec![connect().await.unwrap(), connect().await.unwrap()];
    eight_tasks_exclude_each_other(stores).await;
}

#[tokio::test]
async fn eight_tasks_exclude_each_other_over_resp2() {
    on_one_server(ProtocolVersion::RESP2).await;
}

#[tokio::test]
async fn eight_tasks_exclude_each_other_over_resp3() {
    on_one_server(ProtocolVersion::RESP3).await;
}

#[tokio::test]
async fn eight_tasks_exclude_each_other_on_a_cluster() {
    let connect = || {
        let urls = shared_cluster().urls();
        let client = redis::cluster::ClusterClientBuilder::new(urls)
            .use_protocol(ProtocolVersion::RESP3)
            .build();
        RedisStore::from_cluster_client(client.unwrap()).connect()
    };
    let stores = vec![connect().await.unwrap(), connect().await.unwrap()];
    eight_tasks_exclude_each_other(stores).await;
}

#[tokio::test]
async fn eight_tasks_exclude_each_other_after_a_failover() {
    let mut watched = Watched::start();
    let connect = || RedisStore::from_sentinel(sentinel(&watched)).connect();
    let stores = vec![connect().await.unwrap(), connect().await.unwrap()];
    watched.primary.kill();
    for store in &stores {
        let locks = LockFactory::new(store.clone());
        let guard = soon("the failover", acquired(&locks, "k")).await;
        guard.release().await.unwrap();
    }
    eight_tasks_exclude_each_other(stores).await;
}

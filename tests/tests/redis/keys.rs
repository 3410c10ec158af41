//! What is in the database: tokens, names, and what is left of it.

use std::time::Duration;

use tests::servers::redis::{Server, shared_url};
use tests::{eventually, soon};
use verrou::drivers::RedisStore;
use verrou::store::{
    AcquireRequest, Acquired, ListRequest, LockStore, Owner, ReleaseRequest, RenewRequest, Reply,
    StoredKey,
};
use verrou::{FencingToken, Outcome};

const TTL: Duration = Duration::from_secs(20);

fn key(text: &str) -> StoredKey {
    StoredKey::new("", text).unwrap()
}

async fn cycle(store: &RedisStore, name: &str) -> FencingToken {
    let owner = Owner::random().unwrap();
    let request = AcquireRequest::new(key(name), owner, TTL);
    let Acquired::Granted { token } = store.acquire(request).await.unwrap() else {
        panic!("`{name}` is held")
    };
    let released = store.release(ReleaseRequest::new(key(name), owner)).await;
    assert_eq!(released.unwrap(), Reply::Done);
    token
}

/// Of a server of one's own: it is the counter of all keys.
fn set_counter(server: &Server, value: &str) {
    let _: String = server.ask(&["SET", "verrou:fence", value]);
}

#[tokio::test]
async fn tokens_are_exact_beyond_the_numbers_of_lua() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let begin = (1_u64 << 53) - 2;
    set_counter(&server, &begin.to_string());
    for step in 1..6 {
        assert_eq!(cycle(&store, "k").await.get(), begin + step);
    }
    // A counter ahead of the clock is not forgotten before the clock has passed it.
    let left: i64 = server.ask(&["PTTL", "verrou:fence"]);
    assert!(left > 100 * 365 * 24 * 3600 * 1000, "{left} ms left");
}

#[tokio::test]
async fn after_the_last_token_there_is_a_typed_error_and_nothing_is_held() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let name = "k";
    set_counter(&server, &(i64::MAX - 2).to_string());
    assert_eq!(cycle(&store, name).await.get(), i64::MAX as u64 - 1);
    assert_eq!(cycle(&store, name).await, FencingToken::MAX);
    for _ in 0..2 {
        let request = AcquireRequest::new(key(name), Owner::random().unwrap(), TTL);
        let error = store.acquire(request).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(error.cause().to_string().contains("used up"), "{error:?}");
    }
}

#[tokio::test]
async fn a_counter_that_is_no_number_is_an_error_and_no_grant() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    set_counter(&server, "zzzzzzzzzzzzzzzzzzzz");
    let request = AcquireRequest::new(key("k"), Owner::random().unwrap(), TTL);
    let error = store.acquire(request).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn tokens_rise_over_flushall() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let mut last = cycle(&store, "k").await;
    for _ in 0..5 {
        let _: String = server.ask(&["FLUSHALL"]);
        let token = cycle(&store, "k").await;
        assert!(token > last, "{token} after {last}");
        last = token;
    }
}

#[tokio::test]
async fn tokens_ahead_of_the_clock_rise_over_all_keys_alone_and_in_company() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    set_counter(&server, &(1_u64 << 60).to_string());
    let mut last = vec![1 << 60; 32];
    for _ in 0..10 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..32 {
            let store = store.clone();
            tasks.spawn(async move { (number, cycle(&store, &format!("{number}")).await.get()) });
        }
        while let Some(ended) = tasks.join_next().await {
            let (number, token): (usize, u64) = ended.unwrap();
            assert!(token > last[number], "{token} after {}", last[number]);
            last[number] = token;
        }
    }
}

#[tokio::test]
async fn no_key_of_ours_is_without_an_expiry() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    for number in 0..20 {
        let name = format!("{number}");
        let _ = cycle(&store, &name).await;
        let owner = Owner::random().unwrap();
        let taken = store
            .acquire(AcquireRequest::new(key(&name), owner, TTL))
            .await;
        assert!(matches!(taken, Ok(Acquired::Granted { .. })));
        let other = AcquireRequest::new(key(&name), Owner::random().unwrap(), TTL);
        assert!(matches!(
            store.acquire(other).await,
            Ok(Acquired::Held { .. })
        ));
        let renewed = store
            .renew(RenewRequest::new(key(&name), owner, TTL * 2))
            .await;
        assert_eq!(renewed.unwrap(), Reply::Done);
        if number % 2 == 0 {
            let kept = ReleaseRequest::new(key(&name), owner).keep(TTL);
            assert_eq!(store.release(kept).await.unwrap(), Reply::Done);
        }
    }
    let keys: Vec<String> = server.ask(&["KEYS", "*"]);
    assert!(keys.len() >= 41, "{keys:?}");
    let counter: i64 = server.ask(&["PTTL", "verrou:fence"]);
    for name in keys {
        let left: i64 = server.ask(&["PTTL", &name]);
        assert!(left > 0 || left == -2, "`{name}` has {left}");
        if name.ends_with("lock") {
            assert!(counter > left, "the counter goes before `{name}`");
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_keys_of_one_use_leave_nothing_behind() {
    let server = Server::start();
    let grace = Duration::from_secs(1);
    let builder = RedisStore::builder(&server.url()).token_grace(grace);
    let store = builder.connect().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let store = store.clone();
        tasks.spawn(async move {
            for number in (task..100_000).step_by(64) {
                let _ = cycle(&store, &format!("one-off-{number}")).await;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    eventually("the counters are gone", || {
        server.ask::<i64>(&["DBSIZE"]) <= 1
    })
    .await;
}

#[tokio::test]
async fn an_uncontended_cycle_is_two_round_trips() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let locks = verrou::LockFactory::new(store);
    let lock = locks.create_lock("k");
    // The first lease starts the keeper, and its connection.
    lock.acquire().await.unwrap().release().await.unwrap();
    let _: String = server.ask(&["CONFIG", "RESETSTAT"]);
    for _ in 0..500 {
        lock.acquire().await.unwrap().release().await.unwrap();
    }
    let calls = server.info("cmdstat_evalsha");
    assert!(calls.starts_with("calls=1000,"), "{calls}");
    let stats: String = server.ask(&["INFO", "commandstats"]);
    let inside = ["mget", "set", "time", "del"];
    let outside = [
        "evalsha",
        "info",
        "config|resetstat",
        "hello",
        "client|setinfo",
    ];
    for line in stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_"))
    {
        let name = line.split(':').next().unwrap();
        assert!(inside.contains(&name) || outside.contains(&name), "{line}");
    }
}

#[tokio::test]
async fn two_hundred_waiters_share_one_connection() {
    let server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let locks = verrou::LockFactory::new(store);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let lock = locks.create_lock("k");
        tasks.spawn(async move { lock.acquire().await?.release().await });
    }
    while let Some(ended) = soon("every waiter", tasks.join_next()).await {
        ended.unwrap().unwrap();
    }
    // Calls, wake-ups and their marks, the keeper's; and the one that asks.
    let clients: String = server.ask(&["CLIENT", "LIST"]);
    assert!(clients.lines().count() <= 5, "{clients}");
}

#[tokio::test]
async fn stores_with_other_prefixes_do_not_meet() {
    let url = shared_url();
    let one = RedisStore::builder(&url)
        .prefix("one")
        .connect()
        .await
        .unwrap();
    let other = RedisStore::builder(&url)
        .prefix("one:b")
        .connect()
        .await
        .unwrap();
    let name = key("the-same");
    for store in [&one, &other] {
        let request = AcquireRequest::new(name.clone(), Owner::random().unwrap(), TTL);
        assert!(matches!(
            store.acquire(request).await,
            Ok(Acquired::Granted { .. })
        ));
    }
    let listed = one.list(ListRequest::new("")).await.unwrap().listed;
    assert_eq!(listed.len(), 1, "{listed:?}");
}

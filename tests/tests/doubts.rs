//! What may break a promise is told once, by a stable name, on real servers to which it really happens. A process of its own,
//! for the collector of events is global; the tests tell their events apart by the name of their store.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::io::Write as _;
use std::time::Duration;

use redis::ConnectionAddr;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use sqlx::{AssertSqlSafe, Executor as _};
use tests::servers::is_skipped;
use tests::servers::mariadb::{self, MariaDb};
use tests::servers::postgres::PostgresServer;
use tests::servers::redis::{Server, Watched};
use tests::{Folder, eventually, secrets, soon};
use tracing::Level;
use verrou::drivers::{MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::testkit::{FaultStore, Op};
use verrou::{LockStore, Verrou};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The doubts about the store of this name, in their order.
fn doubts(store: &str) -> Vec<String> {
    let field = format!(" store={store} ");
    let seen = secrets::seen();
    let of_store = seen.iter().filter_map(|seen| {
        let (_, rest) = seen.text.split_once(" doubt=\"")?;
        let here = format!("{} ", seen.text).contains(&field);
        if here {
            assert_eq!((&*seen.target, seen.level), ("verrou", Level::WARN));
        }
        here.then(|| rest.split('"').next().unwrap_or_default().to_owned())
    });
    of_store.collect()
}

/// The text of the first event with this doubt.
fn text(store: &str, doubt: &str) -> String {
    let (store, doubt) = (format!(" store={store}"), format!(" doubt=\"{doubt}\""));
    let seen = secrets::seen();
    let found = seen
        .iter()
        .find(|seen| seen.text.contains(&store) && seen.text.contains(&doubt));
    found.unwrap().text.clone()
}

fn count(store: &str, doubt: &str) -> usize {
    doubts(store).iter().filter(|told| *told == doubt).count()
}

fn watched<S: LockStore>(name: &str, store: S) -> (Verrou, FaultStore<S>) {
    secrets::collect();
    let store = FaultStore::new(store);
    let verrou = Verrou::builder().store(name, store.clone());
    (verrou.build().unwrap(), store)
}

/// Says so, past the capture of the test harness.
fn skipped(server: &str) -> bool {
    let skipped = is_skipped(server);
    if skipped {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the doubts about {server}, as VERROU_TEST_SKIP says"
        );
    }
    skipped
}

/// Waits until leases were renewed so many times more.
async fn renewals<S: LockStore>(store: &FaultStore<S>, more: usize) {
    let until = store.calls(Op::RenewMany) + more;
    let renewed = |store: &FaultStore<S>| {
        store.calls(Op::RenewMany) >= until && store.in_flight(Op::Renew) == 0
    };
    soon("renewals", store.until(renewed)).await;
}

/// The clock of a server that is set back and forward by seconds while a lease is held, and by an hour.
#[cfg(target_os = "linux")]
async fn steps(name: &str, store: impl LockStore, clock: &tests::servers::clock::ServerClock) {
    let (verrou, store) = watched(name, store);
    let lock = verrou.create_lock("k").ttl(6 * SECOND);
    let guard = lock.acquire().await.unwrap();
    let steps = || count(name, "clock_stepped");
    renewals(&store, 2).await;
    assert_eq!(steps(), 0, "{:?}", doubts(name));

    // Back and forth, in the lease: it is found at the next renewal, and told once.
    for (told, way) in ["set back", "set forward"].into_iter().enumerate() {
        match told {
            0 => clock.back(SECOND),
            _ => clock.forward(Duration::ZERO),
        }
        let before = store.calls(Op::RenewMany);
        eventually("the step is told", || steps() > told).await;
        // One may have been under way.
        assert!(store.calls(Op::RenewMany) <= before + 2, "found late");
        renewals(&store, 2).await;
        assert_eq!(steps(), told + 1, "{:?}", doubts(name));
        let said = secrets::seen()
            .iter()
            .any(|seen| seen.text.contains(&format!(" store={name}")) && seen.text.contains(way));
        assert!(said, "nothing says {way}");
        assert!(guard.is_held());
    }

    // Beyond the lease, which is over for the server at once.
    clock.forward(3600 * SECOND);
    soon("the loss", guard.lost()).await;
    eventually("all is told", || {
        steps() == 3 && count(name, "lease_gone") == 1
    })
    .await;
    assert!(doubts(name).iter().all(|doubt| doubt != "lease_lost"));
    drop(guard);
    verrou.shutdown().await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_step_of_the_clock_of_redis_is_told() {
    if skipped("redis") {
        return;
    }
    let clock = tests::servers::clock::ServerClock::new();
    let server = Server::under(clock.environment(), &["--save", "", "--appendonly", "no"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    steps("stepped-redis", store, &clock).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_step_of_the_clock_of_postgres_is_told() {
    if skipped("postgres") {
        return;
    }
    let clock = tests::servers::clock::ServerClock::new();
    let server = PostgresServer::under(clock.environment());
    let store = PostgresStore::connect(&server.url()).await.unwrap();
    steps("stepped-postgres", store, &clock).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_step_of_the_clock_of_mariadb_is_told() {
    if skipped("mysql") {
        return;
    }
    let clock = tests::servers::clock::ServerClock::new();
    let server = MariaDb::under(clock.environment(), &[]).await;
    let url = server.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    steps("stepped-mysql", store, &clock).await;
}

/// G2's condition: what was granted is forgotten, and the clock is behind it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_token_that_does_not_rise_is_told() {
    if skipped("redis") {
        return;
    }
    let clock = tests::servers::clock::ServerClock::new();
    let server = Server::under(clock.environment(), &["--save", "", "--appendonly", "no"]);
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let name = "fallen-token";
    let (verrou, _) = watched(name, store);
    let lock = verrou.create_lock("k");
    let mut last = None;
    for _ in 0..2 {
        let guard = lock.acquire().await.unwrap();
        assert!(last < Some(guard.token()));
        last = Some(guard.token());
        guard.release().await.unwrap();
    }
    assert_eq!(count(name, "token_not_risen"), 0);
    clock.back(60 * SECOND);
    let () = server.ask(&["FLUSHALL"]);
    let guard = lock.acquire().await.unwrap();
    assert!(last > Some(guard.token()));
    assert_eq!(count(name, "token_not_risen"), 1);
    guard.release().await.unwrap();
    let guard = lock.acquire().await.unwrap();
    guard.release().await.unwrap();
    assert_eq!(count(name, "token_not_risen"), 1, "the next one rises");
}

#[tokio::test]
async fn a_policy_that_evicts_is_told_also_when_it_is_set_later() {
    if skipped("redis") {
        return;
    }
    let server = Server::with(&["--save", "", "--appendonly", "yes"]);
    let evicting = |policy: &str| {
        let () = server.ask(&["CONFIG", "SET", "maxmemory-policy", policy]);
    };
    let name = "evicting";
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let (verrou, store) = watched(name, store);
    assert_eq!(doubts(name), [""; 0]);
    let lock = verrou.create_lock("k").ttl(SECOND);
    let guard = lock.acquire().await.unwrap();
    renewals(&store, 1).await;
    evicting("allkeys-lru");
    eventually("the policy is told", || count(name, "may_evict") == 1).await;
    renewals(&store, 2).await;
    assert_eq!(doubts(name), ["may_evict"]);
    // Nothing asks the server again before its time: so that a cut connection is the time.
    let () = server.ask(&["CONFIG", "SET", "appendonly", "no"]);
    let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("the weak persistence is told", || doubts(name).len() > 1).await;
    renewals(&store, 2).await;
    assert_eq!(doubts(name), ["may_evict", "weak_persistence"]);
    assert!(guard.is_held());
    guard.release().await.unwrap();
    verrou.shutdown().await.unwrap();

    // And at the start, for who allows it and asks for no warnings.
    let builder = RedisStore::builder(&server.url()).allow_eviction(true);
    let name = "evicting-from-the-start";
    let (_verrou, _) = watched(name, builder.connect().await.unwrap());
    assert_eq!(doubts(name), ["may_evict", "weak_persistence"]);
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_told_and_so_is_the_lease_that_went_with_it() {
    if skipped("redis") {
        return;
    }
    let mut server = Server::start();
    let store = RedisStore::connect(&server.url()).await.unwrap();
    let name = "restarted";
    let (verrou, store) = watched(name, store);
    assert_eq!(doubts(name), ["weak_persistence"]);
    let lock = verrou.create_lock("k").ttl(3 * SECOND);
    let guard = lock.acquire().await.unwrap();
    renewals(&store, 1).await;
    server.kill();
    server.restart();
    soon("the loss", guard.lost()).await;
    eventually("all is told", || doubts(name).len() == 3).await;
    let mut told = doubts(name);
    told.sort();
    assert_eq!(told, ["lease_gone", "other_server", "weak_persistence"]);
    drop(guard);
    // The new one is the one that is known now.
    let guard = lock.acquire().await.unwrap();
    renewals(&store, 2).await;
    assert_eq!(doubts(name).len(), 3);
    guard.release().await.unwrap();
    verrou.shutdown().await.unwrap();
}

/// After a failover it is another server that answers, with what it had got of the first.
#[tokio::test]
async fn a_failover_is_told() {
    if skipped("redis") {
        return;
    }
    let mut watched_by = Watched::start();
    let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), watched_by.sentinel_port());
    let builder = SentinelClientBuilder::new([address], "locks", SentinelServerType::Master);
    let client = builder.unwrap().build().unwrap();
    let store = RedisStore::from_sentinel(client).connect().await.unwrap();
    let name = "failed-over";
    let (verrou, store) = watched(name, store);
    let at_first = ["weak_persistence", "asynchronous_failover"];
    assert_eq!(doubts(name), at_first);
    let lock = verrou.create_lock("k").ttl(30 * SECOND);
    let guard = lock.acquire().await.unwrap();
    eventually("the replica has it too", || {
        let locks: Vec<String> = watched_by.replica.ask(&["KEYS", "*}lock"]);
        locks.len() == 1
    })
    .await;
    watched_by.primary.kill();
    // The lease outlasts the failover, and is renewed by the new one.
    eventually("it is told", || count(name, "other_server") == 1).await;
    renewals(&store, 1).await;
    assert!(guard.is_held());
    assert_eq!(count(name, "other_server"), 1, "{:?}", doubts(name));
    drop(guard);
}

/// Fails unless a lease that vanishes from the store, by `vanish`, is told as gone, once.
async fn vanishes(name: &str, store: impl LockStore, vanish: impl AsyncFnOnce()) {
    let (verrou, store) = watched(name, store);
    let known = doubts(name).len();
    let lock = verrou.create_lock("k").ttl(2 * SECOND);
    let guard = lock.acquire().await.unwrap();
    renewals(&store, 1).await;
    vanish().await;
    soon("the loss", guard.lost()).await;
    eventually("it is told", || doubts(name).len() > known).await;
    assert!(guard.release().await.unwrap_err().is_lost());
    verrou.shutdown().await.unwrap();
    assert_eq!(doubts(name)[known..], ["lease_gone"]);
    let said = text(name, "lease_gone");
    assert!(
        said.contains(" key=k ") && said.contains("lock lost"),
        "{said}"
    );
}

#[tokio::test]
async fn a_row_that_is_gone_is_told() {
    let delete = "DELETE FROM verrou_locks";
    let folder = Folder::new();
    let store = SqliteStore::connect(&folder.sqlite()).await.unwrap();
    vanishes("deleted-sqlite", store, async || {
        let pool = sqlx::SqlitePool::connect(&folder.sqlite()).await.unwrap();
        pool.execute(AssertSqlSafe(delete)).await.unwrap();
        pool.close().await;
    })
    .await;
    if !skipped("postgres") {
        let url = PostgresServer::shared().url();
        let builder = PostgresStore::builder(&url).table("deleted");
        let store = builder.connect().await.unwrap();
        vanishes("deleted-postgres", store, async || {
            let pool = sqlx::PgPool::connect(&url).await.unwrap();
            pool.execute(AssertSqlSafe("DELETE FROM deleted"))
                .await
                .unwrap();
            pool.close().await;
        })
        .await;
    }
    if !skipped("mysql") {
        let server = MariaDb::for_tests().await;
        let url = server.database("").await;
        let store = MySqlStore::connect(&url).await.unwrap();
        vanishes("deleted-mysql", store, async || {
            let pool = mariadb::pool(&url, 1).await;
            pool.execute(AssertSqlSafe(delete)).await.unwrap();
            pool.close().await;
        })
        .await;
    }
    if !skipped("redis") {
        let server = Server::start();
        let store = RedisStore::connect(&server.url()).await.unwrap();
        vanishes("flushed-redis", store, async || {
            let () = server.ask(&["FLUSHALL"]);
        })
        .await;
    }
}

/// The body's value wins, and the one event of a lease that nobody renews says which it was.
#[tokio::test]
async fn a_lease_that_ends_and_a_release_that_gave_up_are_told() {
    secrets::collect();
    let store = FaultStore::new(MemoryStore::new()).with_io();
    let verrou = Verrou::builder()
        .store("given-up", store.clone())
        .request_timeout(50 * MS)
        .build()
        .unwrap();
    let lock = verrou.create_lock("k").ttl(200 * MS);
    let guard = lock.acquire().await.unwrap();
    store.on(Op::RenewMany).fail_before();
    soon("the loss", guard.lost()).await;
    drop(guard);
    store.clear();
    eventually("the loss is told", || !doubts("given-up").is_empty()).await;

    let guard = soon("the key", lock.acquire()).await.unwrap();
    store.on(Op::Release).fail_before();
    drop(guard);
    eventually("it is given up", || doubts("given-up").len() > 1).await;
    store.clear();
    verrou.shutdown().await.unwrap();
    assert_eq!(doubts("given-up"), ["lease_lost", "release_gave_up"]);
}

/// One that is well is told nothing of, whatever is done with its locks.
#[tokio::test]
async fn a_store_that_is_well_is_beyond_doubt() {
    let folder = Folder::new();
    let store = SqliteStore::connect(&folder.sqlite()).await.unwrap();
    let name = "well";
    let (verrou, store) = watched(name, store);
    let lock = verrou.create_lock("k").ttl(300 * MS);
    let guard = lock.acquire().await.unwrap();
    renewals(&store, 3).await;
    guard.release().await.unwrap();
    let given = lock.acquire().await.unwrap().into_serialized().unwrap();
    let taken = verrou.restore_lock(&given).await.unwrap();
    taken.release().await.unwrap();
    let value = lock.run(async |_| 7).await.unwrap();
    assert_eq!(value, 7);
    verrou.shutdown().await.unwrap();
    assert_eq!(doubts(name), [""; 0]);
}

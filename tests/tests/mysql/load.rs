//! Many at once: every setting, few connections, several processes, and a purge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::Row as _;
use tests::servers::mariadb::{MariaDb, pool};
use tests::{Cycling, Folder, Process, eventually, soon};
use tokio::task::JoinSet;
use verrou::drivers::MySqlStore;
use verrou::store::{
    AcquireRequest, Acquired, InspectRequest, ListRequest, LockStore, Owner, ReleaseRequest, Reply,
    StoredKey,
};
use verrou::{LockFactory, Wait};

use crate::{millis, pool_set, server};

/// Of each of 8 tasks, for each setting.
const CYCLES: u64 = 700;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// 8 tasks that each are a process of their own to the store, on 4 keys: no error, and every count exact.
async fn cycles(store: &MySqlStore, rounds: u64) {
    let counts: Arc<[AtomicU64; 4]> = Arc::default();
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        // No queue in common, so they meet at the server.
        let locks = LockFactory::new(store.clone());
        let counts = counts.clone();
        tasks.spawn(async move {
            for round in 0..rounds {
                let place = (task + round) % 4;
                let lock = locks.create_lock(format!("k{place}")).wait(Wait::Forever);
                let guard = lock.acquire().await.unwrap();
                let count = &counts[usize::try_from(place).unwrap()];
                let before = count.load(Ordering::Relaxed);
                tokio::task::yield_now().await;
                count.store(before + 1, Ordering::Relaxed);
                guard.release().await.unwrap();
            }
        });
    }
    // Without a deadline: so many are no one condition, and each call of them has its own.
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let sum: u64 = counts
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .sum();
    assert_eq!(sum, 8 * rounds);
}

macro_rules! settings {
    ($($test:ident: $settings:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let url = server().await.database("").await;
            let pool = pool_set(&url, 8, $settings).await;
            let store = MySqlStore::from_pool(pool.clone()).connect().await.unwrap();
            cycles(&store, CYCLES).await;
            pool.close().await;
        }
    )*};
}

settings! {
    repeatable_read_and_any_mode_and_snapshots:
        "SET SESSION tx_isolation = 'REPEATABLE-READ', sql_mode = '', innodb_snapshot_isolation = 1";
    repeatable_read_and_any_mode:
        "SET SESSION tx_isolation = 'REPEATABLE-READ', sql_mode = '', innodb_snapshot_isolation = 0";
    repeatable_read_and_snapshots:
        "SET SESSION tx_isolation = 'REPEATABLE-READ', sql_mode = DEFAULT, innodb_snapshot_isolation = 1";
    repeatable_read:
        "SET SESSION tx_isolation = 'REPEATABLE-READ', sql_mode = DEFAULT, innodb_snapshot_isolation = 0";
    read_committed_and_any_mode_and_snapshots:
        "SET SESSION tx_isolation = 'READ-COMMITTED', sql_mode = '', innodb_snapshot_isolation = 1";
    read_committed_and_any_mode:
        "SET SESSION tx_isolation = 'READ-COMMITTED', sql_mode = '', innodb_snapshot_isolation = 0";
    read_committed_and_snapshots:
        "SET SESSION tx_isolation = 'READ-COMMITTED', sql_mode = DEFAULT, innodb_snapshot_isolation = 1";
    read_committed:
        "SET SESSION tx_isolation = 'READ-COMMITTED', sql_mode = DEFAULT, innodb_snapshot_isolation = 0";
    serializable:
        "SET SESSION tx_isolation = 'SERIALIZABLE', sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'";
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_connections_work_as_well() {
    let url = server().await.database("").await;
    cycles(&MySqlStore::connect(&url).await.unwrap(), CYCLES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_increments_in_four_processes_are_two_thousand() {
    let url = server().await.database("").await;
    let folder = Folder::new();
    std::fs::write(folder.file("number"), "0").unwrap();
    std::fs::write(folder.file("tokens"), "").unwrap();
    let path = folder.path().display().to_string();
    let arguments = ["count", &url, &path, "2", "250"];
    let mut workers: Vec<_> = (0..4).map(|_| Process::start(WORKER, &arguments)).collect();
    for worker in &mut workers {
        assert!(worker.ends_well().await);
    }
    assert_eq!(
        std::fs::read_to_string(folder.file("number")).unwrap(),
        "2000"
    );
    let tokens = std::fs::read_to_string(folder.file("tokens")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert_eq!(tokens.len(), 2000);
    assert!(
        tokens.is_sorted_by(|one, next| one < next),
        "tokens in file order must rise strictly"
    );
}

#[tokio::test]
async fn clients_of_other_time_zones_exclude_each_other() {
    let url = server().await.database("").await;
    let east = pool_set(&url, 1, "SET SESSION time_zone = '+13:00'").await;
    let west = pool_set(&url, 1, "SET SESSION time_zone = '-11:00'").await;
    let east = LockFactory::new(MySqlStore::from_pool(east).connect().await.unwrap());
    let west = LockFactory::new(MySqlStore::from_pool(west).connect().await.unwrap());
    for (one, other) in [(&east, &west), (&west, &east)] {
        let guard = one.create_lock("k").acquire().await.unwrap();
        let lock = other.create_lock("k");
        assert!(lock.try_acquire().await.unwrap().is_none());
        let holder = lock.inspect().await.unwrap().unwrap();
        assert!(holder.remaining > Duration::from_secs(15), "{holder:?}");
        assert!(holder.remaining <= Duration::from_secs(20), "{holder:?}");
        guard.release().await.unwrap();
        let next = lock.try_acquire().await.unwrap().expect("it is free");
        next.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_outlasts_the_change_to_summer_time() {
    // The session's clock stands 0.5 s before the change, then 4.5 s after it; the zone is that of the server's system.
    let server = MariaDb::start(&[]).await;
    let url = server.database("").await;
    let pool = pool(&url, 1).await;
    let at = async |moment: &'static str| {
        for statement in ["SET SESSION time_zone = 'SYSTEM'", moment] {
            sqlx::raw_sql(statement).execute(&pool).await.unwrap();
        }
    };
    let store = MySqlStore::from_pool(pool.clone()).connect().await.unwrap();
    let key = StoredKey::new("", "k").unwrap();
    let ask = |ttl| AcquireRequest::new(key.clone(), Owner::random().unwrap(), ttl);

    at("SET SESSION timestamp = 1774745999.5").await;
    let first = store.acquire(ask(Duration::from_secs(10))).await.unwrap();
    let Acquired::Granted { token: first } = first else {
        panic!("{first:?}")
    };
    at("SET SESSION timestamp = 1774746004.5").await;
    let hour = sqlx::query("SELECT HOUR(NOW()), HOUR(UTC_TIMESTAMP())")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((hour.get::<i64, _>(0), hour.get::<i64, _>(1)), (3, 1));
    let second = store.acquire(ask(Duration::from_secs(10))).await.unwrap();
    assert_eq!(
        second,
        Acquired::Held {
            remaining: Duration::from_secs(5)
        }
    );
    at("SET SESSION timestamp = 1774746009.6").await;
    let third = store.acquire(ask(Duration::from_secs(10))).await.unwrap();
    let Acquired::Granted { token: third } = third else {
        panic!("{third:?}")
    };
    assert!(third > first);
}

#[tokio::test]
async fn a_latin1_database_keeps_every_key() {
    let url = server()
        .await
        .database("CHARACTER SET latin1 COLLATE latin1_swedish_ci")
        .await;
    let pool = pool_set(&url, 2, "SET NAMES latin1; SET SESSION sql_mode = ''").await;
    let of_pool = MySqlStore::from_pool(pool).connect().await.unwrap();
    let own = MySqlStore::connect(&url).await.unwrap();
    let keys = [
        "foo",
        "Foo",
        "foo ",
        "f\u{f6}o",
        "foe",
        "\u{1f512}",
        "f_o",
        "f%",
        "'\"`\\\n",
    ];
    let mut guards = Vec::new();
    for (index, key) in keys.into_iter().enumerate() {
        let locks = LockFactory::new(if index % 2 == 0 {
            of_pool.clone()
        } else {
            own.clone()
        });
        let guard = locks.create_lock(key).try_acquire().await.unwrap();
        guards.push(guard.unwrap_or_else(|| panic!("{key:?} is another's")));
        // Seen by both as it was written.
        for store in [&of_pool, &own] {
            let locks = LockFactory::new(store.clone());
            assert!(locks.create_lock(key).is_locked().await.unwrap(), "{key:?}");
        }
    }
    let mut listed: Vec<_> = own.list(ListRequest::new(":f")).await.unwrap().listed;
    assert_eq!(listed.len(), 6);
    let key = listed.remove(0).key;
    assert_eq!(key, StoredKey::new("", "f%").unwrap());
}

#[tokio::test]
async fn a_cycle_is_two_round_trips() {
    // A server of its own, for it counts for all.
    let server = MariaDb::start(&[]).await;
    let store = MySqlStore::builder(&server.database("").await)
        .max_connections(1)
        .connect()
        .await
        .unwrap();
    let watcher = pool(&server.url("mysql"), 1).await;
    let count = async |name: &'static str| {
        let row = sqlx::raw_sql("SHOW GLOBAL STATUS")
            .fetch_all(&watcher)
            .await
            .unwrap();
        let row = row.iter().find(|row| row.get::<String, _>(0) == name);
        row.unwrap().get::<String, _>(1).parse::<u64>().unwrap()
    };
    let cycle = async || {
        let key = StoredKey::new("", "k").unwrap();
        let owner = Owner::random().unwrap();
        let request = AcquireRequest::new(key.clone(), owner, Duration::from_secs(5));
        assert!(matches!(
            store.acquire(request).await.unwrap(),
            Acquired::Granted { .. }
        ));
        let request = ReleaseRequest::new(key, owner);
        assert_eq!(store.release(request).await.unwrap(), Reply::Done);
    };
    cycle().await;
    let names = [
        "Questions",
        "Com_stmt_prepare",
        "Com_stmt_execute",
        "Com_admin_commands",
    ];
    let mut before = Vec::new();
    for name in names {
        before.push(count(name).await);
    }
    for _ in 0..100 {
        cycle().await;
    }
    let mut spent = Vec::new();
    for (name, before) in names.into_iter().zip(before) {
        spent.push(count(name).await - before);
    }
    // Four of the questions are those of the watcher, as are its pings, one for each time its connection went back.
    assert_eq!(spent[1..3], [0, 200], "{names:?}: {spent:?}");
    assert!(spent[0] <= 200 + 8 && spent[3] <= 8, "{names:?}: {spent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_waiters_are_served_by_one_connection() {
    let url = server().await.database("").await;
    let pool = pool(&url, 1).await;
    let of_pool = MySqlStore::from_pool(pool).connect().await.unwrap();
    let own = MySqlStore::builder(&url).max_connections(1).connect().await;
    for store in [of_pool, own.unwrap()] {
        let locks = LockFactory::new(store);
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let lock = locks.create_lock("k").wait(Wait::For(tests::DEADLINE));
            tasks.spawn(async move { lock.acquire().await.unwrap().release().await.unwrap() });
        }
        while let Some(done) = soon("the waiters", tasks.join_next()).await {
            done.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_pool_costs_no_lock() {
    let url = server().await.database("").await;
    let pool = pool(&url, 5).await;
    let locks = LockFactory::new(MySqlStore::from_pool(pool.clone()).connect().await.unwrap());
    let lock = locks.create_lock("k").ttl(millis(600));
    let guard = lock.acquire().await.unwrap();
    let mut sleepers = JoinSet::new();
    for _ in 0..5 {
        let pool = pool.clone();
        sleepers.spawn(async move { sqlx::raw_sql("SELECT SLEEP(3)").execute(&pool).await });
    }
    eventually("the pool is busy", || {
        pool.num_idle() == 0 && pool.size() == 5
    })
    .await;
    let busy = Instant::now();
    let mut asleep = 0;
    while let Some(slept) = sleepers.join_next().await {
        slept.unwrap().unwrap();
        asleep += 1;
        assert!(guard.is_held(), "{asleep} of 5 connections are free again");
    }
    // Five leases long.
    assert!(busy.elapsed() > millis(2000));
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_disturbs_nobody_and_no_token_falls() {
    let url = server().await.database("").await;
    let store = MySqlStore::connect(&url).await.unwrap();
    // Rows that nobody has used for long, between the keys that are in use.
    let pool = pool(&url, 1).await;
    let old = "INSERT INTO verrou_locks (`key`, holder, token, granted, expiry) \
               SELECT CONCAT(':k', seq MOD 10, '-', seq), '', 1000 + seq, 0, 0 FROM seq_1_to_3000";
    sqlx::raw_sql(old).execute(&pool).await.unwrap();
    // And one that is held, however old.
    let held = "INSERT INTO verrou_locks (`key`, owner, holder, token, granted, expiry) \
                VALUES (':held', REPEAT('o', 16), '', 5, 0, 9000000000000000)";
    sqlx::raw_sql(held).execute(&pool).await.unwrap();

    let cycling = Cycling::on(&store);
    let (started, mut purged) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(30) {
        // So short that it takes the keys in use as well, as soon as they are free.
        purged += store.purge(millis(100)).await.unwrap();
    }
    let cycles = cycling.end().await;
    assert!(cycles > 100, "{cycles}");
    assert!(purged >= 3000, "{purged}");
    let left = sqlx::query("SELECT COUNT(*) FROM verrou_locks WHERE token < 1000000")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(left.get::<i64, _>(0), 1);
    let key = StoredKey::new("", "held").unwrap();
    assert!(
        store
            .inspect(InspectRequest::new(key))
            .await
            .unwrap()
            .is_some()
    );
}

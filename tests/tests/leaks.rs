//! What is left behind, and what much of everything costs, counted in a process of its own: one test at a time, and no others
//! beside them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![allow(clippy::print_stdout, reason = "figures")]

#[path = "leaks/heap.rs"]
mod heap;
#[path = "leaks/scale.rs"]
mod scale;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tests::{DEADLINE, Driver, Folder, Site};
use tokio::task::JoinSet;
use verrou::drivers::SqliteStore;
use verrou::{LockFactory, Verrou, Wait};

/// What this process has open, as far as it can be verrou's, and what the server has open for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    files: usize,
    threads: usize,
    tasks: usize,
    connections: i64,
}

impl Open {
    async fn now(site: &Site) -> Self {
        let connections = site.connections().await;
        let threads = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter(|thread| {
                let comm = thread.as_ref().map(|thread| thread.path().join("comm"));
                comm.is_ok_and(|comm| {
                    std::fs::read_to_string(comm).is_ok_and(|name| name.starts_with("verrou"))
                })
            });
        Self {
            files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: threads.count(),
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
            connections,
        }
    }
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `test` while no other one runs, and waits until as much is open as before.
fn leaves_nothing(driver: Driver, test: impl AsyncFnOnce(&Site)) {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Some(site) = Site::start(driver).await else {
            return;
        };
        // What the client libraries keep for themselves once they were used.
        drop(site.verrou().await);
        let started = Instant::now();
        let before = loop {
            let before = Open::now(&site).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            if before == Open::now(&site).await && before.threads == 0 {
                break before;
            }
            assert!(started.elapsed() < DEADLINE, "never at rest: {before:?}");
        };
        test(&site).await;
        // The keeper's thread goes when there is nothing left to keep.
        let started = Instant::now();
        loop {
            let after = Open::now(&site).await;
            if after == before {
                break;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{before:?} before, {after:?} after"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// A shutdown waits for what stands in the turnstile, and says so if that does not go.
async fn leaves_no_entry(verrou: &Verrou, site: &Site) {
    if let Some(store) = site.memory() {
        assert!(store.is_empty(), "{} keys are left", store.len());
    }
    verrou.shutdown().await.unwrap();
}

/// 2 000 acquires over 20 keys, each dropped after 0 to 50 ms, whatever it has come to.
async fn drop_two_thousand(verrou: &Verrou) {
    let mut running = JoinSet::new();
    for number in 0..2000_u64 {
        let lock = verrou
            .create_lock(format!("k{}", number % 20))
            .wait(Wait::Forever);
        running.spawn(async move {
            let patience = Duration::from_micros(number * 7919 % 50_000);
            let held = tokio::time::timeout(patience, async {
                let guard = lock.acquire().await.unwrap();
                tokio::time::sleep(Duration::from_micros(number % 300)).await;
                guard
            });
            held.await.is_ok()
        });
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut held = 0;
    while let Some(one) = running.join_next().await {
        held += u32::from(one.unwrap());
    }
    assert!(
        held > 0 && held < 2000,
        "{held} of 2000 were held: nothing was cut, or nothing went through"
    );
}

async fn all_free_within_a_second(elsewhere: &LockFactory) {
    let started = Instant::now();
    for number in 0..100 {
        let lock = elsewhere.create_lock(format!("k{number}"));
        while lock.is_locked().await.unwrap() {
            assert!(
                started.elapsed() < Duration::from_secs(1),
                "k{number} is still held"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// 20 000 locks taken and given back, by eight tasks over 100 keys; every other guard is dropped.
async fn cycle_twenty_thousand_times(verrou: &Verrou) {
    let mut cycling = JoinSet::new();
    for task in 0..8_u32 {
        let verrou = verrou.clone();
        cycling.spawn(async move {
            for round in 0..2500 {
                let lock = verrou.create_lock(format!("k{}", (task * 13 + round) % 100));
                let guard = lock.wait(Wait::Forever).acquire().await.unwrap();
                if round % 2 == 0 {
                    guard.release().await.unwrap();
                }
            }
        });
    }
    while let Some(ended) = cycling.join_next().await {
        ended.unwrap();
    }
}

fn cycles_and_drops_leave_nothing(driver: Driver) {
    leaves_nothing(driver, async |site| {
        let verrou = site.verrou().await;
        cycle_twenty_thousand_times(&verrou).await;
        drop_two_thousand(&verrou).await;
        let elsewhere = site.verrou().await;
        all_free_within_a_second(&elsewhere.store("locks").unwrap()).await;
        elsewhere.shutdown().await.unwrap();
        leaves_no_entry(&verrou, site).await;
    });
}

macro_rules! on_each {
    ($($name:ident = $driver:ident),+) => {
        mod cycles_and_drops_leave_nothing {
            $(
                #[test]
                fn $name() {
                    super::cycles_and_drops_leave_nothing(tests::Driver::$driver);
                }
            )+
        }
    };
}

on_each!(
    memory = Memory,
    sqlite = Sqlite,
    redis = Redis,
    postgres = Postgres,
    mariadb = MySql
);

#[test]
fn instances_that_were_dropped_without_a_shutdown_leave_nothing() {
    leaves_nothing(Driver::Memory, async |_| {
        let folder = Folder::new();
        for number in 0..20 {
            let store = SqliteStore::connect(&folder.sqlite()).await.unwrap();
            let verrou = Verrou::builder().store("sqlite", store).build().unwrap();
            let guard = verrou
                .create_lock(format!("k{number}"))
                .acquire()
                .await
                .unwrap();
            drop(verrou);
            drop(guard);
        }
        let elsewhere = LockFactory::new(SqliteStore::connect(&folder.sqlite()).await.unwrap());
        all_free_within_a_second(&elsewhere).await;
    });
}

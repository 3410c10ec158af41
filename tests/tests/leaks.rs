//! What is left behind, counted in a process of its own: one test at a time, and no others beside them.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::{DEADLINE, Folder};
use tokio::task::JoinSet;
use verrou::drivers::{MemoryStore, SqliteStore};
use verrou::{LockFactory, Verrou, Wait};

/// What this process has open, as far as it can be verrou's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    files: usize,
    threads: usize,
    tasks: usize,
}

impl Open {
    fn now() -> Self {
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
        }
    }
}

/// Runs `test` while no other one runs, and waits until as much is open as before.
fn leaves_nothing<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = Open::now();
        test().await;
        // The keeper's thread goes when there is nothing left to keep.
        let started = Instant::now();
        while Open::now() != before {
            assert!(
                started.elapsed() < DEADLINE,
                "{before:?} before, {:?} after",
                Open::now()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// 2 000 acquires over 20 keys, each dropped after 0 to 5 ms, whatever it has come to.
async fn drop_two_thousand(verrou: &Verrou) {
    let mut running = JoinSet::new();
    for number in 0..2000_u64 {
        let lock = verrou
            .create_lock(format!("k{}", number % 20))
            .wait(Wait::Forever);
        running.spawn(async move {
            let patience = Duration::from_micros(number * 7919 % 5000);
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
    for number in 0..20 {
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

#[test]
fn two_thousand_dropped_acquires_leave_nothing_in_memory() {
    leaves_nothing(async || {
        let store = MemoryStore::new();
        let verrou = Verrou::builder()
            .store("memory", store.clone())
            .build()
            .unwrap();
        drop_two_thousand(&verrou).await;
        all_free_within_a_second(&LockFactory::new(store.clone())).await;
        assert!(store.is_empty());
        verrou.shutdown().await.unwrap();
    });
}

#[test]
fn two_thousand_dropped_acquires_leave_nothing_on_sqlite() {
    leaves_nothing(async || {
        let folder = Folder::new();
        let store = SqliteStore::connect(&folder.sqlite()).await.unwrap();
        let verrou = Verrou::builder().store("sqlite", store).build().unwrap();
        drop_two_thousand(&verrou).await;
        let elsewhere = LockFactory::new(SqliteStore::connect(&folder.sqlite()).await.unwrap());
        all_free_within_a_second(&elsewhere).await;
        elsewhere.close().await.unwrap();
        verrou.shutdown().await.unwrap();
    });
}

#[test]
fn instances_that_were_dropped_without_a_shutdown_leave_nothing() {
    leaves_nothing(async || {
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

//! Ten thousand locks of one process: all are kept, in few calls, at little cost, and nobody else is late.

use std::time::{Duration, Instant};

use tests::{Driver, Site};
use tokio::task::JoinSet;
use verrou::drivers::{MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::store::LockStore;
use verrou::testkit::{FaultStore, Op};
use verrou::{LockGuard, Verrou};

const LOCKS: usize = 10_000;
/// 5 % of a core, for ten thousand renewals in a third of 30 seconds.
const EACH: Duration = Duration::from_micros(50);
/// A guess at how many leases one call renews at least, when all are kept at once.
const BATCH: usize = 100;

/// How long it goes on.
#[derive(Clone, Copy)]
struct Form {
    ttl: Duration,
    kept: Duration,
}

const SHORT: Form = Form {
    ttl: Duration::from_secs(6),
    kept: Duration::from_secs(7),
};
/// What the promise says.
const FULL: Form = Form {
    ttl: Duration::from_secs(30),
    kept: Duration::from_secs(120),
};

fn ten_thousand(driver: Driver, form: Form) {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Some(site) = Site::start(driver).await else {
            return;
        };
        let url = &site.url();
        match driver {
            Driver::Memory => are_kept(driver, MemoryStore::new(), form).await,
            Driver::Sqlite => {
                are_kept(driver, SqliteStore::connect(url).await.unwrap(), form).await
            }
            Driver::Redis => are_kept(driver, RedisStore::connect(url).await.unwrap(), form).await,
            Driver::Postgres => {
                are_kept(driver, PostgresStore::connect(url).await.unwrap(), form).await;
            }
            Driver::MySql => are_kept(driver, MySqlStore::connect(url).await.unwrap(), form).await,
        }
    });
}

async fn are_kept<S: LockStore>(driver: Driver, store: S, form: Form) {
    let store = FaultStore::new(store);
    let verrou = Verrou::builder().store("locks", store.clone());
    let verrou = verrou.build().unwrap();
    let begun = Instant::now();
    let guards = take_all(&verrou, form.ttl).await;
    let taken = begun.elapsed();

    let (calls, cpu, begun) = (store.calls(Op::RenewMany), keeper_cpu(), Instant::now());
    let renewed = store.calls(Op::Renew);
    let beside = tokio::spawn(late_by(form.kept));
    // The machine's own lateness, which nobody here causes.
    let noise = std::thread::spawn(move || {
        let (begun, mut worst) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < form.kept {
            let tick = Instant::now();
            std::thread::sleep(TICK);
            worst = worst.max(tick.elapsed().saturating_sub(TICK));
        }
        worst
    });
    while begun.elapsed() < form.kept {
        tokio::time::sleep(form.ttl / 10).await;
        let lost = guards.iter().filter(|guard| !guard.is_held()).count();
        assert_eq!(lost, 0, "of {LOCKS} locks, after {:?}", begun.elapsed());
    }
    let late = beside.await.unwrap();
    let noise = noise.join().unwrap();
    let kept = begun.elapsed();
    let cpu = keeper_cpu() - cpu;
    let calls = store.calls(Op::RenewMany) - calls;
    let renewed = store.calls(Op::Renew) - renewed;
    println!(
        "{driver:?}: {LOCKS} locks taken in {taken:.1?}, kept for {kept:.1?} with ttl {:?}: {renewed} renewals in {calls} calls, \
         keeper {:.2} % of a core ({:.1?} a renewal); a body was late by {late:.1?} (the machine: {noise:.1?})",
        form.ttl,
        100.0 * cpu.as_secs_f64() / kept.as_secs_f64(),
        cpu / u32::try_from(renewed.max(1)).unwrap(),
    );
    // Each is renewed once in a third of its ttl, or a little earlier.
    let rounds = kept.as_secs_f64() / (form.ttl / 3).as_secs_f64();
    assert!(renewed as f64 > (rounds - 1.0) * LOCKS as f64, "{renewed}");
    assert!(renewed as f64 <= (rounds + 1.0) * 1.25 * LOCKS as f64);
    assert!(calls <= renewed / BATCH, "{calls} calls for {renewed}");
    assert!(
        cpu <= EACH * u32::try_from(renewed).unwrap(),
        "the keeper used {cpu:?} for {renewed} renewals"
    );
    assert!(
        late < 2 * noise + Duration::from_millis(200),
        "a body was late by {late:?}, the machine by {noise:?}"
    );
    // All that is held is released, as long as the store answers.
    let begun = Instant::now();
    verrou.shutdown().await.unwrap();
    println!("{driver:?}: shutdown in {:.1?}", begun.elapsed());
    drop(guards);
}

async fn take_all(verrou: &Verrou, ttl: Duration) -> Vec<LockGuard> {
    let mut taking = JoinSet::new();
    for task in 0..16 {
        let verrou = verrou.clone();
        taking.spawn(async move {
            let mut guards = Vec::new();
            for number in (task..LOCKS).step_by(16) {
                let lock = verrou.create_lock(format!("lock-{number}")).ttl(ttl);
                guards.push(lock.acquire().await.unwrap());
            }
            guards
        });
    }
    taking.join_all().await.into_iter().flatten().collect()
}

const TICK: Duration = Duration::from_millis(10);

/// The most by which a body was late that does something every 10 ms, with a lock of its own.
async fn late_by(time: Duration) -> Duration {
    let verrou = Verrou::builder().store("other", MemoryStore::new());
    let verrou = verrou.build().unwrap();
    let (begun, mut worst) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < time {
        let tick = Instant::now();
        let body = async |_: &LockGuard| tokio::time::sleep(TICK).await;
        verrou.create_lock("other").run(body).await.unwrap();
        worst = worst.max(tick.elapsed().saturating_sub(TICK));
    }
    worst
}

/// What the keeper's thread has used so far.
fn keeper_cpu() -> Duration {
    let mut used = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.trim() == "verrou-keeper" {
            // The time on a processor, in nanoseconds, is the first number.
            let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
            let nanos = stat.split_whitespace().next().unwrap().parse().unwrap();
            used += Duration::from_nanos(nanos);
        }
    }
    used
}

#[test]
fn ten_thousand_locks_are_kept_in_memory() {
    ten_thousand(Driver::Memory, SHORT);
}

#[test]
fn ten_thousand_locks_are_kept_on_redis() {
    ten_thousand(Driver::Redis, SHORT);
}

/// Those whose renewal fails go alone as long as they are few; ten thousand at once would be an outage of their own.
#[test]
fn an_outage_of_half_a_lease_costs_none_of_ten_thousand_locks() {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = FaultStore::new(MemoryStore::new()).with_io();
        let verrou = Verrou::builder().store("locks", store.clone());
        let verrou = verrou.build().unwrap();
        let ttl = Duration::from_secs(6);
        for hangs in [false, true] {
            let begun = tokio::time::Instant::now();
            let guards = take_all(&verrou, ttl).await;
            let outage = store.on(Op::RenewMany);
            if hangs {
                outage.hang_before();
            } else {
                outage.fail_before();
            }
            let calls = store.calls(Op::RenewMany);
            // From the first renewal on, at a third of the ttl of the first lock.
            tokio::time::sleep_until(begun + ttl / 3 + ttl / 2).await;
            let calls = store.calls(Op::RenewMany) - calls;
            store.clear();
            let healed = Instant::now();
            while healed.elapsed() < ttl / 3 {
                // Again and again: a call may have been told to hang just before, and begin to just after.
                store.let_go();
                tokio::time::sleep(TICK).await;
            }
            let lost = guards.iter().filter(|guard| !guard.is_held()).count();
            println!("hangs: {hangs}, {calls} calls in the outage");
            assert_eq!(lost, 0, "of {LOCKS} locks");
            // A retry in each twentieth of the ttl.
            assert!(calls <= 2 * 256 * 10, "{calls} calls in the outage");
            drop(guards);
        }
        verrou.shutdown().await.unwrap();
    });
}

/// The same with a server that stands still, begun a second before the first renewal.
fn a_frozen_server_for_half_a_lease(driver: Driver) {
    let _alone = crate::alone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let Some(mut site) = Site::start(driver).await else {
            return;
        };
        let verrou = site.verrou().await;
        let ttl = Duration::from_secs(15);
        let begun = tokio::time::Instant::now();
        let guards = take_all(&verrou, ttl).await;
        tokio::time::sleep_until(begun + ttl / 3 - Duration::from_secs(1)).await;
        let cpu = keeper_cpu();
        site.freeze().await;
        tokio::time::sleep(ttl / 2).await;
        site.thaw().await;
        let cpu = keeper_cpu() - cpu;
        tokio::time::sleep(ttl).await;
        let lost = guards.iter().filter(|guard| !guard.is_held()).count();
        println!(
            "{driver:?}: frozen for {:?}, the keeper used {cpu:.1?}",
            ttl / 2
        );
        assert_eq!(lost, 0, "of {LOCKS} locks");
        verrou.shutdown().await.unwrap();
    });
}

/// The whole promise; CONTRIBUTING.md has the command.
mod for_two_minutes {
    use super::{Driver, FULL, ten_thousand};

    #[test]
    #[ignore = "two minutes"]
    fn memory() {
        ten_thousand(Driver::Memory, FULL);
    }

    #[test]
    #[ignore = "two minutes"]
    fn sqlite() {
        ten_thousand(Driver::Sqlite, FULL);
    }

    #[test]
    #[ignore = "two minutes"]
    fn redis() {
        ten_thousand(Driver::Redis, FULL);
    }

    #[test]
    #[ignore = "two minutes"]
    fn postgres() {
        ten_thousand(Driver::Postgres, FULL);
    }

    #[test]
    #[ignore = "two minutes"]
    fn mariadb() {
        ten_thousand(Driver::MySql, FULL);
    }
}

mod frozen_for_half_a_lease {
    use super::{Driver, a_frozen_server_for_half_a_lease};

    #[test]
    #[ignore = "half a minute"]
    fn redis() {
        a_frozen_server_for_half_a_lease(Driver::Redis);
    }

    #[test]
    #[ignore = "half a minute"]
    fn postgres() {
        a_frozen_server_for_half_a_lease(Driver::Postgres);
    }

    #[test]
    #[ignore = "half a minute"]
    fn mariadb() {
        a_frozen_server_for_half_a_lease(Driver::MySql);
    }
}

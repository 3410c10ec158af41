//! W5: many held locks, and what it costs to keep them.

use std::time::Duration;

use tests::Driver;
use tests::site::register;
use tokio::task::JoinSet;
use verrou::drivers::MemoryStore;
use verrou::{LockGuard, Verrou, VerrouBuilder, Wait};

use crate::arena::{Arena, two_threads};
use crate::bench::{Bench, Measure};
use crate::contender::Role;
use crate::counted::Counted;
use crate::elsewhere::{Other, Task, say, told};
use crate::heap;
use crate::must::must;
use crate::options::Workload;
use crate::ours::OURS;

pub(crate) const CPU: Measure = ("CPU", "% of a core");
pub(crate) const COMMANDS: Measure = ("commands", "1/s");
pub(crate) const RENEWALS: Measure = ("renewals per command", "");
pub(crate) const BYTES: Measure = ("memory of a lock", "bytes");
pub(crate) const GIVEN_BACK: Measure = ("memory given back", "%");

/// As many locks as renew at the same rate, in both forms.
struct Form {
    locks: usize,
    ttl: Duration,
    rounds: usize,
}

pub(crate) fn run(bench: &mut Bench, arena: &Arena) {
    let form = if bench.options.quick {
        Form {
            locks: 3_000,
            ttl: Duration::from_secs(6),
            rounds: 1,
        }
    } else {
        Form {
            locks: 10_000,
            ttl: Duration::from_secs(20),
            rounds: 5,
        }
    };
    two_threads().block_on(measure(bench, arena, &form));
}

async fn measure(bench: &mut Bench, arena: &Arena, form: &Form) {
    let ttl_ms = u64::try_from(form.ttl.as_millis()).unwrap_or(u64::MAX);
    let task = Task::Hold {
        locks: form.locks,
        ttl_ms,
    };
    let mut note = |measure, value| {
        let place = (arena.driver, Workload::W5);
        bench
            .figures
            .push(place, (OURS, Role::Ours), measure, value);
    };
    let mut holder = Other::start(arena.driver, &arena.url, OURS, task).await;
    let of_all: f64 = must(holder.line().await.parse(), "the bytes of all locks");
    note(BYTES, of_all / form.locks as f64);
    // Each is renewed once in a third of its ttl.
    let window = form.ttl / 3;
    // The first renewals come in the order of the grants; from then on it is as it will be.
    tokio::time::sleep(window).await;
    for _ in 0..form.rounds {
        let counted = Counted::start(&arena.stand).await;
        let before = holder.cpu();
        tokio::time::sleep(window).await;
        let cpu = (holder.cpu() - before) as f64 / window.as_nanos() as f64;
        note(CPU, 100.0 * cpu);
        if let Some(counted) = counted {
            let commands = counted.end().await as f64;
            note(COMMANDS, commands / window.as_secs_f64());
            note(RENEWALS, form.locks as f64 / commands);
        }
    }
    holder.tell().await;
    let left: f64 = must(holder.line().await.parse(), "the bytes that are left");
    note(GIVEN_BACK, 100.0 * (1.0 - left / of_all));
}

/// The process that holds them: says how many bytes they take, waits for a word, gives them back, says what is left.
pub(crate) async fn hold_many(driver: Driver, url: &str, locks: usize, ttl: Duration) {
    heap::watch();
    let builder = Verrou::builder().request_timeout(Duration::from_secs(20));
    let builder = match driver {
        Driver::Memory => Ok(builder.store("locks", MemoryStore::new())),
        _ => register(builder, url).await,
    };
    let verrou = must(builder.and_then(VerrouBuilder::build), "no instance");
    // Connections, statements and the keeper are there before it counts.
    drop(take(&verrou, "before", 64, ttl).await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = heap::in_use();
    let guards = take(&verrou, "lock", locks, ttl).await;
    say(&(heap::in_use() - before).to_string());
    if !told().await {
        return;
    }
    let lost = guards.iter().filter(|guard| !guard.is_held()).count();
    assert_eq!(lost, 0, "of {locks} locks");
    let mut releasing = JoinSet::new();
    for guard in guards {
        releasing.spawn(guard.release());
    }
    while let Some(released) = releasing.join_next().await {
        must(must(released, "a release"), "a release");
    }
    drop(releasing);
    tokio::time::sleep(Duration::from_millis(200)).await;
    say(&(heap::in_use() - before).to_string());
}

async fn take(verrou: &Verrou, name: &str, locks: usize, ttl: Duration) -> Vec<LockGuard> {
    let mut taking = JoinSet::new();
    for task in 0..16 {
        let (verrou, name) = (verrou.clone(), name.to_owned());
        taking.spawn(async move {
            let mut guards = Vec::with_capacity(locks / 16 + 1);
            for number in (task..locks).step_by(16) {
                let lock = verrou.create_lock(format!("{name}-{number}"));
                let guard = lock.ttl(ttl).wait(Wait::Forever).acquire().await;
                guards.push(must(guard, "a lock"));
            }
            guards
        });
    }
    let mut all = Vec::with_capacity(locks);
    while let Some(guards) = taking.join_next().await {
        all.extend(must(guards, "a task that takes locks"));
    }
    all
}

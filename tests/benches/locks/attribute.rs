//! W6: what `#[locked]` adds to `run`, and `run` to what one writes by hand.

use std::time::{Duration, Instant};

use tests::Driver;
use tests::history::nanos;
use verrou::drivers::MemoryStore;
use verrou::{Error, LockGuard, Verrou, locked};

use crate::arena::one_thread;
use crate::bench::{Bench, Measure};
use crate::contender::Role;
use crate::figures::quantile;
use crate::must::must;
use crate::options::Workload;
use crate::pinned::Pinned;

pub(crate) const P50: Measure = ("p50", "ns");
pub(crate) const OVER: Measure = ("attribute over `run`", "ns");

pub(crate) const ATTRIBUTE: &str = "`#[locked]`";
pub(crate) const RUN: &str = "`run`";
pub(crate) const BY_HAND: &str = "by hand";

/// A sample is the mean of as many calls.
const CHUNK: u32 = 64;

#[locked("w6:<id>")]
async fn attribute(id: u64) -> Result<u64, Error> {
    Ok(id)
}

async fn run_body(verrou: &Verrou, id: u64) -> Result<u64, Error> {
    let lock = verrou.create_lock(format!("w6:{id}"));
    lock.run(async |_: &LockGuard| id).await
}

async fn by_hand(verrou: &Verrou, id: u64) -> Result<u64, Error> {
    let guard = verrou.create_lock(format!("w6:{id}")).acquire().await?;
    let value = id;
    guard.release().await?;
    Ok(value)
}

pub(crate) fn run(bench: &mut Bench) {
    let _pinned = Pinned::with(None);
    one_thread().block_on(async {
        let builder = Verrou::builder().store("locks", MemoryStore::new());
        let verrou = must(builder.build(), "no instance");
        // The attribute finds the instance as it does in an application.
        must(verrou::init(verrou.clone()), "a global instance");
        let rounds = bench.options.rounds();
        for round in 0..rounds {
            bench.progress.round(round, rounds);
            let time = bench.options.round();
            let of_attribute = p50(time, attribute).await;
            let of_run = p50(time, |id| run_body(&verrou, id)).await;
            let of_hand = p50(time, |id| by_hand(&verrou, id)).await;
            let mut note = |who, role, measure, value| {
                let place = (Driver::Memory, Workload::W6);
                bench.figures.push(place, (who, role), measure, value);
            };
            note(ATTRIBUTE, Role::Ours, P50, of_attribute);
            note(RUN, Role::Floor, P50, of_run);
            note(BY_HAND, Role::Floor, P50, of_hand);
            note(ATTRIBUTE, Role::Ours, OVER, of_attribute - of_run);
        }
    });
}

/// In nanoseconds.
async fn p50<F: Future<Output = Result<u64, Error>>>(
    time: Duration,
    mut call: impl FnMut(u64) -> F,
) -> f64 {
    let mut samples = Vec::new();
    let begun = Instant::now();
    let mut last = begun;
    let mut id = 0;
    while last - begun < time {
        for _ in 0..CHUNK {
            id += 1;
            assert_eq!(must(call(id).await, "a call"), id, "its own answer");
        }
        let now = Instant::now();
        samples.push(nanos(now - last) / u64::from(CHUNK));
        last = now;
    }
    quantile(&mut samples, 0.5)
}

//! W1: one task, one free key, everything on one core.

use tests::Driver;

use crate::arena::{Arena, one_thread};
use crate::bench::{Bench, Measure};
use crate::field;
use crate::figures::quantile;
use crate::options::Workload;
use crate::pinned::Pinned;

pub(crate) const P50: Measure = ("p50", "us");
pub(crate) const P99: Measure = ("p99", "us");

pub(crate) fn run(bench: &mut Bench, arena: &Arena) {
    // A look at the clock costs as much as a fifth of a cycle in memory: there a sample is many cycles.
    let chunk = if arena.driver == Driver::Memory {
        64
    } else {
        1
    };
    let _pinned = Pinned::with(arena.stand.pid());
    one_thread().block_on(async {
        let floors = field::floors(arena.driver, &arena.url).await;
        let field = bench.field(arena, floors).await;
        let rounds = bench.options.rounds();
        for round in 0..rounds {
            bench.progress.round(round, rounds);
            for entrant in &field {
                let mut samples = entrant.one_task(bench.options.round(), chunk).await;
                for (measure, part) in [(P50, 0.5), (P99, 0.99)] {
                    let micros = quantile(&mut samples, part) / 1e3;
                    bench.note(arena.driver, Workload::W1, &**entrant, measure, micros);
                }
            }
        }
    });
}

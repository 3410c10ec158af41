//! W2: 64 tasks, each its own key.

use crate::arena::{Arena, two_threads};
use crate::bench::{Bench, Measure};
use crate::field;
use crate::options::Workload;

pub(crate) const RATE: Measure = ("rate", "cycles/s");

const TASKS: usize = 64;

pub(crate) fn run(bench: &mut Bench, arena: &Arena) {
    two_threads().block_on(async {
        let floors = field::floors_of_many(arena.driver, &arena.url).await;
        let field = bench.field(arena, floors).await;
        let rounds = bench.options.rounds();
        for entrant in &field {
            // The first cycle of each key is another one: a row is inserted, a statement prepared.
            entrant.many_keys(TASKS, bench.options.round() / 4).await;
        }
        for round in 0..rounds {
            bench.progress.round(round, rounds);
            for entrant in &field {
                let rate = entrant.many_keys(TASKS, bench.options.round()).await;
                bench.note(arena.driver, Workload::W2, &**entrant, RATE, rate);
            }
        }
    });
}

//! W3: everybody wants one key, and has nothing to do with it.

use std::sync::Arc;

use tests::Driver;

use crate::arena::{Arena, two_threads};
use crate::bench::{Bench, Measure};
use crate::contender::{Alone, Crowd, Role};
use crate::counted::Counted;
use crate::elsewhere::{Other, Task};
use crate::field::{self, Field};
use crate::must::must;
use crate::options::Workload;

pub(crate) const DEAD_TIME: Measure = ("dead time", "us");
pub(crate) const COMMANDS: Measure = ("commands per grant", "");
pub(crate) const LEAST: Measure = ("least grants", "");
pub(crate) const MOST: Measure = ("most grants", "");
pub(crate) const P99_WAIT: Measure = ("p99 wait", "us");
/// Over four processes.
pub(crate) const APART_DEAD_TIME: Measure = ("4 x 8: dead time", "us");
pub(crate) const APART_FAIRNESS: Measure = ("4 x 8: least / most grants", "");
pub(crate) const APART_LEAST: Measure = ("4 x 8: least grants", "");
pub(crate) const APART_MOST: Measure = ("4 x 8: most grants", "");
pub(crate) const APART_P99_WAIT: Measure = ("4 x 8: p99 wait", "us");
pub(crate) const APART_P99_MEAN: Measure = ("4 x 8: p99 wait / mean", "");

const TASKS: usize = 32;
const PROCESSES: usize = 4;

pub(crate) fn run(bench: &mut Bench, arena: &Arena) {
    two_threads().block_on(async {
        let floors = field::floors(arena.driver, &arena.url).await;
        let field = bench.field(arena, floors).await;
        in_one_process(bench, arena, &field).await;
        count(bench, arena, &field).await;
        if arena.driver != Driver::Memory {
            let mut locks = vec![field::ours(arena.driver, &arena.url).await];
            locks.extend(field::peers(arena.driver, &arena.url, bench.options.peers).await);
            in_four_processes(bench, arena, &locks).await;
        }
    });
}

fn takes_locks(entrant: &dyn Alone) -> bool {
    matches!(entrant.role(), Role::Ours | Role::Peer)
}

/// A floor has no key to wait for: one task does its work, one cycle after the other.
fn tasks(entrant: &dyn Alone) -> usize {
    if takes_locks(entrant) { TASKS } else { 1 }
}

async fn in_one_process(bench: &mut Bench, arena: &Arena, field: &[Arc<dyn Alone>]) {
    let rounds = bench.options.rounds();
    for round in 0..rounds {
        bench.progress.round(round, rounds);
        for entrant in field {
            let time = bench.options.long_round();
            let crowd = entrant.one_key(tasks(&**entrant), time).await;
            let mut note = |measure, value| {
                bench.note(arena.driver, Workload::W3, &**entrant, measure, value);
            };
            note(DEAD_TIME, crowd.dead_time());
            if takes_locks(&**entrant) {
                note(LEAST, crowd.least());
                note(MOST, crowd.most());
                note(P99_WAIT, crowd.p99_wait());
            }
        }
    }
}

/// A round of its own, for counting costs time.
async fn count(bench: &mut Bench, arena: &Arena, field: &[Arc<dyn Alone>]) {
    for entrant in field.iter().filter(|entrant| takes_locks(&***entrant)) {
        let Some(counted) = Counted::start(&arena.stand).await else {
            return;
        };
        let crowd = entrant.one_key(TASKS, bench.options.long_round()).await;
        let each = counted.end().await as f64 / crowd.all_grants().max(1) as f64;
        bench.note(arena.driver, Workload::W3, &**entrant, COMMANDS, each);
    }
}

async fn in_four_processes(bench: &mut Bench, arena: &Arena, locks: &Field) {
    let time = bench.options.long_round();
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let task = Task::Crowd {
        tasks: TASKS / PROCESSES,
        millis,
    };
    let mut teams = Vec::new();
    for entrant in locks {
        let mut team = Vec::new();
        for _ in 0..PROCESSES {
            let name = entrant.name();
            team.push(Other::start(arena.driver, &arena.url, name, task.clone()).await);
        }
        for process in &mut team {
            process.line().await;
        }
        teams.push((entrant, team));
    }
    let rounds = bench.options.rounds();
    for round in 0..rounds {
        bench.progress.round(round, rounds);
        for (entrant, team) in &mut teams {
            for process in &mut *team {
                process.tell().await;
            }
            let mut crowd = Crowd::default();
            for process in team {
                let of_one = process.line().await;
                crowd.join(&must(serde_json::from_str(&of_one), "what a crowd came to"));
            }
            let mut note = |measure, value| {
                bench.note(arena.driver, Workload::W3, &***entrant, measure, value);
            };
            note(APART_DEAD_TIME, crowd.dead_time());
            note(APART_LEAST, crowd.least());
            note(APART_MOST, crowd.most());
            note(APART_FAIRNESS, crowd.least() / crowd.most());
            note(APART_P99_WAIT, crowd.p99_wait());
            note(APART_P99_MEAN, crowd.p99_wait() / crowd.mean_wait());
        }
    }
}

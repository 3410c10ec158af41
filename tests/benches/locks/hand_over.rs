//! W4: from the release here to the grant there, and what it costs to wait.

use std::sync::Arc;
use std::time::Duration;

use tests::Driver;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::arena::{Arena, two_threads};
use crate::bench::{Bench, Measure};
use crate::contender::{Boxed, Entrant, HandOver, Waiter};
use crate::counted::Counted;
use crate::elsewhere::{Other, Task};
use crate::field;
use crate::figures::quantile;
use crate::must::must;
use crate::options::Workload;

pub(crate) const P50: Measure = ("p50", "us");
pub(crate) const P99: Measure = ("p99", "us");
pub(crate) const IN_ALL: Measure = ("p50 from the call of the release", "us");
pub(crate) const LESS_HELD: Measure = ("p50 less 5 % of the time held", "us");
pub(crate) const STATEMENTS: Measure = ("statements/s while one waits", "1/s");
pub(crate) const WAITING: Measure = ("a waiter's CPU", "% of a core");

/// How long the key is held while it is counted what waiting costs.
const LONG: Duration = Duration::from_secs(10);

pub(crate) fn run(bench: &mut Bench, arena: &Arena) {
    two_threads().block_on(async {
        let mut field = vec![field::ours(arena.driver, &arena.url).await];
        field.extend(field::peers(arena.driver, &arena.url, bench.options.peers).await);
        // Where nothing is sent to anybody, a bare cycle says nothing about a hand-over.
        let floors = match arena.driver {
            Driver::Memory => Vec::new(),
            driver => field::floors(driver, &arena.url).await,
        };
        let mut pairs = Vec::new();
        for entrant in field {
            let waiter: Box<dyn Waiter> = match arena.driver {
                Driver::Memory => Box::new(Beside::start(Arc::clone(&entrant))),
                driver => {
                    let name = entrant.name();
                    let mut other = Other::start(driver, &arena.url, name, Task::Wait).await;
                    other.line().await;
                    Box::new(other)
                }
            };
            pairs.push((entrant, waiter));
        }
        let rounds = bench.options.rounds();
        for round in 0..rounds {
            bench.progress.round(round, rounds);
            for (entrant, waiter) in &mut pairs {
                let hold = moments(if bench.options.quick { 8 } else { 40 });
                let seen = entrant.hand_over(&mut **waiter, &hold).await;
                note(bench, arena.driver, &**entrant, &seen);
            }
            for floor in &floors {
                let mut samples = floor.one_task(bench.options.round() / 2, 1).await;
                let micros = quantile(&mut samples, 0.5) / 1e3;
                bench.note(arena.driver, Workload::W4, &**floor, P50, micros);
            }
        }
        if arena.driver != Driver::Memory
            && let Some((ours, waiter)) = pairs.first_mut()
        {
            what_waiting_costs(bench, arena, &**ours, &mut **waiter).await;
        }
    });
}

/// Random times to hold a key for: a waiter that polls is met anywhere between two of its looks.
fn moments(count: usize) -> Vec<Duration> {
    let moment = || Duration::from_micros(fastrand::u64(5_000..30_000));
    std::iter::repeat_with(moment).take(count).collect()
}

fn note(bench: &mut Bench, driver: Driver, entrant: &dyn Entrant, seen: &[HandOver]) {
    let mut of = |measure, part, nanos: fn(&HandOver) -> i64| {
        let mut nanos: Vec<i64> = seen.iter().map(nanos).collect();
        let micros = quantile(&mut nanos, part) / 1e3;
        bench.note(driver, Workload::W4, entrant, measure, micros);
    };
    of(P50, 0.5, |one| one.after);
    of(P99, 0.99, |one| one.after);
    of(IN_ALL, 0.5, |one| one.in_all);
    if driver == Driver::MySql {
        // Who waits there looks, less often the longer it has waited.
        of(LESS_HELD, 0.5, |one| one.after - one.held / 20);
    }
}

/// Holds the key for long, and counts what the server is sent meanwhile and what the waiter's process needs.
async fn what_waiting_costs(
    bench: &mut Bench,
    arena: &Arena,
    ours: &dyn Entrant,
    waiter: &mut dyn Waiter,
) {
    let counted = Counted::start(&arena.stand).await;
    let before = waiter.cpu();
    ours.hand_over(waiter, &[LONG]).await;
    let cpu = (waiter.cpu() - before) as f64 / LONG.as_nanos() as f64;
    bench.note(arena.driver, Workload::W4, ours, WAITING, 100.0 * cpu);
    if let Some(counted) = counted {
        let rate = counted.end().await as f64 / LONG.as_secs_f64();
        bench.note(arena.driver, Workload::W4, ours, STATEMENTS, rate);
    }
}

/// Another task of this process.
struct Beside {
    go: Sender<()>,
    granted: Receiver<u64>,
}

impl Beside {
    fn start(entrant: Arc<dyn Entrant>) -> Self {
        let (go, mut told) = channel(1);
        let (say, granted) = channel(1);
        tokio::spawn(async move {
            while told.recv().await.is_some() {
                if say.send(entrant.wait_once().await).await.is_err() {
                    return;
                }
            }
        });
        Self { go, granted }
    }
}

impl Waiter for Beside {
    fn go(&mut self) -> Boxed<'_, ()> {
        Box::pin(async { must(self.go.send(()).await, "a waiter") })
    }

    fn granted(&mut self) -> Boxed<'_, u64> {
        Box::pin(async {
            match self.granted.recv().await {
                Some(granted) => granted,
                None => panic!("the waiter has ended"),
            }
        })
    }

    fn cpu(&self) -> u64 {
        0
    }
}

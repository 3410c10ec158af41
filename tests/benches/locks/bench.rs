//! The order of events, and where figures go.

use std::sync::Arc;

use tests::Driver;

use crate::arena::Arena;
use crate::contender::Alone;
use crate::field::{self, Field};
use crate::figures::{Figures, title};
use crate::options::{Options, Workload};
use crate::peers::scripts;
use crate::progress::Progress;
use crate::{attribute, hand_over, held, many_keys, one_key, one_task};

/// A run of the bench.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) figures: Figures,
    pub(crate) progress: Progress,
}

/// A measure and its unit.
pub(crate) type Measure = (&'static str, &'static str);

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let workloads = |driver: &Driver| {
            let of_driver = options
                .workloads
                .iter()
                .filter(|workload| **workload != Workload::W6 || *driver == Driver::Memory);
            of_driver.count()
        };
        let steps = options.drivers.iter().map(workloads).sum();
        Self {
            progress: Progress::new(steps),
            figures: Figures::default(),
            options,
        }
    }

    /// All that was asked for, driver by driver.
    pub(crate) fn run(&mut self) {
        for driver in self.options.drivers.clone() {
            self.progress.say(&format!("{}: starting", title(driver)));
            let Some(arena) = crate::arena::two_threads().block_on(Arena::start(driver)) else {
                let why = "VERROU_TEST_SKIP says so";
                self.progress.left_out(&format!("{}: {why}", title(driver)));
                continue;
            };
            for workload in self.options.workloads.clone() {
                if workload == Workload::W6 && driver != Driver::Memory {
                    continue;
                }
                self.progress
                    .step(&format!("{} {}", title(driver), workload.name()));
                match workload {
                    Workload::W1 => one_task::run(self, &arena),
                    Workload::W2 => many_keys::run(self, &arena),
                    Workload::W3 => one_key::run(self, &arena),
                    Workload::W4 => hand_over::run(self, &arena),
                    Workload::W5 => held::run(self, &arena),
                    Workload::W6 => attribute::run(self),
                }
            }
        }
        self.progress.done();
    }

    /// Whoever does the job in one process, behind verrou and the `floors`.
    pub(crate) async fn field(&self, arena: &Arena, floors: Field) -> Vec<Arc<dyn Alone>> {
        let (driver, url) = (arena.driver, &*arena.url);
        let mut all: Vec<Arc<dyn Alone>> = vec![field::ours(driver, url).await];
        let peers = field::peers(driver, url, self.options.peers).await;
        all.extend(
            floors
                .into_iter()
                .chain(peers)
                .map(|one| one as Arc<dyn Alone>),
        );
        if driver == Driver::Redis && self.options.peers {
            for script in scripts::all(url).await {
                match script {
                    Ok(contenders) => all.extend(contenders),
                    Err(why) => self.progress.left_out(&why),
                }
            }
        }
        all
    }

    /// Notes a round's value.
    pub(crate) fn note(
        &mut self,
        driver: Driver,
        workload: Workload,
        entrant: &dyn Alone,
        measure: Measure,
        value: f64,
    ) {
        let who = (entrant.name(), entrant.role());
        self.figures.push((driver, workload), who, measure, value);
    }
}

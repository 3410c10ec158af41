//! One fault on one driver, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use tokio::time::sleep;
use verrou::{SerializedLock, Verrou, Wait};

use super::fault::Fault;
use super::order::{self, Order};
use super::pulse::Pulse;
use super::stand::{Driver, Stand};
use super::workers::Worker;
use crate::clock_shim::library;
use crate::history::attempts::{Attempt, Stall, attempts};
use crate::history::check::{Circumstances, MS, Violation, Window, check};
use crate::history::figures::Figures;
use crate::history::{self, Nanos, What, boot_nanos, nanos};
use crate::proxy::{Link, Proxy};
use crate::{DEADLINE, Folder};

const PROCESSES: u32 = 3;
const TASKS: u32 = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a cell does what it does.
const STRIKES: u32 = 2;
/// For so long somebody is looked for who holds the key that everybody wants.
const LOOKED_FOR: Duration = Duration::from_millis(500);
/// Guards that each process must have had before anything is done to it.
const WARM: usize = 3;

/// The variable that names a folder in which the histories of the last cell are kept, for people to read.
const KEPT: &str = "VERROU_TEST_HISTORIES";

/// One place of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "part of the tests only")]
pub struct Cell {
    /// The driver.
    pub driver: Driver,
    /// What is done.
    pub fault: Fault,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.driver.name(), self.fault.name())
    }
}

/// What has happened in a cell.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Which.
    pub cell: Cell,
    /// What the times of its faults followed from.
    pub seed: u64,
    /// Who did what.
    pub attempts: Vec<Attempt>,
    /// Who did not run, and when.
    pub stalls: Vec<Stall>,
    /// What was done.
    pub circumstances: Circumstances,
    /// In numbers.
    pub figures: Figures,
    /// What was broken.
    pub violations: Vec<Violation>,
}

impl Cell {
    /// Every cell of `driver`.
    pub fn all(driver: Driver) -> impl Iterator<Item = Self> {
        let concerned = Fault::ALL
            .into_iter()
            .filter(move |fault| fault.concerns(driver));
        concerned.map(move |fault| Self { driver, fault })
    }

    /// The cell that is written like this.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Driver::ALL
            .into_iter()
            .flat_map(Self::all)
            .find(|cell| cell.to_string() == name)
    }

    /// Runs it on `stand`, with processes of the program at `load`.
    ///
    /// # Panics
    /// If something cannot be started or stopped; what the locks do wrong is in the answer.
    pub async fn run(self, stand: &mut Stand, load: &Path, seed: u64) -> Run {
        let pulse = Pulse::of(stand);
        let mut stage = Stage::set(self, stand, load, seed);
        stage.warm().await;
        match self.fault {
            // Long enough for everything to be done several times.
            Fault::Calm | Fault::Skew => sleep(Duration::from_secs(3)).await,
            _ => {
                for strike in 0..STRIKES {
                    sleep(Duration::from_millis(stage.rng.u64(100..500))).await;
                    stage.strike(strike).await;
                    sleep(self.fault.ttl()).await;
                }
            }
        }
        stage.end(pulse).await
    }
}

/// The processes of a cell, and what is done to them.
struct Stage<'a> {
    cell: Cell,
    stand: &'a mut Stand,
    load: &'a Path,
    seed: u64,
    rng: Rng,
    folder: Folder,
    /// A library that moves the clocks of the processes.
    shim: Option<String>,
    workers: Vec<Worker>,
    /// Between the process at the same place and the server.
    links: Vec<Proxy>,
    next_process: u32,
    circumstances: Circumstances,
}

impl<'a> Stage<'a> {
    fn set(cell: Cell, stand: &'a mut Stand, load: &'a Path, seed: u64) -> Self {
        let folder = Folder::new();
        let processes = if cell.driver == Driver::Memory {
            1
        } else {
            PROCESSES
        };
        let links = match stand.port() {
            Some(port) => (0..processes).map(|_| Proxy::to(port)).collect(),
            None => Vec::new(),
        };
        let mut stage = Self {
            shim: (cell.fault == Fault::Skew).then(|| library(&folder)),
            cell,
            stand,
            load,
            seed,
            rng: Rng::with_seed(seed),
            folder,
            workers: Vec::new(),
            links,
            next_process: 0,
            circumstances: Circumstances {
                ttl: nanos(cell.fault.ttl()),
                request_timeout: nanos(REQUEST_TIMEOUT),
                ..Circumstances::default()
            },
        };
        for place in 0..processes as usize {
            let worker = stage.worker(place);
            stage.workers.push(worker);
        }
        stage
    }

    /// A new process at `place`.
    fn worker(&mut self, place: usize) -> Worker {
        let process = self.next_process;
        self.next_process += 1;
        let url = self.stand.url();
        let order = Order {
            url: self
                .links
                .get(place)
                .map_or(url.clone(), |link| link.through(&url)),
            namespace: self.namespace(),
            process,
            folder: self.path(),
            seed: self.rng.u64(..),
            tasks: if self.cell.driver == Driver::Memory {
                PROCESSES * TASKS
            } else {
                TASKS
            },
            // Leases that end by the clock are what late answers are about.
            lost: if self.cell.fault == Fault::Delayed {
                12
            } else {
                2
            },
            ttl_ms: u64::try_from(self.cell.fault.ttl().as_millis()).unwrap_or(u64::MAX),
            request_timeout_ms: u64::try_from(REQUEST_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        };
        let hours = [1, -1, 0][place % 3];
        let skew = self.shim.as_deref().map(|library| (library, hours));
        Worker::start(self.load, &order, skew)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs of one store do not meet.
    fn namespace(&self) -> String {
        format!("{}-{:x}", self.cell.fault.name(), self.seed)
    }

    /// Waits until every process has had some guards.
    async fn warm(&self) {
        let started = boot_nanos();
        loop {
            let events = history::read(self.folder.path());
            let grants = |process| {
                let granted = |event: &&history::Event| {
                    event.id.process == process && matches!(event.what, What::Grant(_))
                };
                events.iter().filter(granted).count()
            };
            if self
                .workers
                .iter()
                .all(|worker| grants(worker.process) >= WARM)
            {
                return;
            }
            let waited = boot_nanos() - started;
            assert!(
                waited < nanos(DEADLINE),
                "{}: the load does not begin",
                self.cell
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn window(&mut self, from: Nanos, victim: Option<u32>, dead: bool) {
        self.circumstances.windows.push(Window {
            fault: self.cell.fault.name(),
            from,
            to: boot_nanos(),
            victim,
            dead,
        });
    }

    /// For how long: the first time for less than a lease, then for more, and for more than what a call may take.
    fn length(&mut self, strike: u32) -> Duration {
        let ttl = u64::try_from(self.cell.fault.ttl().as_millis()).unwrap_or(1000);
        Duration::from_millis(match strike {
            0 => self.rng.u64(ttl / 5..ttl / 2),
            _ => self.rng.u64(ttl * 3 / 2..ttl * 2),
        })
    }

    /// Does it once.
    async fn strike(&mut self, strike: u32) {
        let place = match self.cell.fault {
            Fault::KillHolder | Fault::PauseHolder => self.holder().await,
            _ => self.rng.usize(0..self.workers.len()),
        };
        let victim = self.workers[place].process;
        let from = boot_nanos();
        match self.cell.fault {
            Fault::Calm | Fault::Skew => {}
            Fault::KillHolder => {
                self.workers[place].kill();
                self.circumstances.killed.insert(victim, boot_nanos());
                self.window(from, Some(victim), false);
                self.workers[place] = self.worker(place);
            }
            Fault::PauseHolder => {
                let length = self.length(strike);
                self.workers[place].signal(Signal::STOP);
                sleep(length).await;
                self.workers[place].signal(Signal::CONT);
                self.window(from, Some(victim), false);
            }
            Fault::KillServer | Fault::Volatile => {
                self.stand.kill();
                if self.cell.fault == Fault::Volatile {
                    self.circumstances.forgot.push((from, boot_nanos()));
                }
                sleep(Duration::from_millis(self.rng.u64(20..400))).await;
                self.stand.restart().await;
                self.window(from, None, true);
            }
            Fault::FreezeServer => {
                let length = self.length(strike);
                self.stand.freeze().await;
                let from = boot_nanos();
                sleep(length).await;
                self.stand.thaw().await;
                self.window(from, None, true);
            }
            Fault::Cut => self.break_link(strike, Link::Cut).await,
            Fault::Silent => self.break_link(strike, Link::Silent).await,
            Fault::Deaf => self.break_link(strike, Link::Deaf).await,
            Fault::Delayed => {
                // One much longer than the others: if it counted its leases from the answers, it would be too late for them.
                for (other, link) in self.links.iter().enumerate() {
                    let delay = if other == place { 380..480 } else { 1..60 };
                    link.set(Link::Delayed(Duration::from_millis(self.rng.u64(delay))));
                }
                sleep(3 * self.cell.fault.ttl()).await;
                for link in &self.links {
                    link.set(Link::Open);
                }
                self.window(from, None, false);
            }
            Fault::Twice => {
                for _ in 0..20 {
                    let place = self.rng.usize(0..self.links.len());
                    self.links[place].swallow_next_reply_and_cut();
                    sleep(Duration::from_millis(self.rng.u64(20..120))).await;
                }
                self.window(from, None, false);
            }
            Fault::Kick => {
                for _ in 0..3 {
                    self.stand.kick().await;
                    sleep(Duration::from_millis(self.rng.u64(20..300))).await;
                }
                self.window(from, None, false);
            }
            Fault::Forget => {
                self.stand.forget().await;
                self.circumstances.forgot.push((from, boot_nanos()));
                self.window(from, None, false);
            }
        }
    }

    /// The place of a process that holds the key that everybody wants; of any, if it changes too fast to be seen.
    async fn holder(&mut self) -> usize {
        let began = boot_nanos();
        while boot_nanos() - began < nanos(LOOKED_FOR) {
            let (attempts, _) = attempts(&history::read(self.folder.path()));
            let holds = |attempt: &&Attempt| {
                attempt.granted.is_some() && attempt.end.is_none() && attempt.keys == [history::HOT]
            };
            let holding = attempts
                .iter()
                .rev()
                .find(holds)
                .map(|attempt| attempt.id.process);
            let place = self
                .workers
                .iter()
                .position(|worker| Some(worker.process) == holding);
            if let Some(place) = place {
                return place;
            }
            sleep(Duration::from_millis(2)).await;
        }
        self.rng.usize(0..self.workers.len())
    }

    /// Breaks the link of one process, and now and then of all.
    async fn break_link(&mut self, strike: u32, how: Link) {
        let length = self.length(strike);
        let place = self.rng.usize(0..self.workers.len());
        let all = self.rng.u32(0..4) == 0;
        let from = boot_nanos();
        let chosen = |(other, _): &(usize, &Proxy)| all || *other == place;
        for (_, link) in self.links.iter().enumerate().filter(chosen) {
            link.set(how);
        }
        sleep(length).await;
        for link in &self.links {
            link.set(Link::Open);
        }
        let victim = (!all).then_some(self.workers[place].process);
        self.window(from, victim, true);
    }

    /// Ends the load, sees whether every key can be had, and checks the history.
    async fn end(mut self, pulse: Pulse) -> Run {
        // Whoever holds now was granted after the last fault.
        sleep(self.cell.fault.ttl().min(Duration::from_secs(1))).await;
        let mut unwell = Vec::new();
        self.circumstances.stopped = boot_nanos();
        if self.cell.fault == Fault::KillHolder {
            for worker in &mut self.workers {
                worker.kill();
                self.circumstances
                    .killed
                    .insert(worker.process, boot_nanos());
            }
        } else {
            for worker in &mut self.workers {
                worker.stop();
            }
            for worker in &mut self.workers {
                if !worker.idle(self.folder.path()).await {
                    unwell.push(worker.process);
                }
            }
        }
        if self.cell.driver != Driver::Memory {
            self.probe().await;
        }
        if let Err(error) = std::fs::write(order::over(self.folder.path()), "") {
            panic!("{}: {error}", self.cell);
        }
        if self.cell.fault != Fault::KillHolder {
            for worker in &mut self.workers {
                if !worker.ended().await {
                    unwell.push(worker.process);
                }
            }
        }
        if let Some(kept) = std::env::var_os(KEPT) {
            keep(self.folder.path(), Path::new(&kept));
        }
        let (attempts, mut stalls) = attempts(&history::read(self.folder.path()));
        stalls.extend(pulse.end());
        let (figures, mut violations) = check(&attempts, &stalls, &self.circumstances);
        violations.extend(unwell.iter().map(|process| Violation::unwell(*process)));
        Run {
            cell: self.cell,
            seed: self.seed,
            attempts,
            stalls,
            circumstances: self.circumstances,
            figures,
            violations,
        }
    }

    /// How long each key takes to be acquired by somebody who was not there before.
    async fn probe(&mut self) {
        let ended = boot_nanos();
        let builder = Verrou::builder().namespace(self.namespace());
        let verrou = self.stand.on(builder).await;
        // What was given and not taken stays taken; here is a taker.
        for entry in std::fs::read_dir(self.folder.path().join("mail"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let letter = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let text = letter
                .split_once('\n')
                .map(|(_, text)| text.parse::<SerializedLock>());
            if let Some(Ok(text)) = text
                && let Ok(guard) = verrou.restore_lock(&text).await
            {
                let _ = guard.release().await;
            }
        }
        let ttl = self.circumstances.ttl;
        let bound = if self.cell.fault == Fault::Calm {
            1000 * MS
        } else {
            ttl + 500 * MS
        };
        let probes: Vec<_> = order::keys()
            .into_iter()
            .map(|key| {
                let verrou = verrou.clone();
                tokio::spawn(async move {
                    let wait = Duration::from_nanos(ttl) + Duration::from_secs(5);
                    let lock = verrou.create_lock(&key).wait(Wait::For(wait));
                    let acquired = lock.acquire().await;
                    let took = boot_nanos() - ended;
                    match acquired {
                        Ok(guard) => drop(guard.release().await),
                        Err(_) => return (key, Nanos::MAX),
                    }
                    (key, took)
                })
            })
            .collect();
        let mut all = BTreeMap::new();
        for probe in probes {
            match probe.await {
                Ok((key, took)) => all.insert(key, took),
                Err(error) => panic!("a probe: {error}"),
            };
        }
        let probes = all.into_iter().map(|(key, took)| (key, took, bound));
        self.circumstances.probes = probes.collect();
        if let Err(error) = verrou.shutdown().await {
            panic!("the probe: {error}");
        }
    }
}

/// Copies the histories.
fn keep(from: &Path, to: &Path) {
    let _ = std::fs::create_dir_all(to);
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}

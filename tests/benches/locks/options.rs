//! The command line.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tests::Driver;

use crate::{attribute, hand_over, held, many_keys, one_key, one_task};

pub(crate) const USAGE: &str = "\
cargo bench -p tests [-- OPTIONS]
  --quick            less than three minutes: does it work, and roughly how much?
  --only LIST        drivers and workloads, with commas: redis,w1
  --peers            the peers as well: from npm and PyPI where node and python3 are there; Rust crates with
                     `cargo bench -p tests --features peers -- --peers`
  --check            exit 1 where a target is missed
  --json             all figures on stdout, for machines
The report is written to target/bench/report.md.";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Workload {
    /// One task, one free key.
    W1,
    /// 64 tasks, a key each.
    W2,
    /// 32 tasks, one key.
    W3,
    /// One holder, one waiter in another process.
    W4,
    /// Ten thousand held locks.
    W5,
    /// What the attribute costs.
    W6,
}

impl Workload {
    pub(crate) const ALL: [Self; 6] = [Self::W1, Self::W2, Self::W3, Self::W4, Self::W5, Self::W6];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
            Self::W5 => "w5",
            Self::W6 => "w6",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::W1 => "one task, one free key, client and server on one core",
            Self::W2 => "64 tasks, each its own key",
            Self::W3 => "many tasks, one key, empty body",
            Self::W4 => "one holder, one waiter in another process",
            Self::W5 => "held locks with renewal",
            Self::W6 => "the attribute over `run` over by hand, in memory",
        }
    }

    /// What contenders are compared by, and drawn; the rest is in the tables.
    pub(crate) fn main_measure(self) -> &'static str {
        let (name, _) = match self {
            Self::W1 => one_task::P50,
            Self::W2 => many_keys::RATE,
            Self::W3 => one_key::DEAD_TIME,
            Self::W4 => hand_over::P50,
            Self::W5 => held::CPU,
            Self::W6 => attribute::P50,
        };
        name
    }
}

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) peers: bool,
    pub(crate) check: bool,
    pub(crate) json: bool,
    pub(crate) drivers: Vec<Driver>,
    pub(crate) workloads: Vec<Workload>,
}

impl Options {
    /// Reads the arguments.
    ///
    /// # Errors
    /// A text for people.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            quick: false,
            peers: false,
            check: false,
            json: false,
            drivers: Vec::new(),
            workloads: Vec::new(),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--peers" => options.peers = true,
                "--check" => options.check = true,
                "--json" => options.json = true,
                "--only" => options.only(&arguments.next().ok_or("`--only` needs a list")?)?,
                // Cargo says this to every bench.
                "--bench" => {}
                "--help" | "-h" => return Err(USAGE.to_owned()),
                other => return Err(format!("unknown option `{other}`\n{USAGE}")),
            }
        }
        if options.drivers.is_empty() {
            options.drivers.extend(Driver::ALL);
        }
        if options.workloads.is_empty() {
            options.workloads.extend(Workload::ALL);
        }
        Ok(options)
    }

    fn only(&mut self, list: &str) -> Result<(), String> {
        for word in list.split(',').map(|word| word.trim().to_lowercase()) {
            let driver = match word.as_str() {
                "mariadb" => Some(Driver::MySql),
                word => Driver::ALL.into_iter().find(|driver| driver.name() == word),
            };
            let workload = Workload::ALL
                .into_iter()
                .find(|workload| workload.name() == word);
            match (driver, workload) {
                (Some(driver), _) => self.drivers.push(driver),
                (_, Some(workload)) => self.workloads.push(workload),
                _ => return Err(format!("`{word}` is no driver and no workload\n{USAGE}")),
            }
        }
        Ok(())
    }

    /// How often everything is measured.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 5 } else { 9 }
    }

    /// How long a round of one contender takes.
    pub(crate) fn round(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 1000 })
    }

    /// The same where many wait: the slowest peers need their time.
    pub(crate) fn long_round(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 2000 })
    }
}

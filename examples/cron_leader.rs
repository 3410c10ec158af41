//! Three processes with the same timetable, and one of them does the job at each tick.
//!
//! ```text
//! cargo run -p examples --example cron_leader
//! ```
//!
//! `on_busy = skip` lets the others go on to the next tick. `min_hold` keeps the key taken for most of the tick: a process
//! whose timer fires a little later must not find it free because the job was quick. Exit code 0 if no tick had two jobs.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to its reader"
)]

use std::collections::BTreeMap;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use verrou::{Verrou, drivers::SqliteStore, locked};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const PROCESSES: usize = 3;
const TICKS: u64 = 5;
const TICK: Duration = Duration::from_secs(1);
/// Whoever is later than this skips the tick: from then on the key may be free again.
const MIN_HOLD: Duration = Duration::from_millis(800);
/// Tells a worker where the locks are, and the first of its ticks.
const LOCKS: &str = "VERROU_CRON_LOCKS";
const FIRST: &str = "VERROU_CRON_FIRST";

/// `Some` in the process that did it, `None` in the others.
#[locked("cron:nightly-report", on_busy = skip, wait = never, min_hold = MIN_HOLD)]
async fn nightly_report(tick: u64) -> Result<Option<()>, verrou::Error> {
    if since(tick) >= MIN_HOLD {
        return Ok(None);
    }
    println!("{tick}");
    Ok(Some(()))
}

/// How long ago this tick was; nothing, if it is to come.
fn since(tick: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
        .saturating_sub(TICK * u32::try_from(tick).unwrap_or(u32::MAX))
}

async fn worker(locks: &str, first: u64) -> Result<(), AnyError> {
    let verrou = Verrou::builder()
        .store("locks", SqliteStore::connect(locks).await?)
        .build()?;
    verrou::init(verrou.clone())?;
    for tick in first..first + TICKS {
        let to_come = UNIX_EPOCH + TICK * u32::try_from(tick)?;
        let pause = to_come.duration_since(SystemTime::now());
        tokio::time::sleep(pause.unwrap_or_default()).await;
        nightly_report(tick).await?;
    }
    Ok(verrou.shutdown().await?)
}

/// Starts the workers, and counts which of them did the job at which tick.
async fn watch(locks: &str) -> Result<bool, AnyError> {
    // Long enough for all of them to be there.
    let first = since(0).as_secs() + 3;
    let mut workers = Vec::new();
    for number in 1..=PROCESSES {
        let mut child = Command::new(std::env::current_exe()?)
            .env(LOCKS, locks)
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().ok_or("a worker has no output")?;
        let reading = async move {
            let mut lines = BufReader::new(output).lines();
            let mut done = Vec::new();
            while let Some(line) = lines.next_line().await? {
                done.push(line.parse::<u64>()?);
            }
            let ended = child.wait().await?;
            ended.success().then_some(()).ok_or("a worker failed")?;
            Ok::<_, AnyError>((number, done))
        };
        workers.push(tokio::spawn(reading));
    }
    let mut ticks: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for worker in workers {
        let (number, done) = worker.await??;
        for tick in done {
            ticks.entry(tick).or_default().push(number);
        }
    }
    for tick in first..first + TICKS {
        let by = ticks.get(&tick).map(Vec::as_slice).unwrap_or_default();
        println!("tick {tick}: done by process {by:?} of {PROCESSES}");
    }
    let once = ticks.values().all(|by| by.len() == 1);
    println!(
        "{}",
        if once {
            "no tick had two jobs"
        } else {
            "a tick had two jobs"
        }
    );
    Ok(once && !ticks.is_empty())
}

async fn start() -> Result<bool, AnyError> {
    if let Ok(locks) = std::env::var(LOCKS) {
        worker(&locks, std::env::var(FIRST)?.parse()?).await?;
        return Ok(true);
    }
    let file = std::env::temp_dir().join(format!("verrou-cron-{}.db", std::process::id()));
    let watched = watch(&format!("sqlite:{}", file.display())).await;
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    watched
}

#[tokio::main]
async fn main() -> ExitCode {
    match start().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the example could not run: {error}");
            ExitCode::from(2)
        }
    }
}

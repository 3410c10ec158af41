//! The long forms of the fault matrix.
//!
//! ```text
//! proof soak [MINUTES]       every cell again and again, for 20 minutes unless told otherwise
//! proof replay CELL SEED     one cell with the schedule of its faults, as `redis/cut-link 0x1f`
//! proof sabotage [BUG..]     lets known bugs loose, one at a time, and sees whether they are found
//! ```
//!
//! The reports are in `target/proof`. Ends with 1 if something was broken, or if a bug was not found.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is run by people"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tests::matrix::report::Report;
use tests::matrix::sabotage::{BUGS, Bug, VARIABLE};
use tests::matrix::{Cell, Driver, Fault, Run, Stand};
use tests::servers::is_skipped;
use tokio::sync::Semaphore;

type Outcome = Result<bool, Box<dyn Error>>;

/// So many drivers have their turn at a time.
const AT_A_TIME: usize = 2;
/// Before each violation that a replay shows.
const BROKEN: &str = "broken: ";
/// A bug is looked for so often in each of its cells.
const TRIES: u32 = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["soak"] => soak(20),
        ["soak", minutes] => minutes.parse().map_err(Into::into).and_then(soak),
        ["replay", cell, seed] => replay(cell, seed),
        ["sabotage", names @ ..] => sabotage(names),
        _ => Err("usage: proof soak [MINUTES] | replay CELL SEED | sabotage [BUG..]".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("proof: {error}");
            ExitCode::from(64)
        }
    }
}

/// The program of the load, which is built beside this one.
fn load() -> Result<PathBuf, Box<dyn Error>> {
    let load = std::env::current_exe()?.with_file_name("load");
    if load.exists() {
        Ok(load)
    } else {
        Err(format!(
            "{} is not there: `cargo build -p tests --bins` builds it",
            load.display()
        )
        .into())
    }
}

/// Where reports go: beside the folder of the profile.
fn target(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let target = program
        .ancestors()
        .nth(2)
        .ok_or("this program is in no folder")?;
    Ok(target.join("proof").join(name))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// One cell, on a stand that is its own if it has to be.
async fn run(cell: Cell, stand: &mut Stand, load: &Path, seed: u64) -> Run {
    if cell.fault == Fault::Volatile {
        cell.run(&mut Stand::volatile(), load, seed).await
    } else {
        cell.run(stand, load, seed).await
    }
}

fn soak(minutes: u64) -> Outcome {
    let load = load()?;
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let report = Arc::new(Mutex::new((Report::default(), Vec::<Run>::new())));
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let left_out = |driver: &Driver| is_skipped(driver.name());
    for driver in Driver::ALL.iter().filter(|driver| left_out(driver)) {
        println!("{} is left out, as VERROU_TEST_SKIP says", driver.name());
    }
    let drivers = Driver::ALL.into_iter().filter(|driver| !left_out(driver));
    let drivers = drivers.map(|driver| {
        let (load, report, turns) = (load.clone(), Arc::clone(&report), Arc::clone(&turns));
        std::thread::spawn(move || soak_driver(driver, &load, end, &report, &turns))
    });
    let mut well = true;
    // All of them at work before the first one is waited for.
    for driver in drivers.collect::<Vec<_>>() {
        let ended = driver.join().map_err(|_| "a run has failed; see above")?;
        well &= ended.is_ok();
        ended?;
    }
    let (report, examples) = &*report.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = target("soak")?;
    report.write(&folder, &format!("{minutes} minutes of faults"), examples)?;
    println!("{}", report.table());
    for violation in report.violations() {
        println!("{violation}");
    }
    println!("see {}", folder.join("report.md").display());
    Ok(well && report.violations().is_empty())
}

fn soak_driver(
    driver: Driver,
    load: &Path,
    end: Instant,
    report: &Mutex<(Report, Vec<Run>)>,
    turns: &Semaphore,
) -> std::io::Result<()> {
    runtime()?.block_on(async {
        let mut stand = Stand::start(driver).await;
        loop {
            for cell in Cell::all(driver) {
                let Ok(_turn) = turns.acquire().await else {
                    return;
                };
                if Instant::now() > end {
                    return;
                }
                let run = run(cell, &mut stand, load, fastrand::u64(..)).await;
                println!("{cell} {:#x}: {} grants", run.seed, run.figures.grants);
                let (report, examples) =
                    &mut *report.lock().unwrap_or_else(PoisonError::into_inner);
                report.add(&run);
                // On a server where there is one.
                let known = examples.iter().any(|known| known.cell.fault == cell.fault);
                if !known && (driver == Driver::Redis || driver == Driver::Postgres) {
                    examples.push(run);
                }
            }
        }
    });
    Ok(())
}

fn replay(cell: &str, seed: &str) -> Outcome {
    let cell = Cell::named(cell).ok_or_else(|| format!("there is no cell `{cell}`"))?;
    let digits = seed.strip_prefix("0x").unwrap_or(seed);
    let seed = u64::from_str_radix(digits, 16)?;
    let load = load()?;
    let run = runtime()?.block_on(async {
        let mut stand = Stand::start(cell.driver).await;
        run(cell, &mut stand, &load, seed).await
    });
    for violation in &run.violations {
        println!("{BROKEN}{}: {}", violation.check, violation.seen);
    }
    let mut report = Report::default();
    report.add(&run);
    let folder = target("replay")?;
    report.write(&folder, &format!("{cell} with seed {seed:#x}"), &[run])?;
    println!(
        "{}see {}",
        report.table(),
        folder.join("report.md").display()
    );
    Ok(report.violations().is_empty())
}

fn sabotage(names: &[&str]) -> Outcome {
    if !cfg!(verrou_sabotage) {
        return Err(
            "this is no build with --cfg verrou_sabotage; `./test.sh sabotage` makes one".into(),
        );
    }
    if let Some(unknown) = names
        .iter()
        .find(|name| BUGS.iter().all(|bug| bug.name != **name))
    {
        let known: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
        return Err(format!(
            "there is no bug `{unknown}`; there are {}",
            known.join(", ")
        )
        .into());
    }
    let mut page =
        String::from("| bug | what it does | found by | where | run |\n|---|---|---|---|--:|\n");
    let mut well = true;
    for bug in BUGS
        .iter()
        .filter(|bug| names.is_empty() || names.contains(&bug.name))
    {
        let line = match look_for(bug)? {
            Some((checks, cell, tries)) => {
                format!(
                    "| {} | {} | {checks} | {cell} | {tries} |",
                    bug.name, bug.what
                )
            }
            None => {
                well = false;
                format!("| {} | {} | **not found** | | |", bug.name, bug.what)
            }
        };
        println!("{line}");
        page.push_str(&line);
        page.push('\n');
    }
    // Without a bug the same build finds nothing.
    for cell in [
        "redis/calm",
        "redis/pause-holder",
        "redis/replies-held-back",
    ] {
        let found = broken(cell, None)?;
        well &= found.is_empty();
        let line = format!("| none | | {} | {cell} | 1 |", found.join(", "));
        println!("{line}");
        page.push_str(&line);
        page.push('\n');
    }
    let folder = target("sabotage")?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("report.md"), page)?;
    println!("see {}", folder.join("report.md").display());
    Ok(well)
}

/// The checks that have found a bug, where, and in which run.
type Found = (String, Cell, u32);

/// Looks for `bug` in the cells that concern it.
fn look_for(bug: &Bug) -> Result<Option<Found>, Box<dyn Error>> {
    for &(driver, fault) in bug.cells {
        let cell = Cell { driver, fault };
        for tries in 1..=TRIES {
            let checks = broken(&cell.to_string(), Some(bug.name))?;
            if !checks.is_empty() {
                return Ok(Some((checks.join(", "), cell, tries)));
            }
        }
    }
    Ok(None)
}

/// What the checks find in one run of `cell`, in a process of its own in which the bug is loose, as it is in its load.
fn broken(cell: &str, bug: Option<&str>) -> Result<Vec<String>, Box<dyn Error>> {
    let seed = format!("{:#x}", fastrand::u64(..));
    let mut replay = std::process::Command::new(std::env::current_exe()?);
    replay.args(["replay", cell, &seed]).env_remove(VARIABLE);
    if let Some(bug) = bug {
        replay.env(VARIABLE, bug);
    }
    let output = replay.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let found = said.lines().filter_map(|line| line.strip_prefix(BROKEN));
    let mut checks: Vec<String> = found
        .filter_map(|found| Some(found.split_once(':')?.0.to_owned()))
        .collect();
    checks.sort_unstable();
    checks.dedup();
    if checks.is_empty() && !output.status.success() {
        return Err(format!("{cell} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(checks)
}

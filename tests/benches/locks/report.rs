//! The report: targets and ratios first, times last.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::charts;
use crate::contender::Role;
use crate::figures::{Figures, Series, Spread, ratio, title};
use crate::options::{Options, Workload};
use crate::targets::{Side, Verdict};
use tests::Driver;

/// The folder of it.
pub(crate) fn folder() -> PathBuf {
    // `target/tmp` is what cargo tells a bench of the folder `target`.
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("bench")
}

/// Where and when it was.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Circumstances {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) commit: String,
    /// What else the machine had to do in the last minute, before the first figure.
    pub(crate) load_before: String,
}

impl Circumstances {
    pub(crate) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(String::new, |(_, name)| name.trim().to_owned());
        let load = read("/proc/loadavg");
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            processor,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            commit: commit(),
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

fn commit() -> String {
    let mut git = std::process::Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=10"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = git.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// Writes `report.md` and its charts.
///
/// # Errors
/// What the system or the drawing says.
pub(crate) fn write(
    options: &Options,
    circumstances: &Circumstances,
    figures: &Figures,
    verdicts: &[Verdict],
) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let mut page = String::new();
    head(&mut page, options, circumstances)?;
    targets(&mut page, verdicts)?;
    for workload in Workload::ALL {
        let of_workload: Vec<&Series> = figures
            .0
            .iter()
            .filter(|series| series.workload == workload)
            .collect();
        if of_workload.is_empty() {
            continue;
        }
        let (name, words) = (workload.name().to_uppercase(), workload.words());
        writeln!(page, "\n## {name}: {words}\n")?;
        let main = of_workload.iter().copied();
        let main: Vec<&Series> = main
            .filter(|series| series.measure == workload.main_measure())
            .collect();
        ratios(&mut page, &main)?;
        for file in charts::draw(&folder, workload, &of_workload)? {
            writeln!(page, "![{name}]({file})\n")?;
        }
        times(&mut page, &of_workload)?;
    }
    let path = folder.join("report.md");
    std::fs::write(&path, page)?;
    Ok(path)
}

fn head(page: &mut String, options: &Options, circumstances: &Circumstances) -> std::fmt::Result {
    let Circumstances {
        date,
        processor,
        cores,
        kernel,
        commit,
        load_before,
    } = circumstances;
    writeln!(page, "# What a lock costs\n")?;
    writeln!(
        page,
        "{date}, commit {commit}; {cores} cores ({processor}), Linux {kernel}; load before the first figure: {load_before}.\n\
         Servers on the loopback, fresh, with the durability of an untuned installation. Each figure is the median of {} \
         interleaved rounds, with the least and the most of them.\n",
        options.rounds()
    )?;
    writeln!(
        page,
        "**Read the ratios, not the times**: both sides of a ratio come from the same rounds. On a machine that has other things to \
         do, a run says that the bench works, and little more.\n"
    )?;
    if options.quick {
        writeln!(
            page,
            "This was a `--quick` run: short rounds, and in W5 3 000 locks with a ttl of 6 s, which renew as often as 10 000 with the \
             default of 20 s.\n"
        )?;
    }
    writeln!(page, "Repeat it: `cargo bench -p tests`.\n")
}

fn targets(page: &mut String, verdicts: &[Verdict]) -> std::fmt::Result {
    let missed = verdicts.iter().filter(|verdict| !verdict.met).count();
    writeln!(page, "## Targets: {missed} of {} missed\n", verdicts.len())?;
    writeln!(
        page,
        "| | driver | | target | ours | has to be | ours / reference |\n|---|---|---|---|--:|--:|--:|"
    )?;
    for verdict in verdicts {
        let target = verdict.target;
        let sign = if verdict.met { "🟢" } else { "🔴" };
        let side = match target.side {
            Side::AtMost => "<=",
            Side::AtLeast => ">=",
        };
        writeln!(
            page,
            "| {sign} | {} | {} | {} | {} | {side} {} | {} |",
            title(target.driver),
            target.workload.name().to_uppercase(),
            target.words,
            with_unit(verdict.measured.median, target.measure.1),
            with_unit(verdict.bound, target.measure.1),
            verdict.ratio.map_or_else(String::new, spread),
        )?;
    }
    Ok(())
}

/// Ours by each floor, each peer by ours.
fn ratios(page: &mut String, of_workload: &[&Series]) -> std::fmt::Result {
    let mut lines = String::new();
    for ours in of_workload {
        if ours.role != Role::Ours {
            continue;
        }
        let beside = of_workload.iter().filter(|other| {
            other.driver == ours.driver && matches!(other.role, Role::Floor | Role::Peer)
        });
        for other in beside {
            match other.role {
                Role::Floor => line(&mut lines, ("ours", ours), (&other.contender, other))?,
                _ => line(&mut lines, (&other.contender, other), ("ours", ours))?,
            }
        }
    }
    // A peer in another language is best compared with what its own client needs.
    for peer in of_workload {
        let language = peer.contender.split(": ").next();
        let floor = of_workload.iter().find(|other| {
            other.role == Role::OtherFloor && other.contender.split(": ").next() == language
        });
        if let (Role::Peer, Some(floor)) = (peer.role, floor) {
            line(
                &mut lines,
                (&peer.contender, peer),
                (&floor.contender, floor),
            )?;
        }
    }
    if !lines.is_empty() {
        writeln!(
            page,
            "| driver | measure | ratio | |\n|---|---|---|--:|\n{lines}"
        )?;
    }
    Ok(())
}

fn line(lines: &mut String, above: (&str, &Series), below: (&str, &Series)) -> std::fmt::Result {
    let Some(value) = ratio(above.1, below.1) else {
        return Ok(());
    };
    writeln!(
        lines,
        "| {} | {} | {} / {} | {} |",
        title(above.1.driver),
        above.1.measure,
        above.0,
        below.0,
        spread(value)
    )
}

fn times(page: &mut String, of_workload: &[&Series]) -> std::fmt::Result {
    writeln!(
        page,
        "| driver | | measure | median | least | most | rounds |\n|---|---|---|--:|--:|--:|--:|"
    )?;
    for driver in Driver::ALL {
        for series in of_workload.iter().filter(|series| series.driver == driver) {
            let Some(spread) = Spread::of(&series.rounds) else {
                continue;
            };
            writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} | {} |",
                title(driver),
                series.contender,
                series.measure,
                with_unit(spread.median, series.unit),
                number(spread.least),
                number(spread.most),
                series.rounds.len()
            )?;
        }
    }
    Ok(())
}

/// `1.02 (0.98 to 1.10)`.
fn spread(spread: Spread) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!(
        "**{}** ({} to {})",
        number(median),
        number(least),
        number(most)
    )
}

fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value)).trim_end().to_owned()
}

/// Three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

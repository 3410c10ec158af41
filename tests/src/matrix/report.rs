//! What many runs have shown, as a page to read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::cell::{Cell, Run};
use super::fault::Fault;
use super::stand::Driver;
use crate::history::check::MS;
use crate::history::{Nanos, picture};

/// Adds up runs of every cell.
#[derive(Clone, Debug, Default)]
pub struct Report {
    cells: BTreeMap<Cell, Sum>,
    violations: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Sum {
    runs: u64,
    strikes: u64,
    grants: u64,
    contended: u64,
    failed: u64,
    cancelled: u64,
    lost: u64,
    stale_writes: u64,
    overlaps: usize,
    falling: usize,
    stuck: usize,
    late: usize,
    other: usize,
    longest_gap: Nanos,
    longest_wait: Nanos,
    longest_stall: Nanos,
}

impl Sum {
    fn of(run: &Run) -> Self {
        let count = |checks: &[&str]| {
            let broken = run.violations.iter();
            broken
                .filter(|violation| checks.contains(&violation.check))
                .count()
        };
        let figures = &run.figures;
        let (overlaps, falling) = (count(&["exclusion"]), count(&["tokens"]));
        let (stuck, late) = (count(&["keys come back"]), count(&["waits end"]));
        Self {
            runs: 1,
            strikes: run.circumstances.windows.len() as u64,
            grants: figures.grants,
            contended: figures.contended,
            failed: figures.failed,
            cancelled: figures.cancelled,
            lost: figures.lost,
            stale_writes: figures.stale_writes,
            overlaps,
            falling,
            stuck,
            late,
            other: run.violations.len() - overlaps - falling - stuck - late,
            longest_gap: figures.longest_gap,
            longest_wait: figures.longest_wait,
            longest_stall: figures.longest_stall,
        }
    }

    fn include(&mut self, other: &Self) {
        self.runs += other.runs;
        self.strikes += other.strikes;
        self.grants += other.grants;
        self.contended += other.contended;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
        self.stale_writes += other.stale_writes;
        self.overlaps += other.overlaps;
        self.falling += other.falling;
        self.stuck += other.stuck;
        self.late += other.late;
        self.other += other.other;
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.longest_stall = self.longest_stall.max(other.longest_stall);
    }
}

impl Report {
    /// Adds `run`.
    pub fn add(&mut self, run: &Run) {
        self.cells
            .entry(run.cell)
            .or_default()
            .include(&Sum::of(run));
        for violation in &run.violations {
            self.violations.push(format!(
                "{} with seed {:#x}: {}: {}",
                run.cell, run.seed, violation.check, violation.seen
            ));
        }
    }

    /// What was broken.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Whatever all runs of `driver` together have not tried out: a matrix in which nothing happens proves nothing.
    #[must_use]
    pub fn untried(&self, driver: Driver) -> Vec<String> {
        let of_driver = || self.cells.iter().filter(|(cell, _)| cell.driver == driver);
        let mut untried = Vec::new();
        for (cell, sum) in of_driver() {
            if sum.grants < 20 * sum.runs || sum.contended < 5 * sum.runs {
                untried.push(format!(
                    "{cell}: only {} guards, {} of them waited for",
                    sum.grants, sum.contended
                ));
            }
            let struck = !matches!(cell.fault, Fault::Calm | Fault::Skew);
            if struck && sum.strikes < 2 * sum.runs {
                untried.push(format!("{cell}: only {} strikes", sum.strikes));
            }
        }
        let total = |of: fn(&Sum) -> u64| of_driver().map(|(_, sum)| of(sum)).sum::<u64>();
        for (what, count) in [
            ("a loss", total(|sum| sum.lost)),
            ("a cancelled acquire", total(|sum| sum.cancelled)),
        ] {
            if count == 0 {
                untried.push(format!("{}: not {what}", driver.name()));
            }
        }
        if driver != Driver::Memory && total(|sum| sum.failed) == 0 {
            untried.push(format!("{}: not an error of the store", driver.name()));
        }
        untried
    }

    /// The table of all cells, in Markdown.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| driver | fault | runs | strikes | grants | waited for | store errors | cancelled | losses told | stale writes stopped \
             | overlaps | falling tokens | keys stuck | waits too long | other | longest unavailability | longest wait |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        let mut total = Sum::default();
        for (cell, sum) in &self.cells {
            line(&mut table, cell.driver.name(), cell.fault.name(), sum);
            total.include(sum);
        }
        line(&mut table, "all", "", &total);
        table
    }

    /// The longest time for which the machine itself stood still, by no fault of the matrix.
    #[must_use]
    pub fn longest_stall(&self) -> Nanos {
        let stalls = self.cells.values().map(|sum| sum.longest_stall);
        stalls.max().unwrap_or(0)
    }

    /// Writes the page and the pictures of `examples`, one run of each kind of fault, to `folder`.
    ///
    /// # Errors
    /// What the system or the drawing says.
    pub fn write(
        &self,
        folder: &Path,
        title: &str,
        examples: &[Run],
    ) -> Result<(), Box<dyn std::error::Error>> {
        std::fs::create_dir_all(folder)?;
        let mut page = format!("# {title}\n\n{}\n", self.table());
        let stall = self.longest_stall() / MS;
        writeln!(
            page,
            "The machine itself stood still for {stall} ms at the longest.\n"
        )?;
        writeln!(page, "# What was broken\n")?;
        if self.violations.is_empty() {
            writeln!(page, "Nothing.")?;
        }
        for violation in &self.violations {
            writeln!(page, "- {violation}")?;
        }
        writeln!(page, "\n# One run of each fault\n")?;
        for run in examples {
            let name = format!("{}-{}.svg", run.cell.fault.name(), run.cell.driver.name());
            let title = format!("{}, the key `hot`, seed {:#x}", run.cell, run.seed);
            picture::draw(
                &folder.join(&name),
                &title,
                &run.attempts,
                &run.circumstances,
            )?;
            writeln!(page, "![{title}]({name})\n")?;
        }
        std::fs::write(folder.join("report.md"), page)?;
        Ok(())
    }
}

fn line(table: &mut String, driver: &str, fault: &str, sum: &Sum) {
    let (gap, wait) = (sum.longest_gap / MS, sum.longest_wait / MS);
    let Sum {
        runs,
        strikes,
        grants,
        contended,
        failed,
        cancelled,
        lost,
        stale_writes,
        overlaps,
        falling,
        stuck,
        late,
        other,
        ..
    } = sum;
    // Writing into a String cannot fail.
    let _ = writeln!(
        table,
        "| {driver} | {fault} | {runs} | {strikes} | {grants} | {contended} | {failed} | {cancelled} | {lost} | {stale_writes} \
         | {overlaps} | {falling} | {stuck} | {late} | {other} | {gap} ms | {wait} ms |"
    );
}

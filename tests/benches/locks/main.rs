//! What a lock costs on each driver, beside what it cannot be faster than, and beside others that do the job.
//!
//! `cargo bench -p tests -- --help` says what it takes. CONTRIBUTING.md says how to read it.

#![cfg(target_os = "linux")]
#![allow(clippy::exit, reason = "a program")]

mod arena;
mod attribute;
mod bench;
mod charts;
mod contender;
mod counted;
mod elsewhere;
mod field;
mod figures;
mod floors;
mod hand_over;
mod heap;
mod held;
mod lanes;
mod many_keys;
mod must;
mod one_key;
mod one_task;
mod options;
mod ours;
mod peers;
mod pinned;
mod progress;
mod report;
mod targets;

use std::process::ExitCode;

use crate::bench::Bench;
use crate::figures::{Figures, title};
use crate::options::Options;
use crate::report::Circumstances;
use crate::targets::{Verdict, verdicts};

fn main() -> ExitCode {
    if elsewhere::was_ordered() {
        return ExitCode::SUCCESS;
    }
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => return refuse(&text),
    };
    let circumstances = Circumstances::now();
    let mut bench = Bench::new(options.clone());
    bench.run();
    let verdicts = verdicts(&bench.figures);
    match report::write(&options, &circumstances, &bench.figures, &verdicts) {
        Ok(path) => bench.progress.say(&format!("report: {}\n", path.display())),
        Err(error) => return refuse(&format!("no report: {error}")),
    }
    if options.json {
        elsewhere::say(&json(&circumstances, &bench.figures, &verdicts));
    }
    let missed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.met).collect();
    for verdict in &missed {
        bench.progress.say(&missed_line(verdict));
    }
    if options.check && !missed.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn missed_line(verdict: &Verdict) -> String {
    let target = verdict.target;
    format!(
        "missed: {} {}, {}: {} {}, has to be {}",
        title(target.driver),
        target.workload.name(),
        target.words,
        report::number(verdict.measured.median),
        target.measure.1,
        report::number(verdict.bound)
    )
}

/// Everything, for machines.
fn json(circumstances: &Circumstances, figures: &Figures, verdicts: &[Verdict]) -> String {
    let targets: Vec<_> = verdicts
        .iter()
        .map(|verdict| {
            serde_json::json!({
                "driver": title(verdict.target.driver),
                "workload": verdict.target.workload,
                "words": verdict.target.words,
                "measured": verdict.measured.median,
                "bound": verdict.bound,
                "met": verdict.met,
            })
        })
        .collect();
    let all = serde_json::json!({ "circumstances": circumstances, "figures": figures, "targets": targets });
    all.to_string()
}

#[allow(clippy::print_stderr, reason = "a program")]
fn refuse(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(2)
}

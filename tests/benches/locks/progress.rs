//! One line that says how far it is, on stderr.

#![allow(clippy::print_stderr, reason = "that is what it is for")]

use std::io::IsTerminal as _;
use std::time::Instant;

/// The line.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    steps: usize,
    step: usize,
    what: String,
    /// Elsewhere each step has a line of its own.
    in_place: bool,
}

impl Progress {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            begun: Instant::now(),
            steps,
            step: 0,
            what: String::new(),
            in_place: std::io::stderr().is_terminal(),
        }
    }

    /// The next step begins.
    pub(crate) fn step(&mut self, what: &str) {
        self.step += 1;
        what.clone_into(&mut self.what);
        self.say(what);
    }

    /// A round of it begins.
    pub(crate) fn round(&self, round: usize, of: usize) {
        if self.in_place {
            self.say(&format!("{}, round {} of {of}", self.what, round + 1));
        }
    }

    pub(crate) fn say(&self, text: &str) {
        let seconds = self.begun.elapsed().as_secs();
        let line = format!("[{}/{}, {seconds} s] {text}", self.step, self.steps);
        if self.in_place {
            eprint!("\r\x1b[2K{line}");
        } else {
            eprintln!("{line}");
        }
    }

    pub(crate) fn left_out(&self, what: &str) {
        self.say(&format!("SKIPPED: {what}"));
        if self.in_place {
            eprintln!();
        }
    }

    pub(crate) fn done(&self) {
        self.say("done");
        if self.in_place {
            eprintln!();
        }
    }
}

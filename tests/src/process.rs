//! A worker process: started, listened to, paused, killed.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{DEADLINE, soon};

/// A process of `worker.rs`. Killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts the program at `worker` with `arguments`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(worker: &str, arguments: &[&str]) -> Self {
        let command = Command::new(worker)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = command.unwrap_or_else(|error| panic!("cannot start {worker}: {error}"));
        let Some(stdout) = child.stdout.take() else {
            panic!("no output of {worker}")
        };
        Self {
            input: child.stdin.take(),
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// The next line that begins with `word`, without it; others are passed over.
    ///
    /// # Panics
    /// If the process ends, or says nothing of the kind within the deadline.
    pub async fn says(&mut self, word: &str) -> String {
        loop {
            let Some(line) = self.line().await else {
                panic!("the process ended before it said `{word}`")
            };
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Panics
    /// If nothing comes within the deadline.
    pub async fn line(&mut self) -> Option<String> {
        soon("a line of a process", self.lines.next_line())
            .await
            .unwrap_or_default()
    }

    /// The number of the process, as `inspect` shows it of a holder.
    ///
    /// # Panics
    /// If it is gone.
    #[must_use]
    pub fn pid(&self) -> u32 {
        match self.child.id() {
            Some(pid) => pid,
            None => panic!("the process is gone"),
        }
    }

    /// Ends its input: a worker that only waits for that ends in order.
    pub fn ends_input(&mut self) {
        self.input = None;
    }

    /// Sends `signal` to it, as `kill -SIGNAL`.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok();
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else {
            panic!("the process has no number")
        };
        if let Err(error) = rustix::process::kill_process(pid, signal) {
            panic!("cannot signal the process: {error}");
        }
    }

    /// Waits for its end, and whether it went well.
    ///
    /// # Panics
    /// If it does not end in twice the deadline: the work of several processes takes longer than one condition.
    pub async fn ends_well(&mut self) -> bool {
        match tokio::time::timeout(2 * DEADLINE, self.child.wait()).await {
            Ok(status) => status.is_ok_and(|status| status.success()),
            Err(_) => panic!("the process does not end"),
        }
    }
}

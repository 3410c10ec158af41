//! The processes of the load: started, paused, killed, and told to end.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::order::{Order, VARIABLE, idle};
use crate::DEADLINE;

/// One process; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) process: u32,
    child: Child,
}

impl Worker {
    /// Starts `program` with `order`; with `skew`, a library to load before all others and the hours by which it moves
    /// the wall clock.
    pub(super) fn start(program: &Path, order: &Order, skew: Option<(&str, i64)>) -> Self {
        let mut command = Command::new(program);
        let text = serde_json::to_string(order).unwrap_or_default();
        command.env(VARIABLE, text).stdin(Stdio::piped());
        if let Some((library, hours)) = skew {
            command.env("LD_PRELOAD", library);
            command.env("SKEW", (hours * 3600).to_string());
        }
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        Self {
            process: order.process,
            child,
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended.
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Tells it to end.
    pub(super) fn stop(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it says that it has nothing left to do; whether it does.
    pub(super) async fn idle(&mut self, folder: &Path) -> bool {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            if idle(folder, self.process).exists() {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.kill();
        false
    }

    /// Waits until it has ended; whether it went well.
    pub(super) async fn ended(&mut self) -> bool {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(_) => return false,
            }
        }
        self.kill();
        false
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

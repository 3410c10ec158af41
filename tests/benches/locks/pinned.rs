//! Client and server on one core: with two, the wake-up of the other one is most of what is measured.

use std::path::Path;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// While it lives, this process and the server are on one core.
#[derive(Debug)]
pub(crate) struct Pinned {
    server: Option<Pid>,
    before: CpuSet,
}

impl Pinned {
    pub(crate) fn with(server: Option<Pid>) -> Self {
        let before = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let mut one = CpuSet::new();
        // The last one: the first has the interrupts.
        let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| before.is_set(*cpu));
        one.set(last.unwrap_or(0));
        let pinned = Self { server, before };
        pinned.put(&one);
        pinned
    }

    fn put(&self, cores: &CpuSet) {
        place(Path::new("/proc/self"), cores);
        if let Some(server) = self.server {
            place(&Path::new("/proc").join(server.to_string()), cores);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.put(&self.before);
    }
}

/// Every thread of the process, and of its children; what they start later goes where they are.
fn place(process: &Path, cores: &CpuSet) {
    let threads = std::fs::read_dir(process.join("task"));
    for thread in threads.into_iter().flatten().flatten() {
        let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
        // It may have ended.
        let _ = sched_setaffinity(id.and_then(Pid::from_raw), cores);
        // Our own children are other servers.
        if process.ends_with("self") {
            continue;
        }
        let children = std::fs::read_to_string(thread.path().join("children"));
        for child in children.unwrap_or_default().split_whitespace() {
            place(&Path::new("/proc").join(child), cores);
        }
    }
}

//! Clients whose clocks are wrong by an hour, on a store of any server. The shim is one of Linux.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{Folder, Process, wall_micros};

/// Moves the wall clock of a process by the seconds that `SKEW` says; the time since boot stays.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <sys/time.h>
static long skew(void) { const char *s = getenv("SKEW"); return s ? atol(s) : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += skew();
    return r;
}
int gettimeofday(struct timeval *t, void *z) {
    struct timespec s;
    int r = clock_gettime(CLOCK_REALTIME, &s);
    t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000;
    return r;
}
time_t time(time_t *t) {
    struct timespec s;
    clock_gettime(CLOCK_REALTIME, &s);
    if (t) *t = s.tv_sec;
    return s.tv_sec;
}
"#;

/// Builds the shim in `folder`: a library to be loaded before all others, which reads `SKEW`, in seconds.
///
/// # Panics
/// If it does not compile.
#[must_use]
pub fn library(folder: &Folder) -> String {
    let (source, library) = (folder.file("shim.c"), folder.file("shim.so"));
    must(std::fs::write(&source, SHIM), "write the shim");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"]);
    assert!(
        must(compiler.status(), "run cc").success(),
        "the shim compiles"
    );
    library
}

/// A way to start workers whose clocks are wrong.
struct Skewed<'a> {
    preload: String,
    worker: &'a str,
}

impl<'a> Skewed<'a> {
    fn new(folder: &Folder, worker: &'a str) -> Self {
        Self {
            preload: format!("LD_PRELOAD={}", library(folder)),
            worker,
        }
    }

    fn start(&self, hours: i64, arguments: &[&str]) -> Process {
        let skew = format!("SKEW={}", hours * 3600);
        let mut all = vec![self.preload.as_str(), &skew, self.worker];
        all.extend(arguments);
        Process::start("env", &all)
    }
}

/// Fails unless clients an hour fast and an hour slow on the store at `url` exclude each other. `worker` is the program
/// of `worker.rs`.
///
/// # Panics
/// If they do not.
pub async fn exclude_each_other(worker: &str, url: &str) {
    let folder = Folder::new();
    let skewed = Skewed::new(&folder, worker);
    must(std::fs::write(folder.file("number"), "0"), "write");
    must(std::fs::write(folder.file("tokens"), ""), "write");
    let path = folder.path().display().to_string();
    let arguments = ["count", url, &path, "2", "100"];
    let mut workers: Vec<_> = [1, -1]
        .iter()
        .map(|hours| skewed.start(*hours, &arguments))
        .collect();
    for worker in &mut workers {
        assert!(worker.ends_well().await, "a worker failed");
    }
    let number = must(std::fs::read_to_string(folder.file("number")), "read");
    assert_eq!(number, "400");
    let tokens = must(std::fs::read_to_string(folder.file("tokens")), "read");
    let tokens: Vec<u64> = tokens.lines().map(parsed).collect();
    assert_eq!(tokens.len(), 400);
    assert!(
        tokens.is_sorted_by(|one, next| one < next),
        "tokens in file order must rise strictly"
    );
}

/// Fails unless a killed client whose clock is an hour fast or slow is taken over at its expiry, by one whose clock is
/// wrong the other way.
///
/// # Panics
/// If it is not.
pub async fn take_over_at_expiry(worker: &str, url: &str) {
    let folder = Folder::new();
    let skewed = Skewed::new(&folder, worker);
    for (holder, waiter) in [(1, -1), (-1, 1)] {
        let key = format!("skewed {holder}");
        let mut dying = skewed.start(holder, &["hold", url, &key, "1000"]);
        let dead = parsed(&dying.says("held").await);
        let mut next = skewed.start(waiter, &["wait", url, &key, "1000"]);
        next.says("waiting").await;
        dying.signal(Signal::KILL);
        assert!(!dying.ends_well().await, "it was killed");
        let killed = Instant::now();
        let said = next.says("held").await;
        let late = killed.elapsed();
        let (token, at) = said.split_once(' ').unwrap_or((&said, ""));
        let (token, at) = (parsed(token), parsed(at));
        assert!(
            at.abs_diff(wall_micros()) > 3_000_000_000,
            "its clock is wrong by an hour"
        );
        assert!(token > dead, "{token} after {dead}");
        assert!(late < Duration::from_secs(2), "free only after {late:?}");
        assert!(next.ends_well().await, "the next one failed");
    }
}

fn parsed(number: &str) -> u64 {
    match number.parse() {
        Ok(number) => number,
        Err(error) => panic!("`{number}`: {error}"),
    }
}

fn must<T>(result: std::io::Result<T>, what: &str) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("cannot {what}: {error}"),
    }
}

//! Clients whose clocks are an hour fast and an hour slow. The shim is one of Linux.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::servers::postgres::PostgresServer;
use tests::{Folder, Process, wall_micros};
use verrou::LockFactory;
use verrou::drivers::PostgresStore;

use crate::shown;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

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

/// A way to start workers whose clocks are wrong.
struct Skewed {
    preload: String,
}

impl Skewed {
    fn new(folder: &Folder) -> Self {
        let (source, library) = (folder.file("shim.c"), folder.file("shim.so"));
        std::fs::write(&source, SHIM).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"]);
        assert!(compiler.status().unwrap().success(), "the shim compiles");
        Self {
            preload: format!("LD_PRELOAD={library}"),
        }
    }

    fn start(&self, hours: i64, arguments: &[&str]) -> Process {
        let skew = format!("SKEW={}", hours * 3600);
        let mut all = vec![self.preload.as_str(), &skew, WORKER];
        all.extend(arguments);
        Process::start("env", &all)
    }
}

#[tokio::test]
async fn clients_an_hour_fast_and_slow_exclude_each_other() {
    let folder = Folder::new();
    let skewed = Skewed::new(&folder);
    std::fs::write(folder.file("number"), "0").unwrap();
    std::fs::write(folder.file("tokens"), "").unwrap();
    let (url, path) = (
        PostgresServer::shared().url(),
        folder.path().display().to_string(),
    );
    let url = format!("{url}?options[search_path]=public");
    let arguments = ["count", &url, &path, "2", "100"];
    let mut workers: Vec<_> = [1, -1]
        .iter()
        .map(|hours| skewed.start(*hours, &arguments))
        .collect();
    for worker in &mut workers {
        assert!(worker.ends_well().await);
    }
    assert_eq!(
        std::fs::read_to_string(folder.file("number")).unwrap(),
        "400"
    );
    let tokens = std::fs::read_to_string(folder.file("tokens")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert!(
        tokens.is_sorted_by(|one, next| one < next),
        "tokens in file order must rise strictly"
    );
}

#[tokio::test]
async fn a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry() {
    let folder = Folder::new();
    let skewed = Skewed::new(&folder);
    let url = PostgresServer::shared().url();
    let locks = LockFactory::new(shown(PostgresStore::connect(&url).await));
    for (holder, waiter) in [(1, -1), (-1, 1)] {
        let key = format!("skewed {holder}");
        let mut dying = skewed.start(holder, &["hold", &url, &key, "1000"]);
        let dead: u64 = dying.says("held").await.parse().unwrap();
        let mut next = skewed.start(waiter, &["wait", &url, &key, "1000"]);
        next.says("waiting").await;
        dying.signal(Signal::KILL);
        assert!(!dying.ends_well().await);
        let killed = Instant::now();
        let said = next.says("held").await;
        let (token, at) = said.split_once(' ').unwrap();
        let (token, at): (u64, u64) = (token.parse().unwrap(), at.parse().unwrap());
        assert!(
            at.abs_diff(wall_micros()) > 3_000_000_000,
            "its clock is wrong by an hour"
        );
        assert!(token > dead, "{token} after {dead}");
        let late = killed.elapsed();
        assert!(late < Duration::from_secs(2), "free only after {late:?}");
        assert!(next.ends_well().await);
        assert!(!shown(locks.create_lock(&key).is_locked().await));
    }
}

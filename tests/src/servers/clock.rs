//! A clock for a server, which a test steps while the server runs. The shim is one of Linux.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::Folder;

/// Moves the wall clock of a process by the microseconds that stand in the file `CLOCK_STEP`, as they stand there at that
/// moment; the time since boot stays.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile int64_t *step;
__attribute__((constructor)) static void open_step(void) {
    const char *path = getenv("CLOCK_STEP");
    int file = path ? open(path, O_RDONLY) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) abort();
    step = map;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (step && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        int64_t nanos = t->tv_nsec + *step % 1000000 * 1000;
        t->tv_sec += *step / 1000000;
        if (nanos < 0) { nanos += 1000000000; t->tv_sec--; }
        if (nanos >= 1000000000) { nanos -= 1000000000; t->tv_sec++; }
        t->tv_nsec = nanos;
    }
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

/// The wall clock of the servers that are started under it.
#[derive(Debug)]
pub struct ServerClock {
    folder: Folder,
    library: String,
    file: String,
}

impl ServerClock {
    /// One that is right.
    ///
    /// # Panics
    /// If there is no C compiler.
    #[must_use]
    pub fn new() -> Self {
        let folder = Folder::new();
        let (source, library) = (folder.file("shim.c"), folder.file("shim.so"));
        if let Err(error) = std::fs::write(&source, SHIM) {
            panic!("cannot write {source}: {error}");
        }
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"]);
        let compiled = compiler.status();
        assert!(
            compiled.is_ok_and(|status| status.success()),
            "the shim compiles"
        );
        let clock = Self {
            file: folder.file("step"),
            folder,
            library,
        };
        clock.set(0);
        clock
    }

    /// Sets it forward by this, in all.
    pub fn forward(&self, by: Duration) {
        self.set(micros(by));
    }

    /// Sets it back by this, in all.
    pub fn back(&self, by: Duration) {
        self.set(-micros(by));
    }

    /// The environment of a server under it, as `env` takes it.
    #[must_use]
    pub fn environment(&self) -> Vec<String> {
        vec![
            format!("LD_PRELOAD={}", self.library),
            format!("CLOCK_STEP={}", self.file),
        ]
    }

    /// In place, for the server has the file mapped.
    fn set(&self, micros: i64) {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false);
        let written = file
            .open(&self.file)
            .and_then(|mut file| file.write_all(&micros.to_ne_bytes()));
        if let Err(error) = written {
            panic!("cannot step a clock in {:?}: {error}", self.folder);
        }
    }
}

impl Default for ServerClock {
    fn default() -> Self {
        Self::new()
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

//! The six ways in which a process ends that holds locks: in two seconds, without a panic.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tests::{DEADLINE, Driver, Site, soon};
use verrou::Verrou;

/// The promise, and what a busy machine may add to it.
const BOUND: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(500);

super::each!(a_process_that_ends_takes_two_seconds_at_most_and_does_not_panic:
    memory = Memory, sqlite = Sqlite, redis = Redis, postgres = Postgres, mariadb = MySql);

async fn a_process_that_ends_takes_two_seconds_at_most_and_does_not_panic(driver: Driver) {
    let Some(mut site) = Site::start(driver).await else {
        return;
    };
    let elsewhere = site.verrou().await;
    let free_at_once = async |name: &str| {
        if driver != Driver::Memory {
            for key in keys(name) {
                let guard = elsewhere.create_lock(&key).try_acquire().await.unwrap();
                assert!(guard.is_some(), "`{key}` is still held");
            }
        }
    };

    // Awaited; from a thread without a runtime, after the one that the locks were taken on is gone; and by SIGTERM.
    for way in ["shutdown", "thread", "signal"] {
        let mut leaver = Leaver::start(way, &site).await;
        let begun = leaver.go();
        assert_eq!(leaver.says().await, "left 0 well");
        leaver.ended(begun).await;
        free_at_once(way).await;
    }

    // The runtime is dropped, and the guards in its tasks with it: the process lives on, and the keeper releases.
    let mut leaver = Leaver::start("runtime", &site).await;
    let begun = leaver.go();
    let said = leaver.says().await;
    assert!(said.starts_with("left"), "{said}");
    let dropped = begun.elapsed();
    assert!(dropped < BOUND + SLACK, "the drop took {dropped:?}");
    if driver == Driver::Memory {
        assert_eq!(said, "left 0 well");
    } else {
        all_free_by(&elsewhere, "runtime", begun + BOUND + SLACK).await;
    }
    let begun = leaver.go();
    leaver.ended(begun).await;

    // The end of the process is no release.
    let leaver = Leaver::start("exit", &site).await;
    let begun = leaver.go();
    leaver.ended(begun).await;
    if driver != Driver::Memory {
        for key in keys("exit") {
            let held = elsewhere.create_lock(&key).is_locked().await.unwrap();
            assert!(held, "`{key}` was released by nobody");
        }
    }

    // A store that does not answer is no reason to stay.
    if driver != Driver::Memory {
        let mut leaver = Leaver::start("shutdown", &site).await;
        site.freeze().await;
        let begun = leaver.go();
        let said = leaver.says().await;
        assert!(said.contains("could not release"), "{said}");
        leaver.ended(begun).await;
        site.thaw().await;
    }
}

fn keys(name: &str) -> [String; 3] {
    ["guard", "body", "outside"].map(|key| format!("{name}-{key}"))
}

async fn all_free_by(elsewhere: &Verrou, name: &str, limit: Instant) {
    for key in keys(name) {
        while elsewhere.create_lock(&key).is_locked().await.unwrap() {
            assert!(Instant::now() < limit, "`{key}` is still held");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A process of `leaver.rs`.
struct Leaver {
    what: String,
    child: Child,
    input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
}

impl Leaver {
    async fn start(way: &str, site: &Site) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leaver"));
        command.args([way, &site.url(), way]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut leaver = Self {
            what: format!(
                "{way} on {}",
                site.url().split(':').next().unwrap_or_default()
            ),
            input: child.stdin.take().unwrap(),
            output: child.stdout.take().map(BufReader::new),
            child,
        };
        assert_eq!(leaver.says().await, "ready", "{}", leaver.what);
        leaver
    }

    /// Tells it to end.
    fn go(&self) -> Instant {
        let begun = Instant::now();
        if self.what.starts_with("signal") {
            let pid = i32::try_from(self.child.id()).unwrap();
            kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
        } else {
            (&self.input).write_all(b"go\n").unwrap();
        }
        begun
    }

    /// Its next line.
    async fn says(&mut self) -> String {
        let mut output = self.output.take().unwrap();
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            (line.trim().to_owned(), output)
        });
        let (line, output) = soon("a line of a process", line).await.unwrap();
        self.output = Some(output);
        line
    }

    /// It ends in time after `begun`, well, and says nothing on its error output.
    async fn ended(mut self, begun: Instant) {
        let ended = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < DEADLINE, "{} does not end", self.what);
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let took = begun.elapsed();
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut errors).unwrap();
        println!("{}: {took:?}", self.what);
        assert!(ended.success(), "{}: {ended}, {errors}", self.what);
        assert_eq!(errors, "", "{}", self.what);
        assert!(took < BOUND + SLACK, "{} took {took:?}", self.what);
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

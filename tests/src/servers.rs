//! Private servers on free ports of the loopback, with data of their own, that never outlive the test process.

#[cfg(target_os = "linux")]
pub mod clock;
pub mod mariadb;
pub mod postgres;
pub mod redis;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Runs the server in the background, says its pid, and kills it when the pipe from the test process is closed: by a
/// panic, a kill, or the end.
const SUPERVISOR: &str = r#"
log=$1; shift
"$@" </dev/null >>"$log" 2>&1 &
pid=$!
echo "$pid"
cat >/dev/null
kill -KILL "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
"#;

/// A program that serves until it is dropped, or until this process ends in whatever way.
#[derive(Debug)]
pub struct Supervised {
    pid: Pid,
    /// Closing it ends the server.
    _leash: ChildStdin,
    supervisor: Child,
}

impl Supervised {
    /// Starts `program` with `arguments`, its output in `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(program: &str, arguments: &[&str], log: &Path) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(log)
            .arg(program)
            .args(arguments);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut supervisor =
            spawned.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let (Some(leash), Some(stdout)) = (supervisor.stdin.take(), supervisor.stdout.take())
        else {
            panic!("no pipes to {program}");
        };
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let pid = read
            .ok()
            .and_then(|_| Pid::from_raw(line.trim().parse().ok()?));
        let Some(pid) = pid else {
            panic!("{program} has no pid: `{line}`")
        };
        Self {
            pid,
            _leash: leash,
            supervisor,
        }
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal: `STOP` freezes it, `CONT` lets it go on, `KILL` is the end.
    pub fn signal(&self, signal: Signal) {
        // It may be gone already.
        let _ = kill_process(self.pid, signal);
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // A frozen process dies of a KILL as well; the supervisor ends with it once its pipe is closed, which the fields
        // do after this.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// A port that was free a moment ago.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let bound =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    match bound {
        Ok(address) => address.port(),
        Err(error) => panic!("no free port: {error}"),
    }
}

/// The URL that the environment gives for tests of `server`, as `VERROU_TEST_REDIS_URL`.
#[must_use]
pub fn given_url(server: &str) -> Option<String> {
    std::env::var(format!("VERROU_TEST_{}_URL", server.to_uppercase()))
        .ok()
        .filter(|url| !url.is_empty())
}

/// Whether `VERROU_TEST_SKIP`, a list with commas, names `server`.
#[must_use]
pub fn is_skipped(server: &str) -> bool {
    std::env::var("VERROU_TEST_SKIP")
        .is_ok_and(|list| list.split(',').any(|name| name.trim() == server))
}

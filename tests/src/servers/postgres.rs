//! Private Postgres servers, and pgbouncer in front of one.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Supervised, free_port, given_url, is_skipped};
use crate::{DEADLINE, wall_micros};

/// The password of every role, with all that means something in a URL.
pub const PASSWORD: &str = "p@s:s/w%r?d#&='\" s3cret";

/// How the password stands in a URL.
pub const PASSWORD_IN_URL: &str = "p%40s%3As%2Fw%25r%3Fd%23%26%3D%27%22%20s3cret";

/// A server of its own, with the superuser `postgres` and the database `postgres`.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    /// As `env` takes it.
    environment: Vec<String>,
    port: u16,
    options: Vec<String>,
    process: Mutex<Option<Supervised>>,
}

/// The URL of the server that the tests of a binary share: the one that the environment names, or a private one.
///
/// Ends the process, and says so, if the tests of Postgres are to be skipped.
///
/// # Panics
/// If there is no Postgres, or it does not start.
#[must_use]
pub fn shared_url() -> String {
    given_url("postgres").unwrap_or_else(|| {
        skip_if_asked();
        PostgresServer::shared().url()
    })
}

/// Ends the process, successfully and loudly, if `VERROU_TEST_SKIP` names Postgres.
pub fn skip_if_asked() {
    if is_skipped("postgres") {
        // Past the capture of the test harness.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the tests of postgres, as VERROU_TEST_SKIP says"
        );
        std::process::exit(0);
    }
}

impl PostgresServer {
    /// The one that all tests of this process share. They must not stop it.
    ///
    /// # Panics
    /// If there is no Postgres, or it does not start.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        skip_if_asked();
        SHARED.get_or_init(Self::start)
    }

    /// Makes a data directory and starts a server on it.
    ///
    /// # Panics
    /// If there is no Postgres, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::under(Vec::new())
    }

    /// The same, with this environment.
    ///
    /// # Panics
    /// If there is no Postgres, or it does not start.
    #[must_use]
    pub fn under(environment: Vec<String>) -> Self {
        Self::made(environment, &[])
    }

    /// The same with these settings, as `fsync=on`: one that survives power cuts, which the tests have none of.
    ///
    /// # Panics
    /// If there is no Postgres, or it does not start.
    #[must_use]
    pub fn with(settings: &[&str]) -> Self {
        Self::made(Vec::new(), settings)
    }

    fn made(environment: Vec<String>, settings: &[&str]) -> Self {
        skip_if_asked();
        let folder = folder();
        let (data, password) = (folder.join("data"), folder.join("password"));
        must(std::fs::write(&password, PASSWORD), "write the password");
        own(&password);
        let mut initdb = as_server(&program("initdb"));
        initdb
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8"]);
        initdb
            .args(["--locale=C", "--no-sync", "--no-instructions"])
            .arg("--pwfile")
            .arg(&password);
        let made = must(initdb.output(), "run initdb");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let server = Self {
            folder,
            environment,
            port: free_port(),
            options: settings
                .iter()
                .flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()])
                .collect(),
            process: Mutex::new(None),
        };
        server.run();
        server
    }

    fn process(&self) -> MutexGuard<'_, Option<Supervised>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts it, also after a [`kill`](Self::kill), and waits until it answers.
    ///
    /// # Panics
    /// If it does not answer within the deadline.
    pub fn run(&self) {
        // What a killed one has left behind would be taken for its successor's.
        let _ = std::fs::remove_file(self.folder.join("data/postmaster.pid"));
        let (data, port) = (
            self.folder.join("data").display().to_string(),
            self.port.to_string(),
        );
        let postgres = program("postgres").display().to_string();
        let mut arguments: Vec<_> = self.environment.iter().map(String::as_str).collect();
        arguments.extend([
            &*postgres,
            "-D",
            &data,
            "-p",
            &port,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=200",
            "-c",
            "shared_buffers=32MB",
            "-c",
            "dynamic_shared_memory_type=mmap",
            "-c",
            "fsync=off",
            "-c",
            "log_line_prefix=%a|",
        ]);
        // The last word on a setting counts.
        arguments.extend(self.options.iter().map(String::as_str));
        let log = self.log();
        *self.process() = Some(start_as_server(Path::new("env"), &arguments, &log));
        let started = Instant::now();
        // A connection that is refused by its password is one to a server that is up.
        while !self.answers() {
            assert!(
                started.elapsed() < DEADLINE,
                "postgres does not start: see {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self) -> bool {
        let mut ready = Command::new(program("pg_isready"));
        ready.args([
            "-q",
            "-t",
            "2",
            "-h",
            "127.0.0.1",
            "-p",
            &self.port.to_string(),
        ]);
        ready.status().is_ok_and(|status| status.success())
    }

    /// The file of its log, each line with the application's name in front.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its first process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<rustix::process::Pid> {
        self.process().as_ref().map(Supervised::pid)
    }

    /// The URL of the superuser.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres", "postgres")
    }

    /// The URL of another role or database.
    #[must_use]
    pub fn url_of(&self, role: &str, database: &str) -> String {
        url(role, self.port, database)
    }

    /// Stops it in order, and starts it as a standby that follows nobody.
    ///
    /// # Panics
    /// If it does not stop or start within the deadline.
    pub fn become_standby(&self) {
        let started = Instant::now();
        if let Some(process) = &*self.process() {
            process.signal(Signal::INT);
        }
        while self.folder.join("data/postmaster.pid").exists() {
            assert!(started.elapsed() < DEADLINE, "postgres does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
        must(
            std::fs::write(self.folder.join("data/standby.signal"), ""),
            "mark a standby",
        );
        own(&self.folder.join("data/standby.signal"));
        self.run();
    }

    /// Freezes it (`STOP`) or lets it go on (`CONT`), with all its sessions.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.process() {
            for session in children(process.pid()) {
                let _ = rustix::process::kill_process(session, signal);
            }
            process.signal(signal);
        }
    }

    /// Kills it and all its sessions.
    pub fn kill(&self) {
        let process = self.process().take();
        if let Some(process) = &process {
            // It starts no more sessions while they are counted.
            process.signal(Signal::STOP);
            let sessions = children(process.pid());
            process.signal(Signal::KILL);
            for session in &sessions {
                let _ = rustix::process::kill_process(*session, Signal::KILL);
            }
            // A successor refuses to start while one of them has the shared memory.
            let started = Instant::now();
            while sessions.iter().any(|session| is_alive(*session)) && started.elapsed() < DEADLINE
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// pgbouncer in transaction mode in front of a server, with few server connections.
#[derive(Debug)]
pub struct PgBouncer {
    folder: PathBuf,
    port: u16,
    _process: Supervised,
}

impl PgBouncer {
    /// The one in front of the shared server that all tests of this process share; it knows the `roles`.
    ///
    /// # Panics
    /// If there is no pgbouncer, or it does not start.
    #[must_use]
    pub fn start(server: &PostgresServer, roles: &[&str]) -> Self {
        let folder = folder();
        let port = free_port();
        let (ini, users) = (folder.join("pgbouncer.ini"), folder.join("users"));
        let quoted = PASSWORD.replace('"', "\"\"");
        let list: String = roles
            .iter()
            .map(|role| format!("\"{role}\" \"{quoted}\"\n"))
            .collect();
        must(std::fs::write(&users, list), "write the users of pgbouncer");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 5\nmax_client_conn = 500\n",
            server.port,
            users.display()
        );
        must(
            std::fs::write(&ini, settings),
            "write the settings of pgbouncer",
        );
        own(&ini);
        own(&users);
        let program = [
            "/usr/sbin/pgbouncer",
            "/usr/bin/pgbouncer",
            "/opt/homebrew/bin/pgbouncer",
        ];
        let program = program
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("pgbouncer");
        let log = folder.join("log");
        let process = start_as_server(Path::new(program), &[&ini.display().to_string()], &log);
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                started.elapsed() < DEADLINE,
                "pgbouncer does not start: see {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            folder,
            port,
            _process: process,
        }
    }

    /// The URL of a role and database through it.
    #[must_use]
    pub fn url_of(&self, role: &str, database: &str) -> String {
        url(role, self.port, database)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn url(role: &str, port: u16, database: &str) -> String {
    format!("postgres://{role}:{PASSWORD_IN_URL}@127.0.0.1:{port}/{database}")
}

/// A folder that the server may write to. Those of processes that are gone are removed: a static is never dropped.
fn folder() -> PathBuf {
    static SWEPT: OnceLock<()> = OnceLock::new();
    let parent = std::env::temp_dir();
    SWEPT.get_or_init(|| sweep(&parent));
    let folder = parent.join(format!(
        "verrou-pg-{}-{}",
        std::process::id(),
        wall_micros()
    ));
    must(std::fs::create_dir(&folder), "make a folder");
    own(&folder);
    folder
}

fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            name.strip_prefix("verrou-pg-")?
                .split('-')
                .next()?
                .parse::<i32>()
                .ok()
        });
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        if pid.is_some_and(|pid| {
            rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
        }) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Postgres refuses to run as root.
fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// The user that a server runs as when we are root.
fn server_user() -> &'static str {
    static USER: OnceLock<&'static str> = OnceLock::new();
    USER.get_or_init(|| {
        let known = Command::new("id").arg("postgres").output();
        if known.is_ok_and(|known| known.status.success()) {
            "postgres"
        } else {
            "nobody"
        }
    })
}

fn own(path: &Path) {
    if is_root() {
        let status = Command::new("chown").arg(server_user()).arg(path).status();
        assert!(
            must(status, "run chown").success(),
            "cannot give {} away",
            path.display()
        );
    }
}

fn dropping_root() -> Vec<String> {
    let user = server_user();
    let group = Command::new("id").args(["-gn", user]).output();
    let group = group.map(|group| String::from_utf8_lossy(&group.stdout).trim().to_owned());
    let group = group.unwrap_or_else(|_| user.to_owned());
    vec![
        format!("--reuid={user}"),
        format!("--regid={group}"),
        "--clear-groups".to_owned(),
    ]
}

fn as_server(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(dropping_root()).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn start_as_server(program: &Path, arguments: &[&str], log: &Path) -> Supervised {
    let program = program.display().to_string();
    if !is_root() {
        return Supervised::start(&program, arguments, log);
    }
    let mut all = dropping_root();
    all.push(program);
    all.extend(arguments.iter().map(ToString::to_string));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    Supervised::start("setpriv", &all, log)
}

/// A program of Postgres: Debian keeps them off the path.
fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        versions.sort_by_key(|version| {
            version
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
        });
        let folder = versions.last().map(|version| version.path().join("bin"));
        folder.filter(|folder| folder.join("initdb").exists())
    });
    match folder {
        Some(folder) => folder.join(name),
        None => PathBuf::from(name),
    }
}

fn children(parent: rustix::process::Pid) -> Vec<rustix::process::Pid> {
    let list = Command::new("pgrep")
        .arg("-P")
        .arg(parent.as_raw_nonzero().to_string())
        .output();
    let list = list
        .map(|list| String::from_utf8_lossy(&list.stdout).into_owned())
        .unwrap_or_default();
    list.lines()
        .filter_map(|pid| rustix::process::Pid::from_raw(pid.trim().parse().ok()?))
        .collect()
}

/// Whether it has not ended yet; one that nobody has waited for has.
fn is_alive(process: rustix::process::Pid) -> bool {
    let stat = format!("/proc/{}/stat", process.as_raw_nonzero());
    let ended = std::fs::read_to_string(stat).is_ok_and(|stat| stat.contains(") Z "));
    rustix::process::test_kill_process(process).is_ok() && !ended
}

fn must<T>(result: std::io::Result<T>, what: &str) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!(
            "cannot {what}: {error}; install postgresql and pgbouncer, or set VERROU_TEST_SKIP=postgres"
        ),
    }
}

//! Redis servers of the tests: one alone, a primary with a replica and a sentinel, a cluster of three.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use redis::{Client, FromRedisValue, RedisResult, Value};
use rustix::process::Signal;

use super::{Supervised, free_port, given_url, is_skipped};
use crate::{DEADLINE, Folder};

/// A `redis-server` on a free port of the loopback. Nothing is saved unless the options say so.
#[derive(Debug)]
pub struct Server {
    process: Option<Supervised>,
    port: u16,
    options: Vec<String>,
    /// As `env` takes it.
    environment: Vec<String>,
    password: Option<String>,
    folder: Folder,
}

impl Server {
    /// Starts one that saves nothing.
    #[must_use]
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// Starts one with these options, and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn with(options: &[&str]) -> Self {
        let mut server = Self::described(options);
        server.restart();
        server
    }

    /// The same, with this environment.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn under(environment: Vec<String>, options: &[&str]) -> Self {
        let mut server = Self::described(options);
        server.environment = environment;
        server.restart();
        server
    }

    fn described(options: &[&str]) -> Self {
        skip_loudly();
        let password = options
            .iter()
            .position(|option| *option == "--requirepass")
            .and_then(|at| options.get(at + 1))
            .map(|password| (*password).to_owned());
        Self {
            process: None,
            port: free_port(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            environment: Vec::new(),
            password,
            folder: Folder::new(),
        }
    }

    /// Starts it again, on the same port and data, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn restart(&mut self) {
        self.process = None;
        let (port, folder) = (
            self.port.to_string(),
            self.folder.path().display().to_string(),
        );
        let mut arguments: Vec<_> = self.environment.iter().map(String::as_str).collect();
        arguments.extend(["redis-server", "--port", &port, "--bind", "127.0.0.1"]);
        arguments.extend(["--dir", &folder]);
        arguments.extend(self.options.iter().map(String::as_str));
        let log = self.folder.file("log");
        self.process = Some(Supervised::start("env", &arguments, Path::new(&log)));
        until("the server answers", || {
            self.try_ask::<String>(&["PING"]).is_ok()
        });
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it where it is; it answers nothing, and its connections stay.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<rustix::process::Pid> {
        self.process.as_ref().map(Supervised::pid)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The URL of a store on it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => {
                let escaped: String = password
                    .bytes()
                    .map(|byte| format!("%{byte:02X}"))
                    .collect();
                format!("redis://:{escaped}@127.0.0.1:{}/", self.port)
            }
            None => format!("redis://127.0.0.1:{}/", self.port),
        }
    }

    /// The answer to a command, over a connection of its own.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        ask(&self.url(), command)
    }

    fn try_ask<T: FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        try_ask(&self.url(), command)
    }

    /// Whether it says that it takes writes; a sentinel that gives it another part cuts its connections.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.try_ask::<String>(&["INFO", "replication"])
            .is_ok_and(|info| info.contains("role:master"))
    }

    /// A field of its INFO.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    pub fn info(&self, field: &str) -> String {
        let info: String = self.ask(&["INFO", "everything"]);
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        match found {
            Some(value) => value.to_owned(),
            None => panic!("no `{field}` in {info}"),
        }
    }
}

/// The answer of the server at `url`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn ask<T: FromRedisValue>(url: &str, command: &[&str]) -> T {
    match try_ask(url, command) {
        Ok(answer) => answer,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// The same, if there is one.
///
/// # Errors
/// What the server or the connection says.
pub fn try_ask<T: FromRedisValue>(url: &str, command: &[&str]) -> RedisResult<T> {
    let limit = Duration::from_secs(5);
    let mut connection = Client::open(url)?.get_connection_with_timeout(limit)?;
    connection.set_read_timeout(Some(limit))?;
    let (name, arguments) = command.split_first().unwrap_or((&"PING", &[]));
    redis::cmd(name).arg(arguments).query(&mut connection)
}

/// The URL of the server that the tests of this binary share: the given one, or one of ours.
#[must_use]
pub fn shared_url() -> String {
    static SHARED: OnceLock<Server> = OnceLock::new();
    skip_loudly();
    sweep();
    given_url("redis").unwrap_or_else(|| SHARED.get_or_init(Server::start).url())
}

/// Three primaries that share the slots.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts one, and waits until every node finds it whole.
    ///
    /// # Panics
    /// If it does not become whole.
    #[must_use]
    pub fn start() -> Self {
        let buses: Vec<String> = (0..3).map(|_| free_port().to_string()).collect();
        let start = |bus: &String| {
            let options = [
                "--save",
                "",
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                bus,
            ];
            Server::with(&options)
        };
        let nodes: Vec<Server> = buses.iter().map(start).collect();
        for (number, node) in nodes.iter().enumerate() {
            let (first, last) = (number * 16384 / 3, (number + 1) * 16384 / 3 - 1);
            let slots = [first.to_string(), last.to_string()];
            let () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &slots[0], &slots[1]]);
            let () = node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        }
        if let Some((first, others)) = nodes.split_first() {
            for (node, bus) in others.iter().zip(buses.iter().skip(1)) {
                let () = first.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
            }
        }
        let whole = |node: &Server| {
            let info: String = node.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        until("the cluster is whole", || nodes.iter().all(whole));
        Self { nodes }
    }

    /// The URL of each node.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }
}

/// The cluster that the tests of this binary share.
#[must_use]
pub fn shared_cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    sweep();
    SHARED.get_or_init(Cluster::start)
}

/// A primary, a replica, and a sentinel that makes the replica the primary.
#[derive(Debug)]
pub struct Watched {
    /// The first primary.
    pub primary: Server,
    /// Follows it.
    pub replica: Server,
    sentinel: Server,
}

impl Watched {
    /// Starts them, and waits until the sentinel knows both.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start() -> Self {
        let primary = Server::start();
        let port = primary.port.to_string();
        let replica = Server::with(&["--save", "", "--replicaof", &format!("127.0.0.1 {port}")]);
        until("the replica follows", || {
            replica.info("master_link_status") == "up"
        });
        let sentinel = Server::described(&[]);
        let file = sentinel.folder.file("sentinel.conf");
        let settings = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor locks 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds locks 300\nsentinel failover-timeout locks 2000\n",
            sentinel.port
        );
        if let Err(error) = std::fs::write(&file, settings) {
            panic!("cannot write {file}: {error}");
        }
        let mut sentinel = sentinel;
        let log = sentinel.folder.file("log");
        sentinel.process = Some(Supervised::start(
            "redis-sentinel",
            &[&file],
            Path::new(&log),
        ));
        let watched = Self {
            primary,
            replica,
            sentinel,
        };
        until("the sentinel knows the replica", || {
            let known: RedisResult<Vec<Value>> =
                watched.sentinel.try_ask(&["SENTINEL", "REPLICAS", "locks"]);
            known.is_ok_and(|known| known.len() == 1)
        });
        watched
    }

    /// Where the sentinel listens.
    #[must_use]
    pub fn sentinel_port(&self) -> u16 {
        self.sentinel.port
    }

    /// The URL of the sentinel.
    #[must_use]
    pub fn sentinel_url(&self) -> String {
        self.sentinel.url()
    }
}

/// Waits until `condition` is true.
///
/// # Panics
/// After the deadline.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes the folders of shared servers of test processes that are gone: what is shared is never dropped.
fn sweep() {
    static SWEPT: OnceLock<()> = OnceLock::new();
    SWEPT.get_or_init(|| {
        for entry in std::fs::read_dir(std::env::temp_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let pid = name
                .to_str()
                .and_then(|name| name.strip_prefix("verrou-test-")?.split('-').next());
            let Some(pid) = pid else { continue };
            if Path::new("/proc/self").exists() && !Path::new("/proc").join(pid).exists() {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    });
}

/// Ends the test process, and says so where the harness does not hide it, if `VERROU_TEST_SKIP` names redis.
fn skip_loudly() {
    if is_skipped("redis") {
        use std::io::Write as _;
        let _ = std::io::stderr()
            .write_all(b"\nSKIPPED: VERROU_TEST_SKIP names redis; nothing here was tested\n");
        std::process::exit(0);
    }
}

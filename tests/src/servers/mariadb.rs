//! A MariaDB server for tests.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::mysql::{MySqlConnection, MySqlPool, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{Supervised, free_port, given_url, is_skipped};
use crate::{DEADLINE, Folder, eventually};

/// The password of the tests' role. A test that finds a part of it where it must not be looks for [`CANARY`].
const PASSWORD: &str = "a@b:c/d%canary";

/// The password as a URL has it.
const PASSWORD_IN_URL: &str = "a%40b%3Ac%2Fd%25canary";

/// What no message may contain.
pub const CANARY: &str = "canary";

/// The server's time zone, that of central Europe: no result may depend on it.
const ZONE: &str = "TZ=CET-1CEST,M3.5.0,M10.5.0/3";

/// Removes the folder once the test process has ended and the server with it, also where nothing is dropped.
const SWEEPER: &str =
    r#"cat >/dev/null; while [ -e "$1" ]; do rm -rf "$1" 2>/dev/null || sleep 0.1; done"#;

/// A server, private or given by the environment.
#[derive(Debug)]
pub struct MariaDb {
    /// Up to the database.
    base: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    server: Option<Supervised>,
    arguments: Vec<String>,
    /// As `env` takes it.
    environment: Vec<String>,
    port: u16,
    folder: Folder,
    _sweeper: Child,
}

impl MariaDb {
    /// The server that `VERROU_TEST_MYSQL_URL` gives (a role that may do everything, and any database), else a private one.
    ///
    /// If `VERROU_TEST_SKIP` names `mysql`, this process says so and ends: there is nothing else in it.
    ///
    /// # Panics
    /// If there is no server.
    #[must_use]
    pub async fn for_tests() -> Self {
        exit_if_skipped();
        match given_url("mysql") {
            Some(url) => {
                let base = url.rsplit_once('/').map_or(&*url, |(base, _)| base);
                Self {
                    base: base.to_owned(),
                    private: None,
                }
            }
            None => Self::start(&[]).await,
        }
    }

    /// A private server with these options.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub async fn start(options: &[&str]) -> Self {
        Self::under(Vec::new(), options).await
    }

    /// The same, with this environment.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub async fn under(environment: Vec<String>, options: &[&str]) -> Self {
        exit_if_skipped();
        let folder = Folder::new();
        let data = folder.file("data");
        let as_root = rustix::process::geteuid().is_root();
        let mut arguments = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={data}"),
            // A server that starts removes the temporary tables of others from a folder that they share, and they crash.
            format!("--tmpdir={}", folder.path().display()),
        ];
        if as_root {
            // It runs as root only if it is told to.
            arguments.push("--user=root".to_owned());
        }
        let mut install = Command::new("mariadb-install-db");
        install
            .args(&arguments)
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        let installed = install.output();
        let installed =
            installed.unwrap_or_else(|error| panic!("cannot run mariadb-install-db: {error}"));
        assert!(installed.status.success(), "{installed:?}");
        let script = folder.file("start.sql");
        let text = format!(
            "CREATE USER IF NOT EXISTS 'verrou'@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO 'verrou'@'%' WITH GRANT OPTION;\n"
        );
        if let Err(error) = std::fs::write(&script, text) {
            panic!("cannot write {script}: {error}");
        }
        let port = free_port();
        arguments.extend([
            format!("--port={port}"),
            format!("--socket={}", folder.file("socket")),
            format!("--pid-file={}", folder.file("pid")),
            format!("--init-file={script}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--max-connections=400".to_owned(),
            "--innodb-buffer-pool-size=64M".to_owned(),
            "--innodb-log-file-size=16M".to_owned(),
            // Processes are killed here, machines are not.
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
        ]);
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        let sweeper = Command::new("sh")
            .args(["-c", SWEEPER, "sweeper"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .spawn();
        let sweeper = sweeper.unwrap_or_else(|error| panic!("cannot start sh: {error}"));
        let mut started = Self {
            base: format!("mysql://verrou:{PASSWORD_IN_URL}@127.0.0.1:{port}"),
            private: Some(Private {
                server: None,
                arguments,
                environment,
                port,
                folder,
                _sweeper: sweeper,
            }),
        };
        started.restart().await;
        started
    }

    fn private(&self) -> &Private {
        match &self.private {
            Some(private) => private,
            None => panic!("the server is a given one"),
        }
    }

    /// Stops every thread of it, and waits until they stand still.
    ///
    /// # Panics
    /// If it is a given one.
    pub async fn freeze(&self) {
        let Some(server) = &self.private().server else {
            return;
        };
        server.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", server.pid().as_raw_nonzero());
        // A signal is on its way for a moment. Without such files there is nothing to wait for.
        eventually("the server stands still", || {
            std::fs::read_dir(&tasks).map_or(true, |tasks| {
                tasks.flatten().all(|task| {
                    let stat = std::fs::read_to_string(task.path().join("stat"));
                    stat.map_or(true, |stat| stat.contains(") T "))
                })
            })
        })
        .await;
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it is a given one.
    pub fn thaw(&self) {
        if let Some(server) = &self.private().server {
            server.signal(Signal::CONT);
        }
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// If it is a given one.
    pub fn kill(&mut self) {
        match &mut self.private {
            Some(private) => private.server = None,
            None => panic!("the server is a given one"),
        }
    }

    /// Starts it again with the data that it had, and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub async fn restart(&mut self) {
        self.kill();
        let url = self.url("mysql");
        let Some(private) = &mut self.private else {
            return;
        };
        let log = private.folder.path().join("log");
        let mut arguments = vec![ZONE];
        arguments.extend(private.environment.iter().map(String::as_str));
        arguments.push("mariadbd");
        arguments.extend(private.arguments.iter().map(String::as_str));
        private.server = Some(Supervised::start("env", &arguments, &log));
        let started = Instant::now();
        while let Err(error) = MySqlConnection::connect(&url).await {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            assert!(
                started.elapsed() < DEADLINE,
                "mariadbd does not answer: {error}\n{said}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its port.
    ///
    /// # Panics
    /// If it is a given one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.private().port
    }

    /// Its process, if it is ours and runs.
    #[must_use]
    pub fn pid(&self) -> Option<rustix::process::Pid> {
        self.private.as_ref()?.server.as_ref().map(Supervised::pid)
    }

    /// The URL of a database that may not exist.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("{}/{database}", self.base)
    }

    /// The URL of a new database, created with `options`.
    ///
    /// # Panics
    /// If it cannot be created.
    pub async fn database(&self, options: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("verrou_{}_{number}", std::process::id());
        self.execute(&format!("CREATE DATABASE {name} {options}"))
            .await;
        self.url(&name)
    }

    /// Executes one statement as the tests' role.
    ///
    /// # Panics
    /// If the server refuses it.
    pub async fn execute(&self, statement: &str) {
        let pool = pool(&self.url("mysql"), 1).await;
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&pool)
            .await;
        if let Err(error) = done {
            panic!("cannot execute `{statement}`: {error}");
        }
        pool.close().await;
    }
}

/// A pool as an application has one.
///
/// # Panics
/// If the server does not answer.
pub async fn pool(url: &str, connections: u32) -> MySqlPool {
    let options = MySqlPoolOptions::new().max_connections(connections);
    // It would try a server that is gone for as long as this.
    match options
        .acquire_timeout(Duration::from_secs(10))
        .connect(url)
        .await
    {
        Ok(pool) => pool,
        Err(error) => panic!("cannot connect: {error}"),
    }
}

fn exit_if_skipped() {
    if is_skipped("mysql") {
        // Not by a macro, which the test harness would catch.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: every test of MySQL and MariaDB, as VERROU_TEST_SKIP says"
        );
        std::process::exit(0);
    }
}

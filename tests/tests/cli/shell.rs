//! A shell at a store.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::{Driver, Folder, Site, eventually, soon};
use tokio::process::{Child, Command};

const VERROU: &str = env!("CARGO_BIN_EXE_verrou-cli");

/// A store of one driver, a folder, and `VERROU_URL` in the environment.
pub(crate) struct Shell {
    pub(crate) site: Site,
    pub(crate) folder: Folder,
}

/// What a command has left.
#[derive(Debug)]
pub(crate) struct Done {
    /// `None`: ended by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Shell {
    /// `None` if the environment says that this driver is to be left out.
    pub(crate) async fn at(driver: Driver) -> Option<Self> {
        let site = Site::start(driver).await?;
        Some(Self {
            site,
            folder: Folder::new(),
        })
    }

    /// The same, and its table or file is made.
    pub(crate) async fn ready(driver: Driver) -> Option<Self> {
        let shell = Self::at(driver).await?;
        shell.says(&["run", "first", "--", "true"], 0).await;
        Some(shell)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(&self.site.url(), arguments)
    }

    /// Starts `verrou` with these arguments.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments))
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        self.start(arguments).ends().await
    }

    /// Runs it, to end with `code`; what it has printed.
    pub(crate) async fn says(&self, arguments: &[&str], code: i32) -> String {
        let done = self.run(arguments).await;
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
        done.out
    }

    /// The JSON that it prints.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(arguments, 0).await).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.file(name)
    }
}

/// `verrou` at the store of `url`.
pub(crate) fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(VERROU);
    command.args(arguments).env("VERROU_URL", url);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A `verrou` that was started.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id().unwrap().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    pub(crate) async fn ends(self) -> Done {
        let output = soon("the end of verrou", self.0.wait_with_output()).await;
        let output = output.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Done {
    /// What a person is told: one line.
    pub(crate) fn line(&self) -> &str {
        let line = self.err.trim_end();
        assert!(
            line.starts_with("verrou: ") && !line.contains('\n'),
            "not one line: {self:?}"
        );
        line
    }
}

/// What is in a file, once something is.
pub(crate) async fn written(path: &str) -> String {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    eventually("something is written", || read().ends_with('\n')).await;
    read().trim().to_owned()
}

/// Whether the process runs: neither gone nor a zombie that nobody has waited for.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

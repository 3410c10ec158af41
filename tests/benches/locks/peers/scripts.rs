//! Peers from npm and PyPI on Redis, where `node` and `python3` are there: a process each, which is told what to do.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tests::history::nanos;
use tests::soon;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::contender::{Alone, Boxed, Crowd, Role};
use crate::must::must;
use crate::report::folder;

/// The contenders of a script that could be installed; why not, otherwise.
pub(crate) async fn all(url: &str) -> Vec<Result<Vec<Arc<dyn Alone>>, String>> {
    let mut found = Vec::new();
    for program in [npm().await, pypi().await] {
        found.push(match program {
            Ok((program, script)) => Ok(contenders(&program, &script, url).await),
            Err(why) => Err(why),
        });
    }
    found
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/locks/peers")
}

async fn npm() -> Result<(PathBuf, PathBuf), String> {
    // A script finds its packages beside itself.
    let (from, to) = (sources().join("npm"), folder().join("npm"));
    std::fs::create_dir_all(&to).map_err(|error| error.to_string())?;
    for file in ["package.json", "locks.mjs"] {
        std::fs::copy(from.join(file), to.join(file)).map_err(|error| error.to_string())?;
    }
    let mut install = Command::new("npm");
    install
        .args(["install", "--no-audit", "--no-fund", "--silent"])
        .current_dir(&to);
    done("npm install", install).await?;
    Ok(("node".into(), to.join("locks.mjs")))
}

async fn pypi() -> Result<(PathBuf, PathBuf), String> {
    let (from, to) = (sources().join("pypi"), folder().join("pypi"));
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(&to);
    done("python3 -m venv", environment).await?;
    let mut install = Command::new(to.join("bin/pip"));
    install
        .args(["install", "--quiet", "-r"])
        .arg(from.join("requirements.txt"));
    done("pip install", install).await?;
    Ok((to.join("bin/python"), from.join("locks.py")))
}

async fn done(what: &str, mut command: Command) -> Result<(), String> {
    let output = command.output().await;
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{what}: {}", said.trim()))
}

async fn contenders(program: &Path, script: &Path, url: &str) -> Vec<Arc<dyn Alone>> {
    let mut running = Running::start(program, script, url);
    let names: Vec<String> = running.answer().await;
    let running = Arc::new(Mutex::new(running));
    let contender = |name: String| -> Arc<dyn Alone> {
        let role = if name.contains("PING") {
            Role::OtherFloor
        } else {
            Role::Peer
        };
        let running = Arc::clone(&running);
        Arc::new(Script {
            name,
            role,
            running,
        })
    };
    names.into_iter().map(contender).collect()
}

/// The process; killed when it is dropped.
struct Running {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(program: &Path, script: &Path, url: &str) -> Self {
        let started = Command::new(program)
            .arg(script)
            .env("VERROU_BENCH_URL", url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = must(started, "a script");
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("no pipes to a script")
        };
        Self {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        }
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> T {
        let line = soon("a line of a script", self.output.next_line()).await;
        let Some(line) = must(line, "a script") else {
            panic!("a script has ended: see what it said above")
        };
        must(serde_json::from_str(&line), "the answer of a script")
    }
}

struct Script {
    name: String,
    role: Role,
    running: Arc<Mutex<Running>>,
}

impl Script {
    async fn work<T: DeserializeOwned>(&self, work: &str, tasks: usize, time: Duration) -> T {
        let order = serde_json::json!({
            "contender": self.name,
            "work": work,
            "nanos": nanos(time),
            "tasks": tasks,
        });
        let mut running = self.running.lock().await;
        let line = format!("{order}\n");
        must(running.input.write_all(line.as_bytes()).await, "a script");
        running.answer().await
    }
}

impl Alone for Script {
    fn name(&self) -> &str {
        &self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    fn one_task(&self, time: Duration, _: u32) -> Boxed<'_, Vec<u64>> {
        Box::pin(self.work("one_task", 1, time))
    }

    fn many_keys(&self, tasks: usize, time: Duration) -> Boxed<'_, f64> {
        Box::pin(self.work("many_keys", tasks, time))
    }

    fn one_key(&self, tasks: usize, time: Duration) -> Boxed<'_, Crowd> {
        Box::pin(self.work("one_key", tasks, time))
    }
}

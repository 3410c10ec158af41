//! Other processes: this program again, with an order.

use std::io::BufRead as _;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tests::{Driver, soon};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::arena::two_threads;
use crate::contender::{Boxed, Waiter};
use crate::field::by_name;
use crate::held::hold_many;
use crate::must::must;

/// Where a process finds its [`Order`]: not an argument, for the URL has a password.
const VARIABLE: &str = "VERROU_BENCH_ORDER";

/// What another process has to do, each time that it is told to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Waits for the key, gives it back, and says when it had it.
    Wait,
    /// As many tasks on one key, for as many milliseconds.
    Crowd { tasks: usize, millis: u64 },
    /// As many locks, kept until the next word.
    Hold { locks: usize, ttl_ms: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    driver: String,
    url: String,
    lock: String,
    task: Task,
}

/// What this process was started for, if it is one of the others: does it, and says so.
pub(crate) fn was_ordered() -> bool {
    let Ok(order) = std::env::var(VARIABLE) else {
        return false;
    };
    let order: Order = must(serde_json::from_str(&order), "the order");
    two_threads().block_on(follow(order));
    true
}

async fn follow(order: Order) {
    let driver = Driver::ALL
        .into_iter()
        .find(|driver| driver.name() == order.driver);
    let Some(driver) = driver else {
        panic!("no driver {}", order.driver)
    };
    match order.task {
        Task::Hold { locks, ttl_ms } => {
            let ttl = Duration::from_millis(ttl_ms);
            hold_many(driver, &order.url, locks, ttl).await;
        }
        Task::Wait => {
            let lock = by_name(driver, &order.url, &order.lock).await;
            say("ready");
            while told().await {
                say(&lock.wait_once().await.to_string());
            }
        }
        Task::Crowd { tasks, millis } => {
            let lock = by_name(driver, &order.url, &order.lock).await;
            say("ready");
            while told().await {
                let crowd = lock.one_key(tasks, Duration::from_millis(millis)).await;
                say(&must(serde_json::to_string(&crowd), "what a crowd came to"));
            }
        }
    }
}

/// A line to the one who ordered.
#[allow(clippy::print_stdout, reason = "it is read by a program")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Waits for the next word; `false` if there will be none.
pub(crate) async fn told() -> bool {
    let read =
        tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()));
    matches!(read.await, Ok(Ok(1..)))
}

/// A process with an order; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Other {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// Starts one, and waits for its first line.
    pub(crate) async fn start(driver: Driver, url: &str, lock: &str, task: Task) -> Self {
        let order = Order {
            driver: driver.name().to_owned(),
            url: url.to_owned(),
            lock: lock.to_owned(),
            task,
        };
        let program = must(std::env::current_exe(), "this program");
        let started = Command::new(program)
            .env(VARIABLE, must(serde_json::to_string(&order), "an order"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = must(started, "another process");
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("no pipes to another process")
        };
        Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        }
    }

    pub(crate) async fn tell(&mut self) {
        must(self.input.write_all(b"go\n").await, "another process");
    }

    /// Its next line.
    pub(crate) async fn line(&mut self) -> String {
        let line = soon("a line of another process", self.output.next_line()).await;
        match must(line, "another process") {
            Some(line) => line,
            None => panic!("another process has ended: see what it said above"),
        }
    }

    /// The time that it has spent on a processor, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        let pid = self.child.id().unwrap_or(0);
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let tasks = tasks.into_iter().flatten().flatten();
        let used = tasks.filter_map(|task| {
            let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        used.sum()
    }
}

impl Waiter for Other {
    fn go(&mut self) -> Boxed<'_, ()> {
        Box::pin(self.tell())
    }

    fn granted(&mut self) -> Boxed<'_, u64> {
        Box::pin(async { must(self.line().await.parse(), "the moment of a grant") })
    }

    fn cpu(&self) -> u64 {
        Self::cpu(self)
    }
}

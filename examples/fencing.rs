//! What a lock cannot do, and the token does: refuse the write of a holder that was paused for longer than its lease.
//!
//! ```text
//! cargo run -p examples --example fencing
//! ```
//!
//! A worker process takes a lock, asks whether it still has it, and is stopped by a real SIGSTOP before it writes. Its lease
//! ends, another holder writes, and then the worker goes on. Exit code 0 if its guarded write was rejected, 1 if not, 2 if the
//! example could not run. It needs `kill`, as every Unix has it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to its reader"
)]

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use verrou::drivers::SqliteStore;
use verrou::{FencingToken, LockFactory};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const TTL: Duration = Duration::from_secs(1);
/// Tells the worker in which folder the two files are.
const FOLDER: &str = "VERROU_FENCING_FOLDER";

/// What a program writes that trusts its last check.
const UNGUARDED: &str = "UPDATE report SET text = ?2 WHERE id = ?1";
/// What it should write: the row refuses who is not the newest.
const GUARDED: &str = "UPDATE report SET text = ?2, fence = ?3 WHERE id = ?1 AND fence <= ?3";

#[tokio::main]
async fn main() -> ExitCode {
    let done = match std::env::var_os(FOLDER) {
        Some(folder) => worker(Path::new(&folder)).await.map(|()| true),
        None => in_a_folder().await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the example could not run: {error}");
            ExitCode::from(2)
        }
    }
}

async fn in_a_folder() -> Result<bool, AnyError> {
    let folder = std::env::temp_dir().join(format!("verrou-fencing-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let told = story(&folder).await;
    let _ = std::fs::remove_dir_all(&folder);
    told
}

/// The newer holder, who also holds the older one still.
async fn story(folder: &Path) -> Result<bool, AnyError> {
    let reports = Reports::open(folder).await?;
    reports.create().await?;
    println!("Two rows, `plain` and `guarded`, may be written by whoever holds the lock `report`.");
    println!("The guarded one has a column `fence`: the greatest token that has written it.\n");

    let mut paused = Worker::start(folder)?;
    let token = paused.says("held").await?;
    println!(
        "1. Process {} takes the lock, with the token {token}.",
        paused.pid
    );
    println!("   It asks `guard.is_held()`: yes. So it is about to write.");

    paused.signal("-STOP").await?;
    let stopped = Instant::now();
    println!("2. It is paused just then, by `kill -STOP {}`.", paused.pid);
    // What it was waiting for between its check and its write is there, but it does not run.
    paused.go_on_with("old").await?;

    let guard = locks(folder)
        .await?
        .create_lock("report")
        .ttl(TTL)
        .acquire()
        .await?;
    let waited = stopped.elapsed().as_secs_f64();
    println!(
        "3. Its lease of {TTL:?} ends. After {waited:.1} s we take the lock, with the token {}.",
        guard.token()
    );
    reports.write_unguarded(Reports::PLAIN, "new").await?;
    let accepted = reports
        .write(Reports::GUARDED, "new", guard.token())
        .await?;
    println!("   We write `new` to both rows: {}.", said(accepted));

    paused.signal("-CONT").await?;
    println!(
        "4. The process goes on, by `kill -CONT`. It does not know that it was away, and writes `old` to both rows."
    );
    let accepted = paused.says("guarded").await? == "true";
    println!(
        "   {UNGUARDED}\n      no fence: accepted. Its row says `{}` now: what we wrote is lost.",
        reports.read(Reports::PLAIN).await?
    );
    println!(
        "   {GUARDED}\n      {}. Its row says `{}`.",
        said(accepted),
        reports.read(Reports::GUARDED).await?
    );
    println!("5. It asks again: {}.", paused.says("now").await?);
    paused.ends_well().await?;
    guard.check()?;

    let saved = !accepted
        && reports.read(Reports::PLAIN).await? == "old"
        && reports.read(Reports::GUARDED).await? == "new";
    println!("\nThe lock could not help between its question and its write. The token did.");
    guard.release().await?;
    Ok(saved)
}

fn said(accepted: bool) -> &'static str {
    if accepted {
        "accepted"
    } else {
        "rejected, no row was changed"
    }
}

/// The older holder, a process of its own.
async fn worker(folder: &Path) -> Result<(), AnyError> {
    let reports = Reports::open(folder).await?;
    let guard = locks(folder)
        .await?
        .create_lock("report")
        .ttl(TTL)
        .acquire()
        .await?;
    guard.check()?;
    println!("held {}", guard.token());
    // The gap that no program can close: here it waits for what it is to write.
    let text = BufReader::new(tokio::io::stdin())
        .lines()
        .next_line()
        .await?;
    let text = text.ok_or("no text")?;
    reports.write_unguarded(Reports::PLAIN, &text).await?;
    let accepted = reports
        .write(Reports::GUARDED, &text, guard.token())
        .await?;
    println!("guarded {accepted}");
    match guard.check() {
        Ok(()) => println!("now it is still held"),
        Err(error) => println!("now {error}"),
    }
    Ok(())
}

async fn locks(folder: &Path) -> Result<LockFactory, AnyError> {
    let url = format!("sqlite:{}", folder.join("locks.db").display());
    Ok(LockFactory::new(SqliteStore::connect(&url).await?))
}

/// The rows that the lock is for, in a file of their own.
struct Reports(SqlitePool);

impl Reports {
    const PLAIN: i64 = 1;
    const GUARDED: i64 = 2;

    async fn open(folder: &Path) -> Result<Self, AnyError> {
        let options = SqliteConnectOptions::new()
            .filename(folder.join("reports.db"))
            .create_if_missing(true);
        Ok(Self(SqlitePool::connect_with(options).await?))
    }

    async fn create(&self) -> Result<(), AnyError> {
        let create = "CREATE TABLE report (id INTEGER PRIMARY KEY, text TEXT NOT NULL, fence INTEGER NOT NULL DEFAULT 0)";
        sqlx::query(create).execute(&self.0).await?;
        for id in [Self::PLAIN, Self::GUARDED] {
            let insert = "INSERT INTO report (id, text) VALUES (?, '')";
            sqlx::query(insert).bind(id).execute(&self.0).await?;
        }
        Ok(())
    }

    async fn write_unguarded(&self, id: i64, text: &str) -> Result<(), AnyError> {
        sqlx::query(UNGUARDED)
            .bind(id)
            .bind(text)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Whether it was accepted. If not, a newer holder has been there, and this one has to stop.
    async fn write(&self, id: i64, text: &str, token: FencingToken) -> Result<bool, AnyError> {
        let write = sqlx::query(GUARDED)
            .bind(id)
            .bind(text)
            .bind(token.as_i64());
        Ok(write.execute(&self.0).await?.rows_affected() == 1)
    }

    async fn read(&self, id: i64) -> Result<String, AnyError> {
        let select = sqlx::query_scalar("SELECT text FROM report WHERE id = ?");
        Ok(select.bind(id).fetch_one(&self.0).await?)
    }
}

/// This program once more, as the older holder.
struct Worker {
    child: Child,
    pid: u32,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(folder: &Path) -> Result<Self, AnyError> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("the worker has ended")?;
        let stdout = child.stdout.take().ok_or("the worker has no output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self { child, pid, lines })
    }

    /// The rest of its next line, which begins with `word`.
    async fn says(&mut self, word: &str) -> Result<String, AnyError> {
        let line = self
            .lines
            .next_line()
            .await?
            .ok_or("the worker has ended")?;
        let rest = line.strip_prefix(word).ok_or("the worker failed")?;
        Ok(rest.trim().to_owned())
    }

    async fn go_on_with(&mut self, text: &str) -> Result<(), AnyError> {
        let stdin = self.child.stdin.as_mut().ok_or("the worker has no input")?;
        stdin.write_all(format!("{text}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    async fn signal(&self, signal: &str) -> Result<(), AnyError> {
        let pid = self.pid.to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await?;
        match sent.success() {
            true => Ok(()),
            false => Err(format!("kill {signal} failed").into()),
        }
    }

    async fn ends_well(&mut self) -> Result<(), AnyError> {
        match self.child.wait().await?.success() {
            true => Ok(()),
            false => Err("the worker failed".into()),
        }
    }
}

//! The bank that loses money without locks, and none with `#[locked]`, across real processes.
//!
//! ```text
//! cargo run -p examples --example transfer                          the four-process run, locks in an SQLite file
//! cargo run -p examples --example transfer -- --store sqlite:PATH   the same, with the locks in a file of your own
//! cargo run -p examples --example transfer -- --store memory        the locked half, in one process
//! cargo run -p examples --features servers --example transfer -- --store redis://127.0.0.1/
//!                                                                   the locks on a server: redis, postgres, mysql
//! ```
//!
//! Each transfer reads both balances, thinks, and writes both: no transaction. That is a race, in one process as well as
//! between several. Exit code 0 if the locked run kept every coin and every transfer arrived, 1 if not, 2 if it could
//! not run.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to its reader"
)]

use std::fmt;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use verrou::drivers::{MemoryStore, SqliteStore};
#[cfg(feature = "servers")]
use verrou::drivers::{MySqlStore, PostgresStore, RedisStore};
use verrou::{Verrou, locked};

const PROCESSES: u64 = 4;
const TASKS: u64 = 8;
const TRANSFERS_PER_TASK: u64 = 40;
const TRANSFERS: u64 = PROCESSES * TASKS * TRANSFERS_PER_TASK;
const ACCOUNTS: i64 = 20;
const OPENING_BALANCE: i64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(15);
/// Tells a worker the URL of its store; empty for no locks.
const LOCKS: &str = "VERROU_TRANSFER_LOCKS";

/// The lock is taken on both accounts before the body begins, and released after it has ended. Returns how long it
/// waited for them.
#[locked("account:<from>", "account:<to>")]
async fn transfer(
    bank: &Bank,
    from: i64,
    to: i64,
    amount: i64,
    asked: Instant,
) -> Result<Duration, BankError> {
    let waited = asked.elapsed();
    bank.move_money(from, to, amount).await?;
    Ok(waited)
}

/// Accounts in an SQLite file.
struct Bank {
    accounts: SqlitePool,
}

struct Account {
    balance: i64,
    transfers: i64,
}

impl Bank {
    async fn open(path: &Path) -> Result<Self, BankError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off)
            .busy_timeout(Duration::from_secs(20));
        let accounts = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await?;
        Ok(Self { accounts })
    }

    /// Every account with its opening balance, and no transfers.
    async fn reset(&self) -> Result<(), BankError> {
        let create = "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER, transfers INTEGER)";
        sqlx::query(create).execute(&self.accounts).await?;
        for id in 0..ACCOUNTS {
            let open = "INSERT OR REPLACE INTO account (id, balance, transfers) VALUES (?, ?, 0)";
            sqlx::query(open)
                .bind(id)
                .bind(OPENING_BALANCE)
                .execute(&self.accounts)
                .await?;
        }
        Ok(())
    }

    /// Reads, thinks, writes. Whoever does the same to one of the accounts in between is overwritten.
    async fn move_money(&self, from: i64, to: i64, amount: i64) -> Result<(), BankError> {
        let (giver, taker) = (self.read(from).await?, self.read(to).await?);
        tokio::task::yield_now().await;
        self.write(from, giver.balance - amount, giver.transfers + 1)
            .await?;
        self.write(to, taker.balance + amount, taker.transfers + 1)
            .await
    }

    async fn read(&self, id: i64) -> Result<Account, BankError> {
        let select = "SELECT balance, transfers FROM account WHERE id = ?";
        let (balance, transfers) = sqlx::query_as(select)
            .bind(id)
            .fetch_one(&self.accounts)
            .await?;
        Ok(Account { balance, transfers })
    }

    async fn write(&self, id: i64, balance: i64, transfers: i64) -> Result<(), BankError> {
        let update = "UPDATE account SET balance = ?, transfers = ? WHERE id = ?";
        sqlx::query(update)
            .bind(balance)
            .bind(transfers)
            .bind(id)
            .execute(&self.accounts)
            .await?;
        Ok(())
    }

    /// The money in the bank, and how many transfers its accounts have seen.
    async fn audit(&self) -> Result<(i64, i64), BankError> {
        let sum = "SELECT SUM(balance), SUM(transfers) FROM account";
        let (money, sides): (i64, i64) = sqlx::query_as(sum).fetch_one(&self.accounts).await?;
        Ok((money, sides / 2))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Half {
    Unlocked,
    Locked,
}

impl Half {
    fn name(self) -> &'static str {
        match self {
            Self::Unlocked => "without a lock",
            Self::Locked => "with #[locked]",
        }
    }
}

/// What one half of the run came to.
struct Report {
    half: Half,
    after: i64,
    arrived: i64,
    time: Duration,
    longest_wait: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["--worker", bank, number] => return worker(bank, number).await,
        [] => in_processes(None).await,
        ["--store", "memory"] => in_memory().await,
        ["--store", url] => in_processes(Some(url)).await,
        // Not repeated: they may hold a password.
        _ => Err(BankError::Usage("cannot read the arguments".to_owned())),
    };
    match outcome {
        Ok(reports) => conclude(&reports),
        Err(error) => {
            eprintln!("transfer: {error}");
            ExitCode::from(2)
        }
    }
}

/// The store that `url` names. Four processes and 32 tasks begin at the same moment, perhaps in a debug build on a small
/// machine: so connecting and calls get more time than they have by default.
async fn open_store(url: &str) -> Result<Verrou, BankError> {
    let builder = Verrou::builder().request_timeout(PATIENCE);
    let builder = match url.split_once(':') {
        Some(("sqlite", _)) => builder.store("locks", SqliteStore::connect(url).await?),
        #[cfg(feature = "servers")]
        Some(("redis" | "rediss", _)) => builder.store(
            "locks",
            RedisStore::builder(url)
                .connect_timeout(PATIENCE)
                .connect()
                .await?,
        ),
        #[cfg(feature = "servers")]
        Some(("postgres" | "postgresql", _)) => builder.store(
            "locks",
            PostgresStore::builder(url)
                .connect_timeout(PATIENCE)
                .connect()
                .await?,
        ),
        #[cfg(feature = "servers")]
        Some(("mysql" | "mariadb", _)) => builder.store(
            "locks",
            MySqlStore::builder(url)
                .connect_timeout(PATIENCE)
                .connect()
                .await?,
        ),
        _ => return Err(BankError::Usage(unknown_store(url))),
    };
    Ok(builder.build()?)
}

/// Names no more of a URL than its scheme: the rest may hold a password.
fn unknown_store(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) if ["redis", "rediss", "postgres", "mysql"].contains(&scheme) => {
            format!(
                "`{scheme}` needs `cargo run -p examples --features servers --example transfer -- ..`"
            )
        }
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("unknown store `{scheme}`")
        }
        _ => "unknown store".to_owned(),
    }
}

/// Both halves: this program four times over on one bank, first without locks, then with them.
async fn in_processes(locks: Option<&str>) -> Result<Vec<Report>, BankError> {
    let folder = Folder::new()?;
    let bank_file = folder.0.join("bank.db");
    let bank = Bank::open(&bank_file).await?;
    let locks = locks.map_or_else(
        || format!("sqlite:{}", folder.0.join("locks.db").display()),
        str::to_owned,
    );
    // A store that cannot be used is told here, once, and not by each worker.
    open_store(&locks).await?.shutdown().await?;
    println!(
        "{PROCESSES} processes x {TASKS} tasks, {TRANSFERS} transfers between {ACCOUNTS} accounts\n"
    );

    let mut reports = Vec::new();
    for half in [Half::Unlocked, Half::Locked] {
        bank.reset().await?;
        let started = Instant::now();
        let locks = if half == Half::Locked {
            locks.as_str()
        } else {
            ""
        };
        let mut workers = Vec::new();
        for number in 0..PROCESSES {
            workers.push(spawn_worker(&bank_file, locks, number)?);
        }
        let longest_wait = follow(half, workers).await?;
        let (after, arrived) = bank.audit().await?;
        reports.push(Report {
            half,
            after,
            arrived,
            time: started.elapsed(),
            longest_wait,
        });
    }
    Ok(reports)
}

/// The locked half in this process: what a test of the bank would do.
async fn in_memory() -> Result<Vec<Report>, BankError> {
    let folder = Folder::new()?;
    let bank = Bank::open(&folder.0.join("bank.db")).await?;
    bank.reset().await?;
    println!(
        "one process x {} tasks, {TRANSFERS} transfers, locks in memory\n",
        PROCESSES * TASKS
    );
    let started = Instant::now();
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()?;
    let progress = Progress::new(Half::Locked);
    let bank = std::sync::Arc::new(bank);
    let (ticks, mut ticked) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..PROCESSES * TASKS {
        let (bank, ticks) = (std::sync::Arc::clone(&bank), ticks.clone());
        tasks.spawn(
            verrou.scope(async move { transfers(&bank, true, task, || _ = ticks.send(())).await }),
        );
    }
    drop(ticks);
    let mut done = 0;
    while ticked.recv().await.is_some() {
        done += 1;
        progress.show(done);
    }
    let mut longest_wait = Duration::ZERO;
    while let Some(task) = tasks.join_next().await {
        longest_wait = longest_wait.max(task.map_err(|_| BankError::Worker)??);
    }
    progress.clear();
    verrou.shutdown().await?;
    let (after, arrived) = bank.audit().await?;
    Ok(vec![Report {
        half: Half::Locked,
        after,
        arrived,
        time: started.elapsed(),
        longest_wait,
    }])
}

fn spawn_worker(bank: &Path, locks: &str, number: u64) -> Result<Child, BankError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--worker").arg(bank).arg(number.to_string());
    // Not an argument: those can be read by everybody on the machine.
    command.env(LOCKS, locks);
    Ok(command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?)
}

/// One of the four processes. Says `.` for each transfer, and its longest wait at the end.
async fn worker(bank: &str, number: &str) -> ExitCode {
    let work = async {
        let locks = std::env::var(LOCKS).unwrap_or_default();
        let bank = std::sync::Arc::new(Bank::open(Path::new(bank)).await?);
        let locked = !locks.is_empty();
        if locked {
            verrou::init(open_store(&locks).await?)?;
        }
        let number: u64 = number.parse().map_err(|_| BankError::Worker)?;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            let bank = std::sync::Arc::clone(&bank);
            tasks.spawn(async move {
                transfers(&bank, locked, number * TASKS + task, || println!(".")).await
            });
        }
        let mut longest_wait = Duration::ZERO;
        while let Some(task) = tasks.join_next().await {
            longest_wait = longest_wait.max(task.map_err(|_| BankError::Worker)??);
        }
        println!("{}", longest_wait.as_micros());
        if locked {
            verrou::global()?.shutdown().await?;
        }
        Ok::<_, BankError>(())
    };
    match work.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker {number}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The work of one task; returns its longest wait.
async fn transfers(
    bank: &Bank,
    locked: bool,
    task: u64,
    done: impl Fn(),
) -> Result<Duration, BankError> {
    let mut dice = Dice(task + 1);
    let mut longest_wait = Duration::ZERO;
    for _ in 0..TRANSFERS_PER_TASK {
        let from = dice.roll(ACCOUNTS);
        let to = (from + 1 + dice.roll(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = 1 + dice.roll(50);
        if locked {
            longest_wait =
                longest_wait.max(transfer(bank, from, to, amount, Instant::now()).await?);
        } else {
            bank.move_money(from, to, amount).await?;
        }
        done();
    }
    Ok(longest_wait)
}

/// Reads what the workers say until they have ended; returns the longest wait of all.
async fn follow(half: Half, workers: Vec<Child>) -> Result<Duration, BankError> {
    let progress = Progress::new(half);
    let (said, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let mut ends = Vec::new();
    for mut worker in workers {
        let stdout = worker.stdout.take().ok_or(BankError::Worker)?;
        let said = said.clone();
        ends.push(tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = said.send(line);
            }
            worker.wait().await
        }));
    }
    drop(said);
    let (mut done, mut longest_wait) = (0, Duration::ZERO);
    while let Some(line) = lines.recv().await {
        match line.parse() {
            Ok(micros) => longest_wait = longest_wait.max(Duration::from_micros(micros)),
            Err(_) => done += 1,
        }
        progress.show(done);
    }
    progress.clear();
    for end in ends {
        let status = end.await.map_err(|_| BankError::Worker)??;
        if !status.success() {
            return Err(BankError::Worker);
        }
    }
    Ok(longest_wait)
}

/// The table, the verdict, and what to read next.
fn conclude(reports: &[Report]) -> ExitCode {
    let before = ACCOUNTS * OPENING_BALANCE;
    println!(
        "                transfers  arrived   before    after  lost or made     time  longest wait"
    );
    for Report {
        half,
        after,
        arrived,
        time,
        longest_wait,
    } in reports
    {
        let wait = if *half == Half::Locked {
            format!("{longest_wait:.0?}")
        } else {
            "-".to_owned()
        };
        println!(
            "{:<15} {TRANSFERS:>9} {arrived:>8} {before:>8} {after:>8} {:>+13} {:>8} {wait:>13}",
            half.name(),
            after - before,
            format!("{time:.1?}"),
        );
    }
    let kept = reports
        .iter()
        .filter(|report| report.half == Half::Locked)
        .all(|report| report.after == before && u64::try_from(report.arrived) == Ok(TRANSFERS));
    if kept {
        println!("\nWith the lock every coin is there and every transfer has arrived.");
        println!(
            "Next: examples/README.md, and `cargo doc --open --all-features -p verrou` for what is promised and what is not."
        );
        ExitCode::SUCCESS
    } else {
        println!(
            "\nThe locked run is wrong: this is a bug of verrou, please report it with this table."
        );
        ExitCode::FAILURE
    }
}

/// A bar, where somebody looks at it.
struct Progress {
    half: Half,
    on: bool,
}

impl Progress {
    fn new(half: Half) -> Self {
        Self {
            half,
            on: std::io::stdout().is_terminal(),
        }
    }

    fn show(&self, done: u64) {
        if self.on && (done.is_multiple_of(8) || done == TRANSFERS) {
            let width = usize::try_from(40 * done / TRANSFERS).unwrap_or(0).min(40);
            print!(
                "\r{:<15} [{:<40}] {done}/{TRANSFERS}",
                self.half.name(),
                "#".repeat(width)
            );
            let _ = std::io::stdout().flush();
        }
    }

    fn clear(&self) {
        if self.on {
            print!("\r{:78}\r", "");
            let _ = std::io::stdout().flush();
        }
    }
}

/// A folder for this run; removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, BankError> {
        let started = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!(
            "verrou-transfer-{}-{}",
            std::process::id(),
            started.as_micros()
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same in each run: an xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: i64) -> i64 {
        for shift in [13, 7, 17] {
            self.0 ^= if shift == 7 {
                self.0 >> shift
            } else {
                self.0 << shift
            };
        }
        i64::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

#[derive(Debug)]
enum BankError {
    Lock(verrou::Error),
    Database(sqlx::Error),
    Io(std::io::Error),
    Usage(String),
    Worker,
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => {
                write!(f, "{error}")?;
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::Database(error) => write!(f, "the bank's file failed: {error}"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Usage(what) => write!(
                f,
                "{what}; give `--store memory`, `--store sqlite:PATH`, the URL of a server, or nothing"
            ),
            Self::Worker => f.write_str("a worker process failed; see what it wrote above"),
        }
    }
}

impl std::error::Error for BankError {}

impl From<verrou::Error> for BankError {
    fn from(error: verrou::Error) -> Self {
        Self::Lock(error)
    }
}

impl From<sqlx::Error> for BankError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<std::io::Error> for BankError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

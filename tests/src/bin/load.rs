//! A process of the fault matrix: tasks that take locks in every way there is, and write down what they see.
//!
//! Its orders come in the variable `VERROU_TEST_LOAD`. It works until its input is closed, finishes what it has begun,
//! says that it is idle, and shuts its instances down when it is told that all is over. Only the public API.

#![allow(clippy::print_stderr, reason = "it talks to whoever reads the log")]

use std::error::Error;
use std::future::Future;
use std::io::Read as _;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tests::history::{End, Fail, HOT, Id, Journal, What, Work, boot_nanos, nanos};
use tests::matrix::order::{
    GIVEN, MANY, Order, SEVERAL, VARIABLE, given, idle, many, over, several, write,
};
use tokio::time::{sleep, timeout};
use verrou::drivers::{MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::{Lock, LockGuard, Outcome, SerializedLock, Verrou, VerrouBuilder, Wait};

const MS: Duration = Duration::from_millis(1);
/// How long an acquire waits; longer than a lease, so that a dead holder is no reason to give up.
const WAIT: Duration = Duration::from_secs(4);
/// The watch over the process's own time.
const TICK: Duration = Duration::from_millis(20);
const STALL: Duration = Duration::from_millis(120);

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let order: Order = serde_json::from_str(&std::env::var(VARIABLE)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work(order))
}

/// One process of the load.
struct Worker {
    order: Order,
    journal: Journal,
    next: AtomicU64,
    stopped: AtomicBool,
}

async fn work(order: Order) -> Result<(), Box<dyn Error + Send + Sync>> {
    let parent = rustix::process::getppid();
    let instances = connected(&order).await?;
    let worker = Arc::new(Worker {
        journal: Journal::open(&order.folder, order.process)?,
        order,
        next: AtomicU64::new(1),
        stopped: AtomicBool::new(false),
    });
    std::thread::spawn({
        let worker = Arc::clone(&worker);
        move || worker.watch_the_time()
    });
    std::thread::spawn({
        let worker = Arc::clone(&worker);
        move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            worker.stopped.store(true, Ordering::Relaxed);
        }
    });
    let tasks: Vec<_> = (0..worker.order.tasks)
        .map(|number| {
            let rng = Rng::with_seed(worker.order.seed ^ (u64::from(number) << 32));
            let place = number as usize % instances.len();
            let task = Task {
                worker: Arc::clone(&worker),
                locks: instances[place].clone(),
                rng,
            };
            tokio::spawn(task.run())
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    // What was dropped has to be released without the help of a shutdown.
    std::fs::write(idle(&worker.order.folder, worker.order.process), "")?;
    // Nor does it outlive whoever has started it.
    while rustix::process::getppid() == parent && !over(&worker.order.folder).exists() {
        sleep(5 * MS).await;
    }
    for instance in instances {
        if let Err(error) = instance.shutdown().await {
            eprintln!("{}: {error}", worker.order.process);
        }
    }
    Ok(())
}

/// A machine that is busy starts slowly, and that is not what is tested.
async fn connected(order: &Order) -> Result<Vec<Verrou>, Box<dyn Error + Send + Sync>> {
    let begun = Instant::now();
    loop {
        match instances(order).await {
            Err(_) if begun.elapsed() < tests::DEADLINE / 2 => sleep(10 * MS).await,
            done => return done,
        }
    }
}

/// One instance for a store that processes share; for memory several, which are processes to it.
async fn instances(order: &Order) -> Result<Vec<Verrou>, Box<dyn Error + Send + Sync>> {
    let url = order.url.as_str();
    if url.starts_with("memory:") {
        let memory = MemoryStore::new();
        let instance = |_| named(order).store("locks", memory.clone()).build();
        return Ok((0..3).map(instance).collect::<Result<_, _>>()?);
    }
    let named = named(order);
    let named = match url.split_once(':') {
        Some(("mysql", _)) => named.store("locks", MySqlStore::connect(url).await?),
        Some(("postgres", _)) => named.store("locks", PostgresStore::connect(url).await?),
        Some(("redis", _)) => named.store("locks", RedisStore::connect(url).await?),
        _ => named.store("locks", SqliteStore::connect(url).await?),
    };
    Ok(vec![named.build()?])
}

fn named(order: &Order) -> VerrouBuilder {
    Verrou::builder()
        .namespace(&order.namespace)
        .request_timeout(Duration::from_millis(order.request_timeout_ms))
}

impl Worker {
    /// Writes down when no thread of this process runs: what is late then is not the library's fault.
    fn watch_the_time(&self) {
        while !self.stopped.load(Ordering::Relaxed) {
            let before = boot_nanos();
            std::thread::sleep(TICK);
            let took = boot_nanos() - before;
            if took > nanos(STALL) {
                self.journal.write(0, What::Stall(took));
            }
        }
    }
}

/// Some thing that a task does at a time.
struct Task {
    worker: Arc<Worker>,
    locks: Verrou,
    rng: Rng,
}

/// How a guard is used.
struct Plan {
    hold: Duration,
    until_lost: bool,
    give: bool,
}

impl Task {
    async fn run(mut self) {
        while !self.worker.stopped.load(Ordering::Relaxed) {
            if self.rng.u32(0..100) < self.worker.order.lost {
                self.acquire(Work::Lose).await;
                continue;
            }
            match self.rng.u32(0..98) {
                0..40 => self.acquire(Work::Hot).await,
                40..58 => self.acquire(Work::Many).await,
                58..68 => self.acquire(Work::Several).await,
                68..74 => self.acquire(Work::Give).await,
                74..82 => self.take().await,
                82..90 => self.acquire(Work::Cancel).await,
                _ => self.attempt().await,
            }
        }
    }

    fn keys(&mut self, work: Work) -> Vec<String> {
        match work {
            Work::Hot => vec![HOT.to_owned()],
            Work::Give | Work::Take => vec![given(self.rng.u32(0..GIVEN))],
            Work::Cancel if self.rng.bool() => self.keys(Work::Several),
            Work::Several => {
                let mut all: Vec<u32> = (0..SEVERAL).collect();
                self.rng.shuffle(&mut all);
                let count = self.rng.usize(2..=3);
                all.into_iter().take(count).map(several).collect()
            }
            // Alone, one of those that others take together.
            Work::Many if self.rng.u32(0..4) == 0 => vec![several(self.rng.u32(0..SEVERAL))],
            Work::Many => vec![many(self.rng.u32(0..MANY))],
            Work::Cancel | Work::Try if self.rng.u32(0..4) == 0 => vec![HOT.to_owned()],
            // Everybody waits for as long as it is held.
            Work::Lose if self.rng.u32(0..3) == 0 => vec![HOT.to_owned()],
            Work::Cancel | Work::Try | Work::Lose => vec![many(self.rng.u32(0..MANY))],
        }
    }

    fn plan(&mut self, work: Work) -> Plan {
        let ttl = self.worker.order.ttl_ms;
        let short = self.rng.u64(0..8);
        let hold = match work {
            // Now and then beyond the first lease, so that it is one that was renewed.
            Work::Many | Work::Several if self.rng.u32(0..16) == 0 && ttl < 2000 => ttl * 3 / 2,
            Work::Hot if self.rng.u32(0..150) == 0 && ttl < 2000 => ttl * 3 / 2,
            _ => short,
        };
        Plan {
            hold: Duration::from_millis(hold),
            until_lost: work == Work::Lose,
            give: work == Work::Give,
        }
    }

    fn begin(&self, work: Work, keys: &[String], wait: Duration, of: Option<Id>) -> u64 {
        let number = self.worker.next.fetch_add(1, Ordering::Relaxed);
        let what = What::Invoke {
            work,
            keys: keys.to_vec(),
            wait: nanos(wait),
            renew: work != Work::Lose,
            of,
        };
        self.worker.journal.write(number, what);
        number
    }

    fn lock(&self, keys: &[String], wait: Duration) -> Lock {
        let lock = match keys {
            [key] => self.locks.create_lock(key),
            several => self.locks.create_lock_all(several),
        };
        lock.ttl(Duration::from_millis(self.worker.order.ttl_ms))
            .wait(Wait::For(wait))
    }

    async fn acquire(&mut self, mut work: Work) {
        if work == Work::Lose && self.worker.order.ttl_ms > 2000 {
            work = Work::Hot;
        }
        let keys = self.keys(work);
        let plan = self.plan(work);
        let lock = self.lock(&keys, WAIT).renew(work != Work::Lose);
        let number = self.begin(work, &keys, WAIT, None);
        let acquired = if work == Work::Cancel {
            let patience = Duration::from_micros(self.rng.u64(0..6000));
            match timeout(patience, lock.acquire()).await {
                Ok(acquired) => acquired,
                Err(_) => {
                    self.worker.journal.write(number, What::Cancel);
                    return;
                }
            }
        } else {
            lock.acquire().await
        };
        self.go_on(number, &keys, acquired, plan).await;
    }

    async fn attempt(&mut self) {
        let keys = self.keys(Work::Try);
        let plan = self.plan(Work::Try);
        let lock = self.lock(&keys, Duration::ZERO);
        let number = self.begin(Work::Try, &keys, Duration::ZERO, None);
        match lock.try_acquire().await {
            Ok(Some(guard)) => self.go_on(number, &keys, Ok(guard), plan).await,
            Ok(None) => {
                self.worker.journal.write(number, What::Fail(Fail::Busy));
                sleep(MS).await;
            }
            Err(error) => self.go_on(number, &keys, Err(error), plan).await,
        }
    }

    async fn go_on(
        &mut self,
        number: u64,
        keys: &[String],
        acquired: Result<LockGuard, verrou::Error>,
        plan: Plan,
    ) {
        match acquired {
            Ok(guard) => self.keep(number, keys, guard, plan).await,
            Err(error) => {
                self.worker
                    .journal
                    .write(number, What::Fail(reason(&error)));
                // A store that is gone answers at once: nobody should be kept busy by that.
                sleep(Duration::from_millis(self.rng.u64(5..40))).await;
            }
        }
    }

    /// Holds the guard for as long as planned, or until it is lost, and asks it all the time.
    async fn keep(&mut self, number: u64, keys: &[String], guard: LockGuard, plan: Plan) {
        let journal = &self.worker.journal;
        let token = |key: &String| guard.token_of(key).map_or(0, verrou::FencingToken::get);
        journal.write(number, What::Grant(keys.iter().map(token).collect()));
        let mut lost = pin!(guard.lost());
        let begun = Instant::now();
        let write_at = plan.hold / 2;
        let mut written = false;
        let mut told = false;
        loop {
            let asked = boot_nanos();
            if !guard.is_held() {
                journal.write(number, What::Unheld);
                break;
            }
            journal.write(number, What::Held(asked));
            if (plan.until_lost || keys == [HOT])
                && let Some(asked) = pester(&guard)
            {
                journal.write(number, What::Held(asked));
            }
            if begun.elapsed() >= write_at && !written {
                written = true;
                for key in keys {
                    match write(&self.worker.order.folder, key, token(key)) {
                        Ok(accepted) => journal.write(number, What::Write(accepted)),
                        Err(error) => eprintln!("the resource of {key}: {error}"),
                    }
                }
                continue;
            }
            if begun.elapsed() >= plan.hold && !plan.until_lost {
                break;
            }
            told = timeout(MS, &mut lost).await.is_ok();
            if told {
                journal.write(number, What::Lost);
                break;
            }
        }
        if !guard.is_held() {
            self.mourn(number, &guard, lost, told).await;
        }
        self.end(number, guard, plan.give).await;
    }

    /// A guard that is lost: it is asked on until it was told, and some time more, for no loss may be taken back.
    async fn mourn(
        &self,
        number: u64,
        guard: &LockGuard,
        mut lost: impl Future<Output = ()> + Unpin,
        mut told: bool,
    ) {
        let journal = &self.worker.journal;
        let mut until = Instant::now() + if told { 50 * MS } else { 1000 * MS };
        while Instant::now() < until {
            let asked = boot_nanos();
            if guard.is_held() {
                journal.write(number, What::Held(asked));
            }
            if told {
                sleep(5 * MS).await;
            } else if timeout(5 * MS, &mut lost).await.is_ok() {
                journal.write(number, What::Lost);
                told = true;
                until = Instant::now() + 50 * MS;
            }
        }
    }

    async fn end(&mut self, number: u64, guard: LockGuard, give: bool) {
        let journal = &self.worker.journal;
        if give {
            let key = guard.key().to_owned();
            let end = match guard.into_serialized() {
                // Written down first: who takes it up must not come before it in the history.
                Ok(text) => {
                    journal.write(number, What::End(End::Given));
                    self.post(number, &key, &text);
                    return;
                }
                Err(_) => End::Lost,
            };
            journal.write(number, What::End(end));
            return;
        }
        match self.rng.u32(0..10) {
            0 => {
                drop(guard);
                journal.write(number, What::End(End::Dropped));
            }
            1 => {
                let patience = Duration::from_micros(self.rng.u64(0..1500));
                let end = match timeout(patience, guard.release()).await {
                    Ok(released) => ended(released),
                    Err(_) => End::Dropped,
                };
                journal.write(number, What::End(end));
            }
            _ => journal.write(number, What::End(ended(guard.release().await))),
        }
    }

    fn mail(&self) -> PathBuf {
        self.worker.order.folder.join("mail")
    }

    /// Lays the text where any process finds it.
    fn post(&self, number: u64, key: &str, text: &SerializedLock) {
        let process = self.worker.order.process;
        let folder = self.mail();
        let letter = format!("{process} {number} {key}\n{}", text.expose());
        let draft = folder.join(format!("{process}.{number}.draft"));
        let laid = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&draft, letter))
            .and_then(|()| {
                std::fs::rename(&draft, folder.join(format!("{process}.{number}.letter")))
            });
        if let Err(error) = laid {
            eprintln!("a letter of {process}: {error}");
        }
    }

    /// Takes up a lock that somebody has given. Some letters are copied, so that somebody else has them as well.
    async fn take(&mut self) {
        let Some((path, letter)) = self.letter() else {
            return sleep(MS).await;
        };
        if self.rng.u32(0..4) > 0 && std::fs::remove_file(&path).is_err() {
            // Somebody else was faster.
            return;
        }
        let Some((of, key, text)) = opened(&letter) else {
            return eprintln!("a letter that cannot be read: {}", path.display());
        };
        let keys = [key];
        let plan = self.plan(Work::Take);
        let number = self.begin(Work::Take, &keys, Duration::ZERO, Some(of));
        let restored = self.locks.restore_lock(&text).await;
        self.go_on(number, &keys, restored, plan).await;
    }

    fn letter(&mut self) -> Option<(PathBuf, String)> {
        let letters = std::fs::read_dir(self.mail()).ok()?.flatten();
        let letters: Vec<PathBuf> = letters
            .map(|letter| letter.path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "letter")
            })
            .collect();
        let path = self.rng.choice(letters)?;
        let letter = std::fs::read_to_string(&path).ok()?;
        Some((path, letter))
    }
}

/// Asks without a pause; when it was asked last with a yes. If the process is stopped in here, the first question after it
/// comes before any other thread has run.
fn pester(guard: &LockGuard) -> Option<u64> {
    let mut last = None;
    for _ in 0..500 {
        let asked = boot_nanos();
        if !guard.is_held() {
            break;
        }
        last = Some(asked);
    }
    last
}

fn opened(letter: &str) -> Option<(Id, String, SerializedLock)> {
    let (head, text) = letter.split_once('\n')?;
    let mut head = head.split(' ');
    let of = Id {
        process: head.next()?.parse().ok()?,
        number: head.next()?.parse().ok()?,
    };
    Some((of, head.next()?.to_owned(), text.parse().ok()?))
}

fn reason(error: &verrou::Error) -> Fail {
    match error {
        verrou::Error::Busy { .. } => Fail::Busy,
        verrou::Error::Timeout { .. } => Fail::Timeout,
        verrou::Error::Lost { .. } => Fail::Lost,
        verrou::Error::NotHeld { .. } => Fail::NotHeld,
        verrou::Error::Store {
            outcome: Outcome::NotApplied,
            ..
        } => Fail::NotApplied,
        verrou::Error::Store { .. } => Fail::Unknown,
        other => {
            eprintln!("{other:?}");
            Fail::Other
        }
    }
}

fn ended(released: Result<(), verrou::Error>) -> End {
    match released {
        Ok(()) => End::Released,
        Err(error) if error.is_lost() => End::Lost,
        Err(verrou::Error::NotHeld { .. }) => End::NotHeld,
        Err(_) => End::Failed,
    }
}

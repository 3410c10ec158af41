//! What an operator sees: the events, the counters, and that no secret is among them. A process of its own, for collectors
//! are global; the tests tell their events apart by key, and their metrics by store.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tests::{Folder, eventually, secrets, soon};
use tracing::Level;
use verrou::drivers::{MemoryStore, SqliteStore};
use verrou::store::{
    AcquireRequest, AdoptRequest, LockStore as _, Owner, ReleaseRequest, RenewRequest, StoredKey,
};
use verrou::testkit::{FaultStore, Op};
use verrou::{Error, LockFactory, LockOptions, SerializedLock, Verrou, Wait};

const MS: Duration = Duration::from_millis(1);

static COUNTED: Mutex<BTreeMap<Series, u64>> = Mutex::new(BTreeMap::new());

/// A time series: name, store, label.
type Series = (String, String, String);

struct Counting;

/// Counts the increments of a counter, or the values of a histogram.
struct One(Series);

impl One {
    fn of(key: &Key) -> Arc<Self> {
        let label = |name: &str| {
            let found = key.labels().find(|label| label.key() == name);
            found.map_or_else(String::new, |label| label.value().to_owned())
        };
        let names: BTreeSet<_> = key.labels().map(metrics::Label::key).collect();
        assert_eq!(names, BTreeSet::from(["label", "store"]), "{key}");
        Arc::new(Self((
            key.name().to_owned(),
            label("store"),
            label("label"),
        )))
    }

    fn add(&self, value: u64) {
        *COUNTED.lock().unwrap().entry(self.0.clone()).or_default() += value;
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {
        panic!("a counter of verrou counts");
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value} are no seconds");
        self.add(1);
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(One::of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("verrou has no gauge: {key}");
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(One::of(key))
    }
}

fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        secrets::collect();
        metrics::set_global_recorder(Counting).unwrap();
    });
}

/// The warnings and errors of verrou about `key`.
fn warnings(key: &str) -> Vec<String> {
    let field = format!(" key={key} ");
    let seen = secrets::seen();
    let of_key = seen
        .iter()
        .filter(|seen| seen.target == "verrou" && seen.level <= Level::WARN)
        .filter(|seen| format!("{} ", seen.text).contains(&field));
    of_key.map(|seen| seen.text.clone()).collect()
}

fn counted(name: &str, store: &str, label: &str) -> u64 {
    let series = (name.to_owned(), store.to_owned(), label.to_owned());
    COUNTED
        .lock()
        .unwrap()
        .get(&series)
        .copied()
        .unwrap_or_default()
}

fn faulty(name: &str) -> (Verrou, FaultStore<MemoryStore>, MemoryStore) {
    collect();
    let memory = MemoryStore::new();
    let store = FaultStore::new(memory.clone()).with_io();
    let verrou = Verrou::builder()
        .store(name, store.clone())
        .request_timeout(200 * MS)
        .options(LockOptions::new().label("a-label"))
        .build()
        .unwrap();
    (verrou, store, memory)
}

/// G7: the value comes back, and one warning tells of the release.
#[tokio::test]
async fn a_failed_release_after_a_body_that_ended_is_one_warning() {
    let (verrou, store, memory) = faulty("release");
    store.on(Op::Release).times(1).fail_before();
    let value = verrou.create_lock("body-ended").run(async |_| 7).await;
    assert_eq!(value.unwrap(), 7);
    eventually("the keeper has released it", || memory.is_empty()).await;
    verrou.shutdown().await.unwrap();
    let warnings = warnings("body-ended");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("lock not released"), "{warnings:?}");
    assert!(
        warnings[0].contains("cause=refused by a fault of the test"),
        "{warnings:?}"
    );
    assert_eq!(
        counted("verrou_release_failures_total", "release", "a-label"),
        1
    );
}

#[tokio::test]
async fn a_loss_is_one_warning() {
    let (verrou, ..) = faulty("loss");
    let lock = verrou.create_lock("lost-one").ttl(60 * MS).renew(false);
    let guard = lock.acquire().await.unwrap();
    let token = guard.token();
    soon("the loss", guard.lost()).await;
    eventually("it is told", || !warnings("lost-one").is_empty()).await;
    assert!(guard.release().await.unwrap_err().is_lost());
    verrou.shutdown().await.unwrap();
    let warnings = warnings("lost-one");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("lock lost"), "{warnings:?}");
    assert!(
        warnings[0].contains(&format!("token={token}")),
        "{warnings:?}"
    );
    assert_eq!(counted("verrou_lost_total", "loss", "a-label"), 1);
}

#[tokio::test]
async fn counters_count_what_their_names_say() {
    let (verrou, store, memory) = faulty("counted");
    let count = |name: &str| counted(name, "counted", "a-label");
    let elsewhere = LockFactory::new(memory);
    let lock = verrou.create_lock("k");

    let guard = lock.acquire().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert_eq!(count("verrou_busy_total"), 1);
    guard.release().await.unwrap();
    assert_eq!(count("verrou_acquired_total"), 1);
    assert_eq!(count("verrou_wait_seconds"), 1);
    assert_eq!(count("verrou_held_seconds"), 1);

    let other = elsewhere.create_lock("k").acquire().await.unwrap();
    let timeout = lock.clone().wait(Wait::For(5 * MS)).acquire().await;
    assert!(timeout.unwrap_err().is_busy());
    let busy = lock.clone().wait(Wait::Never).acquire().await;
    assert!(busy.unwrap_err().is_busy());
    assert_eq!(count("verrou_busy_total"), 3);
    other.release().await.unwrap();

    // Nobody else had the key: these are no contention.
    let inner = lock.clone();
    let reentrant = lock.run(async |_| inner.acquire().await.map(drop)).await;
    assert!(matches!(reentrant, Ok(Err(Error::Reentrant { .. }))));
    store.on(Op::Acquire).times(1).fail_before();
    assert!(lock.acquire().await.unwrap_err().is_store());
    assert_eq!(count("verrou_store_errors_total"), 1);

    let guard = lock.clone().ttl(300 * MS).acquire().await.unwrap();
    store.on(Op::RenewMany).times(1).fail_before();
    eventually("a renewal has failed", || {
        count("verrou_renewal_failures_total") == 1
    })
    .await;
    guard.release().await.unwrap();
    verrou.shutdown().await.unwrap();
    assert!(matches!(lock.acquire().await, Err(Error::ShutDown)));
    assert_eq!(count("verrou_busy_total"), 3);
    assert_eq!(count("verrou_acquired_total"), 3);
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../verrou/src/");
    let read = |file: &str| std::fs::read_to_string(format!("{root}{file}")).unwrap();
    let names = |text: &str, open: char, close: &str| -> BTreeSet<String> {
        let begun = text.split(open).filter_map(|rest| rest.split(close).next());
        begun
            .filter(|name| name.starts_with("verrou_"))
            .filter(|name| name.ends_with("_total") || name.ends_with("_seconds"))
            .map(str::to_owned)
            .collect()
    };
    let (page, source) = (read("docs/observing.md"), read("observe.rs"));
    let named = names(&source, '"', "\"");
    assert_eq!(names(&page, '`', "`"), named);
    assert!(named.len() >= 8, "{named:?}");
    // And every event: the last text of each call.
    for event in ["debug", "warn", "error"].map(|level| format!("tracing::{level}!(")) {
        for call in source.split(&event).skip(1) {
            let call = &call[..call.find(");").unwrap()];
            let message = call.rsplit('"').nth(1).unwrap();
            assert!(
                page.contains(&format!("`{message}`")),
                "observing.md does not name `{message}`"
            );
        }
    }
}

#[test]
fn the_page_lists_every_doubt_and_no_other() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../verrou/src/");
    let read = |file: &str| std::fs::read_to_string(format!("{root}{file}")).unwrap();
    let (page, source) = (read("docs/observing.md"), read("observe.rs"));
    let named: BTreeSet<_> = source
        .split("doubt = \"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let section = page.split("# Doubts").nth(1).unwrap();
    let listed: BTreeSet<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .take_while(|name| !name.starts_with("verrou_"))
        .filter(|name| *name != "doubt")
        .collect();
    assert_eq!(listed, named);
    assert!(named.len() >= 9, "{named:?}");
}

/// The owners of all rows, as SQLite has them.
async fn owners(file: &str) -> Vec<Vec<u8>> {
    let url = format!("sqlite:{file}?mode=ro");
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let select = "SELECT owner FROM verrou_locks WHERE owner IS NOT NULL";
    let owners = sqlx::query_scalar(select).fetch_all(&pool).await.unwrap();
    pool.close().await;
    owners
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    collect();
    let folder = Folder::new();
    let file = folder.file("canary-path.db");
    let url = format!("sqlite:{file}");
    let mut shown = String::new();
    let mut show = |what: &dyn Debug| writeln!(shown, "{what:?} {what:#?}").unwrap();
    let (mut hidden, mut texts) = (Vec::new(), Vec::new());

    let builder = SqliteStore::builder(&url);
    show(&builder);
    let sqlite = builder.connect().await.unwrap();
    show(&sqlite);
    let store = FaultStore::new(sqlite);
    show(&store.on(Op::Acquire));
    let builder = Verrou::builder()
        .store("s", store.clone())
        .request_timeout(500 * MS);
    show(&builder);
    let verrou = builder.build().unwrap();
    show(&verrou);
    let locks = verrou.store("s").unwrap();
    show(&locks);
    let lock = verrou.create_lock("secret").ttl(Duration::from_secs(2));
    show(&lock);

    // Take, extend, fail, renew, hand over, take up, lose by force, release.
    let guard = lock.acquire().await.unwrap();
    show(&guard);
    hidden.extend(owners(&file).await);
    guard.extend(Duration::from_secs(3)).await.unwrap();
    show(&lock.inspect().await.unwrap());
    show(&locks.list("").await.unwrap());
    let serialized = guard.into_serialized().unwrap();
    show(&serialized);
    let text = serialized.expose();
    for bad in [
        &text[..text.len() - 5],
        &format!("{text}:x"),
        &format!("x{text}"),
    ] {
        let error = bad.parse::<SerializedLock>().unwrap_err();
        show(&error);
        show(&error.to_string());
    }
    texts.push(text);
    let elsewhere = LockFactory::new(MemoryStore::new());
    show(&elsewhere.restore_lock(&serialized).await.unwrap_err());
    let restored = verrou.restore_lock(&serialized).await.unwrap();
    hidden.extend(owners(&file).await);
    let again = verrou.restore_lock(&serialized).await.unwrap_err();
    show(&again);
    show(&again.to_string());
    assert!(lock.force_release().await.unwrap());
    show(&restored.release().await.unwrap_err());

    for op in [Op::Acquire, Op::Release, Op::Renew, Op::Inspect] {
        store.on(op).times(1).fail_after();
    }
    show(&lock.acquire().await.unwrap_err());
    show(&lock.inspect().await.unwrap_err());
    let guard = soon("the key", lock.acquire()).await.unwrap();
    hidden.extend(owners(&file).await);
    show(&guard.extend(Duration::from_secs(3)).await.unwrap_err());
    drop(guard);
    show(&store);

    let owner = Owner::random().unwrap();
    hidden.push(owner.as_bytes().to_vec());
    let key = StoredKey::new("", "k").unwrap();
    let ttl = Duration::from_secs(1);
    let acquire = AcquireRequest::new(key.clone(), owner, ttl);
    show(&acquire);
    show(&store.acquire(acquire).await);
    show(&RenewRequest::new(key.clone(), owner, ttl));
    show(&AdoptRequest::new(key.clone(), owner, owner, ttl));
    show(&ReleaseRequest::new(key, owner));
    show(&owner);
    verrou.shutdown().await.unwrap();

    for bad in [
        "postgres://me:canary-password@host/db",
        "sqlite:/canary-path/x.db?canary-option=canary-value",
        "sqlite:/no/such/canary-path/x.db",
        folder.path().join("canary-path.db/x").to_str().unwrap(),
    ] {
        let error = SqliteStore::connect(bad).await.unwrap_err();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            show(&error);
            show(&error.to_string());
            cause = error.source();
        }
    }

    for seen in secrets::seen().iter() {
        writeln!(shown, "{} {}", seen.target, seen.text).unwrap();
    }
    assert!(shown.contains("lock acquired"), "nothing was captured");
    for word in ["canary-password", "canary-value", "canary-path"] {
        assert!(
            !shown.contains(word),
            "`{word}` is shown: {}",
            around(&shown, word)
        );
    }
    assert!(hidden.len() >= 4 && hidden.iter().all(|owner| owner.len() == 16));
    for secret in hidden {
        let hex: String = secret.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let list = format!("{secret:?}");
        let bytes = shown.as_bytes().windows(secret.len());
        assert!(!bytes.into_iter().any(|window| window == secret));
        for form in [&hex, &hex.to_uppercase(), list.trim_matches(['[', ']'])] {
            assert!(!shown.contains(form), "{}", around(&shown, form));
        }
        let lines = format!("{secret:#?}");
        assert!(!shown.contains(lines.trim_matches(['[', ']'])));
    }
    for text in texts {
        assert!(!shown.contains(&text), "{}", around(&shown, &text));
    }
}

/// The lines that show `word`.
fn around<'a>(shown: &'a str, word: &str) -> &'a str {
    shown
        .lines()
        .find(|line| line.contains(word))
        .unwrap_or_default()
}

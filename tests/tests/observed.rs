//! What an operator sees: the events, the counters, and that no secret is among them. A process of its own, for collectors
//! are global; the tests tell their events apart by key, and their metrics by store.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "observed/spans.rs"]
mod spans;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
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

/// What each series says: the sum of a counter, the value of a gauge, how many values a histogram has.
static COUNTED: Mutex<BTreeMap<Series, i64>> = Mutex::new(BTreeMap::new());

/// A time series: its name, and its labels.
type Series = (String, BTreeMap<String, String>);

struct Counting;

struct One(Series);

impl One {
    fn of(key: &Key) -> Arc<Self> {
        let labels = key.labels();
        let labels = labels.map(|label| (label.key().to_owned(), label.value().to_owned()));
        let series = (key.name().to_owned(), labels.collect());
        COUNTED.lock().unwrap().entry(series.clone()).or_default();
        Arc::new(Self(series))
    }

    fn add(&self, value: i64) {
        *COUNTED.lock().unwrap().entry(self.0.clone()).or_default() += value;
    }
}

impl CounterFn for One {
    fn increment(&self, value: u64) {
        self.add(i64::try_from(value).unwrap());
    }

    fn absolute(&self, _: u64) {
        panic!("a counter of verrou counts");
    }
}

impl GaugeFn for One {
    fn increment(&self, value: f64) {
        assert_eq!(value.to_bits(), 1f64.to_bits());
        self.add(1);
    }

    fn decrement(&self, value: f64) {
        assert_eq!(value.to_bits(), 1f64.to_bits());
        self.add(-1);
    }

    fn set(&self, _: f64) {
        panic!("several instances may share a gauge");
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value} are no seconds");
        self.add(1);
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        assert!(name.as_str().ends_with("_total"), "{name:?}");
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        assert!(name.as_str().ends_with("_seconds"), "{name:?}");
        assert_eq!(unit, Some(Unit::Seconds));
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(One::of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(One::of(key))
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

/// The series of `name` and `store`, and what they say.
fn series(name: &str, store: &str) -> BTreeMap<BTreeMap<String, String>, i64> {
    let counted = COUNTED.lock().unwrap();
    let of_store = counted
        .iter()
        .filter(|((known, labels), _)| known == name && labels["store"] == store);
    of_store
        .map(|((_, labels), value)| (labels.clone(), *value))
        .collect()
}

/// The sum of the series of `name` and `store`, of this value of their third label.
fn counted(name: &str, store: &str, value: &str) -> i64 {
    let series = series(name, store);
    let of_value = series
        .iter()
        .filter(|(labels, _)| value.is_empty() || labels.values().any(|label| label == value));
    of_value.map(|(_, value)| value).sum()
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
    assert_eq!(counted("verrou_late_releases_total", "release", "done"), 1);
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
    assert_eq!(counted("verrou_doubts_total", "loss", "lease_lost"), 1);
}

#[tokio::test]
async fn counters_count_what_their_names_say() {
    let (verrou, store, memory) = faulty("counted");
    let count = |name: &str, value: &str| counted(name, "counted", value);
    let acquires = |outcome: &str| count("verrou_acquires_total", outcome);
    let elsewhere = LockFactory::new(memory);
    let lock = verrou.create_lock("k");

    let guard = lock.acquire().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    assert_eq!(acquires("busy"), 1);
    guard.release().await.unwrap();
    assert_eq!(acquires("granted"), 1);
    assert_eq!(count("verrou_wait_seconds", ""), 1);
    assert_eq!(count("verrou_hold_seconds", ""), 1);

    let other = elsewhere.create_lock("k").acquire().await.unwrap();
    let timeout = lock.clone().wait(Wait::For(5 * MS)).acquire().await;
    assert!(timeout.unwrap_err().is_busy());
    assert_eq!(acquires("timeout"), 1);
    assert_eq!(count("verrou_wait_seconds", ""), 2);
    let busy = lock.clone().wait(Wait::Never).acquire().await;
    assert!(busy.unwrap_err().is_busy());
    assert_eq!(acquires("busy"), 2);
    other.release().await.unwrap();

    // Nobody else had the key: these are no contention.
    let inner = lock.clone();
    let reentrant = lock.run(async |_| inner.acquire().await.map(drop)).await;
    assert!(matches!(reentrant, Ok(Err(Error::Reentrant { .. }))));
    assert_eq!(acquires("refused"), 1);
    store.on(Op::Acquire).times(1).fail_before();
    assert!(lock.acquire().await.unwrap_err().is_store());
    assert_eq!(acquires("store_error"), 1);

    let guard = lock.clone().ttl(300 * MS).acquire().await.unwrap();
    store.on(Op::RenewMany).times(1).fail_before();
    eventually("a renewal was late", || {
        count("verrou_renewals_total", "failed") == 1
            && count("verrou_renewals_total", "confirmed") >= 1
    })
    .await;
    guard.release().await.unwrap();
    let serialized = lock.acquire().await.unwrap().into_serialized().unwrap();
    drop(verrou.restore_lock(&serialized).await.unwrap());
    assert_eq!(acquires("restored"), 1);
    eventually("it is released", || {
        count("verrou_late_releases_total", "done") == 1
    })
    .await;
    verrou.shutdown().await.unwrap();
    assert!(matches!(lock.acquire().await, Err(Error::ShutDown)));
    assert_eq!(acquires("refused"), 2);
    assert_eq!(acquires("granted"), 4);
    assert_eq!(acquires("busy"), 2);
    let calls = |value: &str| count("verrou_store_call_seconds", value);
    assert_eq!((calls("busy"), calls("adopt")), (2, 1));
    assert!(calls("not_applied") >= 2, "{}", calls("not_applied"));
    for (name, labels) in COUNTED.lock().unwrap().keys() {
        let third = match name.as_str() {
            "verrou_store_call_seconds" => vec!["operation", "outcome", "store"],
            "verrou_doubts_total" => vec!["doubt", "store"],
            "verrou_acquires_total" | "verrou_renewals_total" | "verrou_late_releases_total" => {
                vec!["outcome", "store", "template"]
            }
            _ => vec!["store", "template"],
        };
        assert_eq!(labels.keys().collect::<Vec<_>>(), third, "{name}");
    }
}

#[tokio::test]
async fn ten_thousand_keys_are_no_new_series() {
    let (verrou, ..) = faulty("cardinality");
    let cycle = async |key: String| {
        let lock = verrou.create_lock(key);
        let guard = lock.acquire().await.unwrap();
        assert!(lock.try_acquire().await.unwrap().is_none());
        guard.release().await.unwrap();
    };
    let all = || -> usize {
        let counted = COUNTED.lock().unwrap();
        let of_store = |labels: &BTreeMap<String, String>| labels["store"] == "cardinality";
        counted
            .keys()
            .filter(|(_, labels)| of_store(labels))
            .count()
    };
    cycle("first".to_owned()).await;
    let before = all();
    for key in 0..10_000 {
        cycle(format!("customer-{key}")).await;
    }
    assert_eq!(all(), before);
    assert_eq!(
        counted("verrou_acquires_total", "cardinality", "granted"),
        10_001
    );
    verrou.shutdown().await.unwrap();
}

#[tokio::test]
async fn gauges_return_to_zero_however_futures_end() {
    let (verrou, _, memory) = faulty("gauges");
    let gauge = |name: &str| counted(name, "gauges", "");
    let (waiting, held) = ("verrou_waiting_acquires", "verrou_held_keys");
    let elsewhere = LockFactory::new(memory);
    let other = elsewhere.create_lock("taken").acquire().await.unwrap();
    let lock = verrou.create_lock("taken");
    let waiters: Vec<_> = (0..50).map(|_| tokio::spawn(lock.acquire())).collect();
    eventually("all wait", || gauge(waiting) == 50).await;
    for waiter in waiters.into_iter().skip(1) {
        waiter.abort();
    }
    eventually("they are gone", || gauge(waiting) == 1).await;
    let cancelled = counted("verrou_acquires_total", "gauges", "cancelled");
    assert_eq!(cancelled, 49);

    // Lost, released, dropped, handed over, several at a time, and left to the shutdown.
    let lost = verrou.create_lock("lost").ttl(60 * MS).renew(false);
    let lost = lost.acquire().await.unwrap();
    let several = verrou.create_lock_all(["a", "b", "c"]);
    let several = several.acquire().await.unwrap();
    let left = verrou.create_lock("left").acquire().await.unwrap();
    let given = verrou.create_lock("given").acquire().await.unwrap();
    assert_eq!(gauge(held), 6);
    soon("the loss", lost.lost()).await;
    assert_eq!(gauge(held), 5);
    let text = given.into_serialized().unwrap();
    assert_eq!(gauge(held), 4);
    let taken_up = verrou.restore_lock(&text).await.unwrap();
    assert_eq!(gauge(held), 5);
    drop(several);
    assert_eq!(gauge(held), 2);
    taken_up.release().await.unwrap();
    let panicked = tokio::spawn({
        let lock = verrou.create_lock("panics");
        async move { lock.run(async |_| panic!("a body of the test")).await }
    });
    assert!(panicked.await.unwrap_err().is_panic());
    assert_eq!((gauge(held), gauge(waiting)), (1, 1));
    verrou.shutdown().await.unwrap();
    eventually("nobody waits or holds", || {
        gauge(held) == 0 && gauge(waiting) == 0
    })
    .await;
    drop((left, lost));
    other.release().await.unwrap();
    assert_eq!((gauge(held), gauge(waiting)), (0, 0));
}

/// The first cells of the rows below `heading`.
fn listed(page: &str, heading: &str) -> BTreeSet<String> {
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with(heading))
        .skip(2)
        .take_while(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('`').nth(1))
        .map(str::to_owned)
        .collect()
}

/// What stands in quotes behind each `before`.
fn quoted(source: &str, before: &str) -> BTreeSet<String> {
    let found = source.split(before).skip(1);
    found
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}

fn read(file: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../verrou/src/");
    std::fs::read_to_string(format!("{root}{file}")).unwrap()
}

/// All that happens in a short life with some trouble in it.
async fn live(name: &str) {
    let (verrou, store, memory) = faulty(name);
    let lock = verrou.create_lock(format!("{name}-key")).ttl(300 * MS);
    let elsewhere = LockFactory::new(memory);
    store.on(Op::RenewMany).times(2).fail_before();
    let guard = lock.acquire().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    eventually("a renewal was late", || {
        counted("verrou_renewals_total", name, "confirmed") > 0
    })
    .await;
    guard.release().await.unwrap();
    let other = elsewhere.create_lock(format!("{name}-key"));
    let other = other.acquire().await.unwrap();
    let short = lock.clone().wait(Wait::For(5 * MS));
    assert!(short.acquire().await.unwrap_err().is_busy());
    other.release().await.unwrap();
    store.on(Op::Release).times(1).fail_before();
    lock.run(async |_| ()).await.unwrap();
    drop(lock.acquire().await.unwrap());
    let fixed = lock.clone().ttl(60 * MS).renew(false);
    let lost = fixed.acquire().await.unwrap();
    soon("the loss", lost.lost()).await;
    drop(lost);
    // No release is possible within this lease.
    store.on(Op::Release).fail_before();
    drop(fixed.acquire().await.unwrap());
    eventually("it was given up", || {
        counted("verrou_late_releases_total", name, "gave_up") > 0
    })
    .await;
    store.clear();
    verrou.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_page_lists_every_metric_and_no_other_and_each_is_emitted() {
    live("metric-names").await;
    let emitted: BTreeSet<_> = {
        let counted = COUNTED.lock().unwrap();
        counted.keys().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(listed(&read("docs/observing.md"), "| metric |"), emitted);
    assert!(emitted.len() >= 10, "{emitted:?}");
}

#[tokio::test]
async fn the_page_lists_every_event_and_no_other_and_each_is_emitted() {
    let page = read("docs/observing.md");
    let source = read("observe.rs") + &read("observe/spans.rs");
    let named = quoted(&source, "event = \"");
    assert_eq!(listed(&page, "| `event` |"), named);
    // And every message: the last text of each call.
    for event in ["debug", "info", "warn", "error"].map(|level| format!("tracing::{level}!(")) {
        for call in source.split(&event).skip(1) {
            let call = &call[..call.find(");").unwrap()];
            let message = call.rsplit('"').nth(1).unwrap();
            assert!(
                page.contains(&format!("`{message}`")),
                "observing.md does not name `{message}`"
            );
        }
    }
    live("event-names").await;
    // A thread that is refused, one that has nothing to do, and the doubts have tests of their own.
    let rare = ["no_keeper", "keeper_ended", "doubt"];
    let seen = secrets::seen();
    for event in named.iter().filter(|name| !rare.contains(&name.as_str())) {
        let field = format!(" event=\"{event}\"");
        assert!(
            seen.iter().any(|seen| seen.text.contains(&field)),
            "`{event}` was not told"
        );
    }
}

#[tokio::test]
async fn a_quiet_service_logs_nothing_at_info() {
    let (verrou, ..) = faulty("quiet");
    let lock = verrou.create_lock("a-quiet-key").ttl(90 * MS);
    lock.run(async |guard| {
        let renewed = || counted("verrou_renewals_total", "quiet", "confirmed") > 1;
        eventually("it was renewed", renewed).await;
        assert!(lock.try_acquire().await.unwrap().is_none());
        guard.check().unwrap();
    })
    .await
    .unwrap();
    drop(lock.acquire().await.unwrap());
    verrou.shutdown().await.unwrap();
    let seen = secrets::seen();
    let of_key = seen
        .iter()
        .filter(|seen| seen.target == "verrou" && seen.text.contains("a-quiet-key"));
    let (loud, quiet): (Vec<_>, Vec<_>) = of_key.partition(|seen| seen.level <= Level::INFO);
    assert!(loud.is_empty(), "{loud:?}");
    assert!(quiet.len() >= 6, "{quiet:?}");
}

#[test]
fn the_page_lists_every_doubt_and_no_other() {
    let source = read("observe.rs");
    let named = quoted(&source, "doubt = \"");
    assert_eq!(
        listed(&read("docs/observing.md"), "| `doubt` | promise"),
        named
    );
    // Each is counted where it is told.
    let counted: BTreeSet<_> = source
        .split("meters::doubt(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .map(str::to_owned)
        .collect();
    assert_eq!(counted, named);
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

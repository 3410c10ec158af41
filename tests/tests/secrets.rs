//! No password, URL, owner or serialized lock in anything that is shown or logged, by any driver, whatever goes wrong. A
//! process of its own, for the collector is global and takes everything of every crate.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fmt::Debug;
use std::io::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::secrets::{self, Secrets};
use tests::servers::mariadb::{self, MariaDb};
use tests::servers::postgres::{self, PostgresServer};
use tests::servers::redis::{self, Server};
use tests::servers::{free_port, is_skipped};
use tests::{Folder, eventually, soon};
use verrou::drivers::{MemoryStore, MySqlStore, PostgresStore, RedisStore, SqliteStore};
use verrou::store::{
    AcquireRequest, AdoptRequest, ForceReleaseRequest, InspectRequest, LockStore, Owner,
    ReleaseRequest, RenewRequest, StoredKey,
};
use verrou::{Error, LockFactory, LockGuard, SerializedLock, Verrou, Wait};

/// The canary, and how it stands in a URL.
const CANARY: &str = "c@n:a/r%y";
const IN_URL: &str = "c%40n%3Aa%2Fr%25y";

/// All that could show a password, whole or in part, encoded or not; and URLs.
const WORDS: [&str; 18] = [
    CANARY,
    IN_URL,
    "c%40n%3aa%2fr%25y",
    "n:a/r",
    "n%3Aa",
    "n%3aa",
    "r%25y",
    "canary",
    "s3cret",
    "@s:s/w",
    "%40s%3As",
    "b:c/d",
    "b%3Ac",
    "@127.0.0.1",
    "@localhost",
    "redis://:",
    "postgres://p",
    "mysql://v",
];

const MINUTE: Duration = Duration::from_secs(60);

fn verrou_on(store: impl LockStore) -> Verrou {
    Verrou::builder()
        .store("locks", store)
        .request_timeout(Duration::from_secs(2))
        .build()
        .unwrap()
}

/// Says so, past the capture of the test harness.
fn skipped(server: &str) -> bool {
    let skipped = is_skipped(server);
    if skipped {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the secrets of {server}, as VERROU_TEST_SKIP says"
        );
    }
    skipped
}

/// What owners are in the text of a serialized lock.
fn owners_in(serialized: &SerializedLock) -> Vec<Vec<u8>> {
    let text = serialized.expose();
    let hex = text
        .split(':')
        .filter(|field| field.len() == 32 && field.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let owners: Vec<Vec<u8>> = hex
        .map(|hex| {
            let pairs = hex.as_bytes().chunks(2);
            pairs
                .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect()
        })
        .collect();
    assert_eq!(owners.len(), 1, "the text has one owner");
    owners
}

/// Take, extend, renew, hand over, take up, lose by force, release, and all that is `Debug` on the way.
async fn is_used<S: LockStore + Clone + Debug>(
    secrets: &mut Secrets,
    store: &S,
    owners: impl AsyncFn() -> Vec<Vec<u8>>,
) {
    secrets.show(store);
    let builder = Verrou::builder().store("locks", store.clone());
    secrets.show(&builder);
    let verrou = builder.build().unwrap();
    secrets.show(&verrou);
    let factory = verrou.store("locks").unwrap();
    secrets.show(&factory);
    // So short a lease is renewed while this goes on.
    let lock = verrou.create_lock("secret").ttl(Duration::from_secs(2));
    secrets.show(&lock);
    let guard = lock.acquire().await.unwrap();
    secrets.show(&guard);
    secrets.hide_owners(owners().await);
    let end = || Instant::now() + guard.remaining();
    let later = end() + Duration::from_millis(100);
    eventually("it is renewed", || end() > later).await;
    guard.extend(MINUTE).await.unwrap();
    secrets.show(&lock.inspect().await.unwrap());
    secrets.show(&factory.list("").await);
    // Somebody waits meanwhile.
    let elsewhere = LockFactory::new(store.clone());
    let waiting = elsewhere
        .create_lock("secret")
        .wait(Wait::For(Duration::from_millis(300)));
    secrets.failed("waiting in vain", waiting.acquire().await);

    let serialized = guard.into_serialized().unwrap();
    secrets.show(&serialized);
    secrets.hide_owners(owners_in(&serialized));
    secrets.hide(&serialized.expose());
    let text = serialized.expose();
    for bad in [
        &text[..text.len() - 5],
        &format!("{text}:x"),
        &format!("x{text}"),
    ] {
        secrets.failed("a damaged text", bad.parse::<SerializedLock>());
    }
    let other = LockFactory::new(MemoryStore::new());
    secrets.failed("another store", other.restore_lock(&serialized).await);
    let restored = verrou.restore_lock(&serialized).await.unwrap();
    secrets.show(&restored);
    secrets.hide_owners(owners().await);
    secrets.failed("twice", verrou.restore_lock(&serialized).await);
    assert!(lock.force_release().await.unwrap());
    secrets.failed("taken by force", restored.release().await);
    let guard = lock.acquire().await.unwrap();
    secrets.hide_owners(owners().await);
    guard.release().await.unwrap();

    // The driver by itself, with owners that are known.
    let [owner, heir] = [(); 2].map(|()| Owner::random().unwrap());
    secrets.hide_owners([owner, heir].map(|owner| owner.as_bytes().to_vec()));
    let key = StoredKey::new("", "driver").unwrap();
    let acquire = || AcquireRequest::new(key.clone(), owner, MINUTE);
    let renew = || RenewRequest::new(key.clone(), owner, MINUTE);
    let adopt = || AdoptRequest::new(key.clone(), owner, heir, MINUTE);
    let release = || ReleaseRequest::new(key.clone(), heir);
    secrets.show(&(owner, &key));
    secrets.show(&(acquire(), renew(), adopt(), release()));
    secrets.show(&store.acquire(acquire()).await.unwrap());
    secrets.show(&store.renew(renew()).await.unwrap());
    secrets.show(&store.adopt(adopt()).await.unwrap());
    secrets.show(&store.inspect(InspectRequest::new(key.clone())).await);
    secrets.show(&store.release(release()).await.unwrap());
    secrets.show(
        &store
            .force_release(ForceReleaseRequest::new(key.clone()))
            .await,
    );
    verrou.shutdown().await.unwrap();
}

/// A lock that is held and one that is asked for while the server stands still, for it to be killed then.
struct MidCall {
    verrou: Verrou,
    held: LockGuard,
    call: tokio::task::JoinHandle<Result<LockGuard, Error>>,
}

impl MidCall {
    async fn hold(verrou: &Verrou) -> LockGuard {
        let lock = verrou.create_lock("held").ttl(Duration::from_secs(5));
        lock.acquire().await.unwrap()
    }

    /// The server stands still by now.
    async fn begin(verrou: Verrou, held: LockGuard) -> Self {
        let lock = verrou.create_lock("asked");
        let mut call = tokio::spawn(async move { lock.acquire().await });
        let waited = tokio::time::timeout(Duration::from_millis(250), &mut call).await;
        assert!(waited.is_err(), "the server stands still");
        Self { verrou, held, call }
    }

    /// It is killed by now.
    async fn end(self, secrets: &mut Secrets) {
        let call = soon("the call", self.call).await;
        secrets.failed("a killed server", call.unwrap());
        let lock = self.verrou.create_lock("other");
        secrets.failed("no server", lock.acquire().await);
        secrets.failed("no server", lock.inspect().await);
        secrets.failed("no server", lock.force_release().await);
        secrets.failed("no server", self.held.extend(MINUTE).await);
        // Renewals fail, until the lease is lost.
        soon("the loss", self.held.lost()).await;
        secrets.show(&self.held);
        secrets.failed("a lost lock", self.held.check());
        secrets.failed("a lost lock", self.held.release().await);
        let _ = self.verrou.shutdown().await;
    }
}

async fn redis(secrets: &mut Secrets) {
    let mut server = Server::with(&["--save", "", "--requirepass", CANARY]);
    let port = server.port();
    let of = |password: &str, rest: &str| format!("redis://:{password}@127.0.0.1:{port}/{rest}");
    let good = of(IN_URL, "");
    for (what, url) in [
        ("a wrong password", of(&format!("{IN_URL}x"), "")),
        ("a wrong user", good.replace("://:", "://nobody:")),
        (
            "a refused port",
            good.replace(&port.to_string(), &free_port().to_string()),
        ),
        ("a raw password", of(CANARY, "")),
        ("no port", good.replace(&port.to_string(), "99999")),
        ("a bad escape", of("c%zz-canary", "x")),
        ("another scheme", good.replace("redis:", "postgres:")),
        ("no scheme", good.replace("redis://", "")),
        (
            "an unknown option",
            of(IN_URL, &format!("?pasword={IN_URL}")),
        ),
        ("a bad option", of(IN_URL, &format!("?protocol={IN_URL}"))),
        ("no database", of(IN_URL, "canary")),
        ("no such database", of(IN_URL, "4711")),
        // The server knows no TLS; or the build does not.
        ("no TLS", good.replace("redis:", "rediss:")),
    ] {
        secrets.show(&RedisStore::builder(&url));
        secrets.failed(what, RedisStore::connect(&url).await);
    }
    let client = ::redis::Client::open(&*good).unwrap();
    secrets.show(&RedisStore::from_client(client.clone()));
    let manager = client.get_connection_manager().await.unwrap();
    secrets.show(&RedisStore::from_connection_manager(
        client.clone(),
        manager,
    ));
    // One server is no cluster, and no sentinel.
    let cluster = ::redis::cluster::ClusterClient::new([&*good]).unwrap();
    let cluster = RedisStore::from_cluster_client(cluster);
    secrets.show(&cluster);
    secrets.failed("no cluster", cluster.connect().await);
    let sentinel = ::redis::sentinel::SentinelClient::build(
        vec![&*good],
        "locks",
        None,
        ::redis::sentinel::SentinelServerType::Master,
    );
    let sentinel = RedisStore::from_sentinel(sentinel.unwrap());
    secrets.show(&sentinel);
    secrets.failed("no sentinel", sentinel.connect().await);
    let bad = RedisStore::builder(&good).prefix("{canary}\n");
    secrets.failed("a bad prefix", bad.connect().await);

    let owners = async |key: &str| {
        let lock: Vec<u8> = redis::ask(&good, &["GET", &format!("verrou:{{k:{key}}}lock")]);
        vec![lock[1..17].to_vec()]
    };
    for builder in [
        RedisStore::builder(&good),
        RedisStore::builder(&good).protocol(::redis::ProtocolVersion::RESP3),
        RedisStore::from_client(client),
    ] {
        let store = builder.connect().await.unwrap();
        secrets.show(store.warnings());
        is_used(secrets, &store, async || owners("secret").await).await;
    }
    // A key of ours that holds something else.
    let store = RedisStore::connect(&good).await.unwrap();
    let () = redis::ask(&good, &["LPUSH", "verrou:{k:list}lock", "x"]);
    let lock = LockFactory::new(store.clone()).create_lock("list");
    secrets.failed("a list", lock.acquire().await);

    let verrou = verrou_on(store);
    let held = MidCall::hold(&verrou).await;
    secrets.hide_owners(owners("held").await);
    server.freeze();
    let call = MidCall::begin(verrou, held).await;
    server.kill();
    call.end(secrets).await;
}

/// The redis crate says what it does on a cluster, command by command, to `log`.
async fn redis_cluster(secrets: &mut Secrets) {
    let cluster = redis::Cluster::start();
    for node in cluster.nodes() {
        let () = node.ask(&["CONFIG", "SET", "requirepass", CANARY]);
    }
    let urls = |password: &str| -> Vec<String> {
        let ports = cluster.nodes().iter().map(Server::port);
        ports
            .map(|port| format!("redis://:{password}@127.0.0.1:{port}/"))
            .collect()
    };
    let good = urls(IN_URL);
    let client = |urls: &[String]| ::redis::cluster::ClusterClient::new(urls.to_vec()).unwrap();
    let wrong = RedisStore::from_cluster_client(client(&urls("canary")));
    secrets.failed("a wrong password", wrong.connect().await);

    let owners = async |key: &str| {
        let name = format!("verrou:{{k:{key}}}lock");
        // The other nodes do not have the slot.
        let found = good
            .iter()
            .filter_map(|url| redis::try_ask::<Vec<u8>>(url, &["GET", &name]).ok());
        let found = found.filter(|lock| lock.len() > 17);
        found.map(|lock| lock[1..17].to_vec()).collect::<Vec<_>>()
    };
    let connect = || RedisStore::from_cluster_client(client(&good)).connect();
    let store = connect().await.unwrap();
    let known = secrets.owners();
    is_used(secrets, &store, async || owners("secret").await).await;
    assert!(secrets.owners() >= known + 6, "owners are read");

    let verrou = verrou_on(connect().await.unwrap());
    let held = MidCall::hold(&verrou).await;
    secrets.hide_owners(owners("held").await);
    for node in cluster.nodes() {
        node.freeze();
    }
    let call = MidCall::begin(verrou, held).await;
    drop(cluster);
    call.end(secrets).await;
}

async fn postgres(secrets: &mut Secrets) {
    let server = PostgresServer::start();
    let (good, port) = (server.url(), server.port());
    let raw = good.replace(postgres::PASSWORD_IN_URL, CANARY);
    for (what, url) in [
        (
            "a wrong password",
            good.replace(postgres::PASSWORD_IN_URL, IN_URL),
        ),
        ("a wrong role", server.url_of("nobody", "postgres")),
        ("no such database", server.url_of("postgres", "nothing")),
        (
            "a refused port",
            good.replace(&port.to_string(), &free_port().to_string()),
        ),
        ("a raw password", raw),
        ("no port", good.replace(&port.to_string(), "99999")),
        ("a bad escape", good.replace("s3cret", "s3cret%zz")),
        ("another scheme", good.replace("postgres:", "mysql:")),
        ("no scheme", good.replace("postgres://", "")),
        ("an unknown option", format!("{good}?pasword={IN_URL}")),
        ("a bad option", format!("{good}?sslmode={IN_URL}")),
        // The server knows no TLS; or the build does not.
        ("no TLS", format!("{good}?sslmode=require")),
        (
            "no TLS",
            format!("{good}?sslmode=verify-full&sslrootcert=/canary.pem"),
        ),
    ] {
        secrets.show(&PostgresStore::builder(&url));
        secrets.failed(what, PostgresStore::connect(&url).await);
        let listening = PostgresStore::builder(&good).listen_url(&url);
        secrets.show(&listening);
        match listening.connect().await {
            Ok(store) => secrets.show(&store),
            Err(error) => secrets.show_error(&error),
        }
    }
    let bad = PostgresStore::builder(&good).table("evil\"; --");
    secrets.failed("a bad table", bad.connect().await);

    let pool = sqlx::PgPool::connect(&good).await.unwrap();
    secrets.show(&PostgresStore::from_pool(pool.clone()));
    let owners = async || -> Vec<Vec<u8>> {
        let select = "SELECT owner FROM verrou_locks WHERE owner IS NOT NULL AND expiry <> 0";
        sqlx::query_scalar(select).fetch_all(&pool).await.unwrap()
    };
    for builder in [
        PostgresStore::builder(&good),
        PostgresStore::builder(&good).transaction_pooler(),
        PostgresStore::from_pool(pool.clone()),
    ] {
        let store = builder.connect().await.unwrap();
        is_used(secrets, &store, &owners).await;
    }
    let store = PostgresStore::connect(&good).await.unwrap();
    secrets.show(&store.purge(Duration::ZERO).await);
    let verrou = verrou_on(store);
    let held = MidCall::hold(&verrou).await;
    secrets.hide_owners(owners().await);
    // An error whose detail quotes the row, owner and all.
    let change = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };
    change("ALTER TABLE verrou_locks ADD CONSTRAINT c CHECK (expiry = 0) NOT VALID").await;
    secrets.failed("a constraint", held.extend(MINUTE).await);
    change("ALTER TABLE verrou_locks DROP CONSTRAINT c").await;
    let lock = verrou.create_lock("gone");
    change("ALTER TABLE verrou_locks RENAME TO away").await;
    secrets.failed("no table", lock.acquire().await);
    change("ALTER TABLE away RENAME TO verrou_locks").await;

    server.signal(Signal::STOP);
    let call = MidCall::begin(verrou, held).await;
    server.kill();
    call.end(secrets).await;
}

async fn mysql(secrets: &mut Secrets) {
    let mut server = MariaDb::start(&[]).await;
    let (good, port) = (server.database("").await, server.port());
    let raw = format!("mysql://verrou:{CANARY}@127.0.0.1:{port}/db");
    for (what, url) in [
        ("a wrong password", good.replace("canary@", "canaryx@")),
        ("a wrong password", raw.replace(CANARY, IN_URL)),
        ("a wrong role", good.replace("verrou:", "nobody:")),
        ("no such database", server.url("nothing")),
        (
            "a refused port",
            good.replace(&port.to_string(), &free_port().to_string()),
        ),
        ("a raw password", raw),
        ("no port", good.replace(&port.to_string(), "99999")),
        ("a bad escape", good.replace("canary@", "canary%zz@")),
        ("another scheme", good.replace("mysql:", "redis:")),
        ("no scheme", good.replace("mysql://", "")),
        ("an unknown option", format!("{good}?pasword={IN_URL}")),
        ("a bad option", format!("{good}?ssl-mode={IN_URL}")),
        // The server knows no TLS; or the build does not.
        ("no TLS", format!("{good}?ssl-mode=REQUIRED")),
        (
            "no TLS",
            format!("{good}?ssl-mode=VERIFY_CA&ssl-ca=/canary.pem"),
        ),
    ] {
        secrets.show(&MySqlStore::builder(&url));
        secrets.failed(what, MySqlStore::connect(&url).await);
    }
    let bad = MySqlStore::builder(&good).table("evil`; --");
    secrets.failed("a bad table", bad.connect().await);

    let pool = mariadb::pool(&good, 2).await;
    secrets.show(&MySqlStore::from_pool(pool.clone()));
    let owners = async || -> Vec<Vec<u8>> {
        let select = "SELECT owner FROM verrou_locks WHERE owner IS NOT NULL AND expiry <> 0";
        sqlx::query_scalar(select).fetch_all(&pool).await.unwrap()
    };
    for builder in [
        MySqlStore::builder(&good),
        MySqlStore::builder(&good).__read_back(),
        MySqlStore::from_pool(pool.clone()),
    ] {
        let store = builder.connect().await.unwrap();
        is_used(secrets, &store, &owners).await;
    }
    let store = MySqlStore::connect(&good).await.unwrap();
    secrets.show(&store.purge(Duration::ZERO).await);
    let verrou = verrou_on(store);
    let held = MidCall::hold(&verrou).await;
    secrets.hide_owners(owners().await);
    let change = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    };
    let lock = verrou.create_lock("gone");
    change("RENAME TABLE verrou_locks TO away").await;
    secrets.failed("no table", lock.acquire().await);
    change("RENAME TABLE away TO verrou_locks").await;

    server.freeze().await;
    let call = MidCall::begin(verrou, held).await;
    server.kill();
    call.end(secrets).await;
}

async fn sqlite(secrets: &mut Secrets) {
    let folder = Folder::new();
    let file = folder.file("canary.db");
    let good = format!("sqlite:{file}");
    let in_file = format!("{file}/x");
    for (what, url) in [
        ("another scheme", format!("postgres://me:{IN_URL}@host/db")),
        ("an unknown option", format!("{good}?pasword={IN_URL}")),
        ("a bad option", format!("{good}?mode={IN_URL}")),
        ("no folder", "sqlite:/no/such/canary/x.db".to_owned()),
        ("a folder", folder.path().display().to_string()),
    ] {
        secrets.show(&SqliteStore::builder(&url));
        secrets.failed(what, SqliteStore::connect(&url).await);
    }
    let bad = SqliteStore::builder(&good).table("evil\"; --");
    secrets.failed("a bad table", bad.connect().await);
    let store = SqliteStore::connect(&good).await.unwrap();
    secrets.failed("a file as a folder", SqliteStore::connect(&in_file).await);
    let pool = sqlx::SqlitePool::connect(&good).await.unwrap();
    secrets.show(&SqliteStore::from_pool(pool.clone()));
    let owners = async || -> Vec<Vec<u8>> {
        let select = "SELECT owner FROM verrou_locks WHERE owner IS NOT NULL AND expiry <> 0";
        sqlx::query_scalar(select).fetch_all(&pool).await.unwrap()
    };
    is_used(secrets, &store, &owners).await;
    let of_pool = SqliteStore::from_pool(pool.clone())
        .connect()
        .await
        .unwrap();
    is_used(secrets, &of_pool, &owners).await;
    secrets.show(&store.purge(Duration::ZERO).await);
    let lock = LockFactory::new(store).create_lock("gone");
    let gone = "ALTER TABLE verrou_locks RENAME TO away";
    sqlx::raw_sql(gone).execute(&pool).await.unwrap();
    secrets.failed("no table", lock.acquire().await);
}

/// What `test` shows, and all that was logged by then, has none of its secrets; and the libraries were heard, not only we.
async fn nothing_is_shown(targets: &[&str], test: impl AsyncFnOnce(&mut Secrets)) {
    secrets::collect();
    let mut secrets = Secrets::new(&WORDS);
    test(&mut secrets).await;
    for target in targets {
        let seen = secrets::seen();
        let found = seen.iter().any(|seen| seen.target.starts_with(target));
        assert!(found, "nothing of {target} was collected");
    }
    assert!(secrets.owners() >= 10, "{}", secrets.owners());
    secrets.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_shows_and_logs_no_secret() {
    if !skipped("redis") {
        nothing_is_shown(&["verrou", "redis"], async |secrets| {
            redis(secrets).await;
            redis_cluster(secrets).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_shows_and_logs_no_secret() {
    if !skipped("postgres") {
        nothing_is_shown(&["verrou", "sqlx"], postgres).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_shows_and_logs_no_secret() {
    if !skipped("mysql") {
        nothing_is_shown(&["verrou", "sqlx"], mysql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_shows_and_logs_no_secret() {
    nothing_is_shown(&["verrou", "sqlx"], sqlite).await;
}

/// Whether [`Secrets::check`] finds what is shown.
fn is_found(show: impl FnOnce(&mut Secrets, &[u8; 16])) -> bool {
    let mut secrets = Secrets::new(&[CANARY]);
    let owner = *Owner::random().unwrap().as_bytes();
    secrets.hide_owners([owner.to_vec()]);
    show(&mut secrets, &owner);
    std::panic::catch_unwind(|| secrets.check()).is_err()
}

#[test]
fn a_secret_that_is_shown_is_found() {
    assert!(!is_found(|secrets, _| secrets.show("nothing")));
    assert!(is_found(|secrets, _| secrets.show(&[format!("x{CANARY}")])));
    assert!(is_found(|secrets, owner| secrets.show(owner)));
    assert!(is_found(|secrets, owner| {
        let number = u128::from_be_bytes(*owner);
        secrets.show(&format!("{number:032X}"));
    }));
    assert!(is_found(|secrets, _| {
        let cause = std::io::Error::other(CANARY);
        secrets.show_error(&std::io::Error::other(cause));
    }));
}

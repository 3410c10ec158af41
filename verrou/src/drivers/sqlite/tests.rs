//! The driver on real files. What all drivers promise alike is tested by the suite in `testkit`.

mod concurrency;
mod together;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, SqlitePool};

use super::*;
use crate::error::{ConnectKind, Outcome};
use crate::store::Owner;

type Tested = Result<(), Box<dyn std::error::Error>>;

const TTL: Duration = Duration::from_secs(20);

/// A directory that is gone with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> std::io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("verrou-sqlite-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file("locks.db").display())
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(self.file("locks.db"))
            .create_if_missing(true)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(text: &str) -> Result<StoredKey, Error> {
    StoredKey::new("", text)
}

fn acquire(key: &StoredKey, owner: Owner) -> AcquireRequest {
    AcquireRequest::new(key.clone(), owner, TTL)
}

async fn granted(store: &SqliteStore, key: &StoredKey, owner: Owner) -> Result<u64, String> {
    match store.acquire(acquire(key, owner)).await {
        Ok(Acquired::Granted { token }) => Ok(token.get()),
        other => Err(format!("{other:?}")),
    }
}

/// An error with all of its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

/// The error has this kind, and says so in these words.
#[track_caller]
fn refused(result: Result<SqliteStore, Error>, kind: ConnectKind, phrase: &str) {
    match result {
        Err(Error::Connect {
            kind: found,
            driver,
            source: Some(source),
        }) => {
            let told = told(&*source);
            assert_eq!((driver, found), (DRIVER, kind), "{told}");
            assert!(told.contains(phrase), "{told}");
        }
        other => panic!("{other:?} instead of `{phrase}`"),
    }
}

/// Changes the file behind the driver's back.
async fn execute(path: &Path, sql: &str) -> Result<u64, sqlx::Error> {
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .connect()
        .await?;
    let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await?;
    sqlx::Connection::close(connection).await?;
    Ok(done.rows_affected())
}

#[tokio::test]
async fn a_lease_is_taken_renewed_handed_over_and_freed() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (key, me, other) = (key("k")?, Owner::random()?, Owner::random()?);

    let mut request = acquire(&key, me);
    request.holder = Arc::from("api\0-7");
    let Acquired::Granted { token } = store.acquire(request.clone()).await? else {
        return Err("not granted".into());
    };
    assert_eq!(store.acquire(request).await?, Acquired::Granted { token });
    let Acquired::Held { remaining } = store.acquire(acquire(&key, other)).await? else {
        return Err("granted twice".into());
    };
    assert!(remaining <= TTL && remaining > TTL / 2, "{remaining:?}");
    let holding = store.inspect(InspectRequest::new(key.clone())).await?;
    let holding = holding.ok_or("free")?;
    assert_eq!((&*holding.holder, holding.token), ("api\0-7", token));

    let renew = |owner, ttl| RenewRequest::new(key.clone(), owner, ttl);
    assert_eq!(store.renew(renew(me, TTL * 2)).await?, Reply::Done);
    assert_eq!(
        store.renew(renew(me, Duration::from_millis(10))).await?,
        Reply::Done
    );
    assert_eq!(store.renew(renew(other, TTL)).await?, Reply::NotHeld);
    let holding = store.inspect(InspectRequest::new(key.clone())).await?;
    assert!(holding.ok_or("free")?.remaining > TTL, "it was shortened");

    let adopt = AdoptRequest::new(key.clone(), me, other, TTL);
    assert_eq!(
        store.adopt(adopt.clone()).await?,
        Adopted::Adopted { token }
    );
    assert_eq!(store.adopt(adopt).await?, Adopted::Adopted { token });
    assert_eq!(store.renew(renew(me, TTL)).await?, Reply::NotHeld);

    let release = |owner| ReleaseRequest::new(key.clone(), owner);
    assert_eq!(store.release(release(me)).await?, Reply::NotHeld);
    assert_eq!(store.release(release(other)).await?, Reply::Done);
    assert_eq!(store.release(release(other)).await?, Reply::NotHeld);
    assert_eq!(store.inspect(InspectRequest::new(key.clone())).await?, None);
    assert!(granted(&store, &key, me).await? > token.get());
    assert!(
        store
            .force_release(ForceReleaseRequest::new(key.clone()))
            .await?
    );
    assert!(
        !store
            .force_release(ForceReleaseRequest::new(key.clone()))
            .await?
    );
    Ok(())
}

#[tokio::test]
async fn a_release_may_keep_the_key_taken_under_nobody() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (key, me) = (key("k")?, Owner::random()?);
    granted(&store, &key, me).await?;
    let release = ReleaseRequest::new(key.clone(), me).keep(TTL * 3);
    assert_eq!(store.release(release).await?, Reply::Done);
    let holding = store.inspect(InspectRequest::new(key.clone())).await?;
    let holding = holding.ok_or("free")?;
    assert_eq!(holding.holder, "");
    assert!(holding.remaining > TTL * 2);
    assert!(granted(&store, &key, me).await.is_err());
    assert_eq!(
        store.renew(RenewRequest::new(key.clone(), me, TTL)).await?,
        Reply::NotHeld
    );
    Ok(())
}

#[tokio::test]
async fn an_expired_lease_is_nobodys_and_a_rise_of_the_token() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (key, me, other) = (key("k")?, Owner::random()?, Owner::random()?);
    let request = AcquireRequest::new(key.clone(), me, Duration::from_millis(10));
    let Acquired::Granted { token } = store.acquire(request).await? else {
        return Err("not granted".into());
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while store
        .inspect(InspectRequest::new(key.clone()))
        .await?
        .is_some()
    {
        assert!(Instant::now() < deadline, "it does not expire");
    }
    assert_eq!(
        store.renew(RenewRequest::new(key.clone(), me, TTL)).await?,
        Reply::NotHeld
    );
    assert_eq!(
        store.release(ReleaseRequest::new(key.clone(), me)).await?,
        Reply::NotHeld
    );
    assert!(granted(&store, &key, other).await? > token.get());
    Ok(())
}

#[tokio::test]
async fn a_lease_from_before_a_reboot_is_over() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (key, me, other) = (key("k")?, Owner::random()?, Owner::random()?);
    let before = granted(&store, &key, me).await?;
    execute(
        &dir.file("locks.db"),
        "UPDATE verrou_locks SET boot = 'another'",
    )
    .await?;
    assert_eq!(store.inspect(InspectRequest::new(key.clone())).await?, None);
    assert_eq!(store.list(ListRequest::new("")).await?.listed, []);
    let renew = RenewRequest::new(key.clone(), me, TTL);
    assert_eq!(store.renew(renew).await?, Reply::NotHeld);
    assert!(granted(&store, &key, other).await? > before);
    Ok(())
}

#[tokio::test]
async fn tokens_that_are_used_up_are_an_error() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (key, me, other) = (key("k")?, Owner::random()?, Owner::random()?);
    granted(&store, &key, me).await?;
    let file = dir.file("locks.db");
    execute(
        &file,
        "UPDATE verrou_locks SET token = 9223372036854775806, expiry = 0",
    )
    .await?;
    assert_eq!(granted(&store, &key, me).await?, i64::MAX as u64);
    assert_eq!(granted(&store, &key, me).await?, i64::MAX as u64);
    assert!(matches!(
        store.acquire(acquire(&key, other)).await?,
        Acquired::Held { .. }
    ));
    let pass = PassRequest::new(key.clone(), me, other, TTL);
    let Err(error) = store.pass(pass).await else {
        return Err("passed on".into());
    };
    assert_eq!(error.outcome(), Outcome::NotApplied);
    store.release(ReleaseRequest::new(key.clone(), me)).await?;
    let Err(error) = store.acquire(acquire(&key, other)).await else {
        return Err("granted".into());
    };
    assert_eq!(error.outcome(), Outcome::NotApplied);
    Ok(())
}

#[tokio::test]
async fn a_batch_of_renewals_answers_each() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (me, other) = (Owner::random()?, Owner::random()?);
    let mut requests = Vec::new();
    for number in 0..300 {
        let key = key(&number.to_string())?;
        if number % 3 != 0 {
            granted(&store, &key, me).await?;
        }
        requests.push(RenewRequest::new(
            key,
            if number % 3 == 1 { other } else { me },
            TTL * 4,
        ));
    }
    // The same twice, and one key for two owners.
    requests.push(requests[2].clone());
    requests.push(RenewRequest::new(requests[2].key.clone(), other, TTL));
    let replies = store.renew_many(requests.clone()).await;
    assert_eq!(replies.len(), 302);
    for (number, answer) in replies.into_iter().enumerate() {
        let held = number == 300 || (number < 300 && number % 3 == 2);
        assert_eq!(answer?, reply(held), "{number}");
    }
    let holding = store
        .inspect(InspectRequest::new(requests[2].key.clone()))
        .await?;
    assert!(holding.ok_or("free")?.remaining > TTL * 3);
    assert!(store.renew_many(Vec::new()).await.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_list_is_by_bytes() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    for text in ["a%", "a_b", "ab", "aB", "a\u{10ffff}x", "b", "A"] {
        granted(&store, &key(text)?, Owner::random()?).await?;
    }
    let freed = Owner::random()?;
    granted(&store, &key("a-free")?, freed).await?;
    store
        .release(ReleaseRequest::new(key("a-free")?, freed))
        .await?;
    let found = async |prefix: &str| -> Result<Vec<String>, StoreError> {
        let listed = store.list(ListRequest::new(prefix)).await?.listed;
        Ok(listed
            .into_iter()
            .map(|one| one.key.key().to_owned())
            .collect())
    };
    assert_eq!(
        found(":a").await?,
        ["a%", "aB", "a_b", "ab", "a\u{10ffff}x"]
    );
    assert_eq!(found(":a%").await?, ["a%"]);
    assert_eq!(found("").await?.len(), 7);
    assert!(found(":c").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_a_store_is_refused_by_kind_and_told_why() -> Tested {
    use ConnectKind::*;
    let dir = Dir::new()?;
    let path = |name: &str| dir.file(name).display().to_string();

    for (url, kind, phrase) in [
        (
            path(""),
            NotAStore,
            "is a directory; give the path of a file",
        ),
        ("/dev/null".into(), NotAStore, "is a device"),
        (
            path("no/such/dir.db"),
            Unreachable,
            "directory of the file does not exist",
        ),
        (
            format!("sqlite:{}?mode=rw", path("missing.db")),
            Unreachable,
            "`mode=rw` does not create it",
        ),
        (":memory:".into(), Isolated, "in memory"),
        ("postgres://me:secret@h/db".into(), Url, "`postgres` urls"),
        (
            format!("sqlite:{}?key=secret", path("x.db")),
            Url,
            "the option `key` is unknown",
        ),
    ] {
        refused(SqliteStore::connect(&url).await, kind, phrase);
    }
    assert!(!dir.file("missing.db").exists());

    std::fs::write(
        dir.file("text"),
        "this is no database, and never was one\n".repeat(50),
    )?;
    refused(
        SqliteStore::connect(&path("text")).await,
        NotAStore,
        "file is not a database",
    );

    execute(&dir.file("two.db"), "CREATE TABLE x (y)").await?;
    std::fs::hard_link(dir.file("two.db"), dir.file("names.db"))?;
    refused(
        SqliteStore::connect(&path("names.db")).await,
        Unsupported,
        "several names",
    );
    let elsewhere = SqliteStore::builder(&path("one.db")).table("jobs.locks");
    refused(
        elsewhere.connect().await,
        Schema,
        "no database is attached as `jobs`",
    );
    Ok(())
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused_and_told_where() -> Tested {
    let dir = Dir::new()?;
    let path = |name: &str| dir.file(name).display().to_string();
    let right = SqliteStore::schema_sql();
    for (name, sql, phrase) in [
        (
            "other.db",
            "CREATE TABLE verrou_locks (id INTEGER PRIMARY KEY)".to_owned(),
            "column `id` of the table `verrou_locks` is not verrou's",
        ),
        (
            "view.db",
            "CREATE VIEW verrou_locks AS SELECT 1 AS key".to_owned(),
            "`verrou_locks` is a view",
        ),
        (
            "nokey.db",
            "CREATE TABLE verrou_locks (key BLOB NOT NULL, owner BLOB, holder TEXT NOT NULL, token INTEGER NOT NULL, boot TEXT NOT NULL, granted INTEGER NOT NULL, expiry INTEGER NOT NULL)".to_owned(),
            "column `key` of the table `verrou_locks` has to be BLOB NOT NULL, and alone the primary key",
        ),
        (
            "less.db",
            "CREATE TABLE verrou_locks (key BLOB NOT NULL PRIMARY KEY, owner BLOB)".to_owned(),
            "the table `verrou_locks` has no column `holder`",
        ),
        (
            "type.db",
            right.replace("token INTEGER", "token TEXT"),
            "column `token` of the table `verrou_locks` has to be INTEGER NOT NULL",
        ),
    ] {
        execute(&dir.file(name), &sql).await?;
        refused(
            SqliteStore::connect(&path(name)).await,
            ConnectKind::Schema,
            phrase,
        );
    }
    let bare = SqliteStore::builder(&path("bare.db")).create_table(false);
    refused(
        bare.connect().await,
        ConnectKind::Schema,
        "the table `verrou_locks` is missing; create it with what `SqliteStore::schema_sql()`",
    );
    Ok(())
}

/// Permissions do not stop root.
#[cfg(unix)]
#[tokio::test]
async fn a_missing_right_is_refused_by_kind() -> Tested {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    store.close().await;
    let file = dir.file("locks.db");
    assert_eq!(
        std::fs::metadata(&file)?.permissions().mode() & 0o777,
        0o600
    );

    let read_only = SqlitePool::connect_with(dir.options().read_only(true)).await?;
    let store = SqliteStore::from_pool(read_only.clone()).connect().await;
    refused(store, ConnectKind::ReadOnly, "readonly database");
    read_only.close().await;
    let store = SqliteStore::connect(&format!("{}?mode=ro", dir.url())).await;
    refused(store, ConnectKind::ReadOnly, "`mode=ro`");

    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file)?) != 0 {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o400))?;
        let store = SqliteStore::connect(&dir.url()).await;
        refused(store, ConnectKind::ReadOnly, "can be read but not written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o0))?;
        let store = SqliteStore::connect(&dir.url()).await;
        refused(store, ConnectKind::Rights, "rights of this process");
        std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o0))?;
        let store = SqliteStore::connect(&dir.url()).await;
        refused(store, ConnectKind::Rights, "rights of this process");
        std::fs::set_permissions(&dir.0, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[tokio::test]
async fn options_are_checked_before_the_file() -> Tested {
    let dir = Dir::new()?;
    for table in ["x\"; DROP TABLE y; --", "", "sqlite_locks", "a.b.c"] {
        let refused = SqliteStore::builder(&dir.url())
            .table(table)
            .connect()
            .await;
        assert!(
            matches!(
                refused,
                Err(Error::InvalidOption {
                    option: "table",
                    ..
                })
            ),
            "{table}"
        );
        assert!(SqliteStore::schema_sql_for(table).is_err());
    }
    let refused = SqliteStore::builder(&dir.url())
        .max_connections(0)
        .connect()
        .await;
    assert!(matches!(refused, Err(Error::InvalidOption { .. })));
    assert!(!dir.file("locks.db").exists());
    Ok(())
}

#[tokio::test]
async fn the_printed_schema_is_the_one_that_is_needed() -> Tested {
    let dir = Dir::new()?;
    execute(&dir.file("locks.db"), &SqliteStore::schema_sql_for("mine")?).await?;
    let builder = || SqliteStore::builder(&dir.url()).create_table(false);
    builder().table("mine").connect().await?;
    builder().table("main.MINE").connect().await?;
    refused(
        builder().table("main.other").connect().await,
        ConnectKind::Schema,
        "the table `main.other` is missing",
    );
    execute(&dir.file("locks.db"), &SqliteStore::schema_sql()).await?;
    builder().connect().await?;
    Ok(())
}

#[tokio::test]
async fn a_pool_in_memory_is_refused() -> Tested {
    for url in ["sqlite::memory:", "sqlite:x?mode=memory", "sqlite:"] {
        let pool = SqlitePool::connect(url).await?;
        let store = SqliteStore::from_pool(pool).connect().await;
        refused(store, ConnectKind::Isolated, "in memory");
    }
    Ok(())
}

#[tokio::test]
async fn a_users_pool_is_shared_and_left_open() -> Tested {
    let dir = Dir::new()?;
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(dir.options())
        .await?;
    let store = SqliteStore::from_pool(pool.clone())
        .table("main.own")
        .connect()
        .await?;
    let (key, me) = (key("k")?, Owner::random()?);
    granted(&store, &key, me).await?;

    // The keeper's sibling works while the pool has no connection left.
    let busy = pool.acquire().await?;
    let sibling = store.for_keeper().ok_or("no sibling")?;
    let renew = RenewRequest::new(key.clone(), me, TTL);
    assert_eq!(sibling.renew(renew).await?, Reply::Done);
    assert_eq!(
        sibling
            .release(ReleaseRequest::new(key.clone(), me))
            .await?,
        Reply::Done
    );
    sibling.close().await;
    drop(busy);

    // The listener opens its own as well.
    let there = SqliteStore::builder(&dir.url())
        .table("own")
        .connect()
        .await?;
    granted(&there, &key, me).await?;
    let mut watch = store.watch(&key);
    there.release(ReleaseRequest::new(key.clone(), me)).await?;
    tokio::time::timeout(Duration::from_secs(10), watch.hint()).await?;

    store.close().await;
    assert!(!pool.is_closed());
    sqlx::query("SELECT 1 FROM own").execute(&pool).await?;
    Ok(())
}

#[tokio::test]
async fn a_sibling_has_connections_of_its_own() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (key, me) = (key("k")?, Owner::random()?);
    granted(&store, &key, me).await?;
    let sibling = store.for_keeper().ok_or("no sibling")?;
    store.close().await;
    assert_eq!(
        store
            .renew(RenewRequest::new(key.clone(), me, TTL))
            .await
            .map_err(|e| e.outcome()),
        Err(Outcome::NotApplied)
    );
    assert_eq!(
        sibling.release(ReleaseRequest::new(key, me)).await?,
        Reply::Done
    );
    sibling.close().await;
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_replaced_gets_no_new_connection() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    std::fs::remove_file(dir.file("locks.db"))?;
    let sibling = store.for_keeper().ok_or("no sibling")?;
    let gone = sibling.inspect(InspectRequest::new(key("k")?)).await;
    assert_eq!(gone.map_err(|e| e.outcome()), Err(Outcome::NotApplied));
    SqliteStore::connect(&dir.url()).await?;
    let other = sibling.inspect(InspectRequest::new(key("k")?)).await;
    assert_eq!(other.map_err(|e| e.outcome()), Err(Outcome::NotApplied));
    Ok(())
}

#[tokio::test]
async fn a_purge_takes_only_what_is_free_and_old() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let me = Owner::random()?;
    for number in 0..1200 {
        let key = key(&format!("{number:04}"))?;
        granted(&store, &key, me).await?;
        if number % 2 == 0 {
            store.release(ReleaseRequest::new(key, me)).await?;
        }
    }
    assert_eq!(store.purge(Duration::from_secs(3600)).await?, 0);
    let old = key("0002")?;
    let before = granted(&store, &old, me).await?;
    store.release(ReleaseRequest::new(old.clone(), me)).await?;
    // A token of the future is not below any time of now.
    let file = dir.file("locks.db");
    let future =
        "UPDATE verrou_locks SET token = token + 3600000000 WHERE key = CAST(':0004' AS BLOB)";
    assert_eq!(execute(&file, future).await?, 1);
    assert_eq!(store.purge(Duration::ZERO).await?, 599);
    let page = store.list(ListRequest::new("")).await?;
    assert_eq!((page.listed.len(), page.next), (600, None));
    assert!(granted(&store, &old, me).await? > before);
    assert_eq!(store.purge(Duration::ZERO).await?, 0);
    Ok(())
}

#[tokio::test]
async fn nothing_of_the_url_is_printed() -> Tested {
    let dir = Dir::new()?;
    let builder = SqliteStore::builder(&dir.url());
    assert!(!format!("{builder:?}").contains("locks.db"));
    let store = builder.connect().await?;
    assert!(!format!("{store:?}").contains("locks.db"));
    Ok(())
}

/// Another process may switch the file, or write to it, for longer than a set-up waits.
#[tokio::test]
async fn a_file_that_stays_locked_is_unreachable() -> Tested {
    let dir = Dir::new()?;
    let mut writer = dir.options().connect().await?;
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut writer).await?;
    let started = Instant::now();
    let store = SqliteStore::connect(&dir.url()).await;
    refused(store, ConnectKind::Unreachable, "keeps the file locked");
    assert!(started.elapsed() < Duration::from_secs(20));
    sqlx::query("COMMIT").execute(&mut writer).await?;
    SqliteStore::connect(&dir.url()).await?;
    Ok(())
}

/// The row of `RETURNING` comes before the commit. A full disk lets the commit fail just so; a constraint that is checked
/// at the commit does it without one.
#[tokio::test]
async fn a_grant_whose_commit_fails_is_none() -> Tested {
    let dir = Dir::new()?;
    let file = dir.file("locks.db");
    execute(&file, "CREATE TABLE other (id INTEGER PRIMARY KEY)").await?;
    execute(&file, &SqliteStore::schema_sql()).await?;
    let store = SqliteStore::connect(&dir.url()).await?;
    execute(
        &file,
        "ALTER TABLE verrou_locks ADD COLUMN other INTEGER REFERENCES other DEFERRABLE INITIALLY DEFERRED",
    )
    .await?;
    let spoil = "CREATE TRIGGER spoil AFTER INSERT ON verrou_locks BEGIN \
                 UPDATE verrou_locks SET other = 1 WHERE key = new.key; END";
    execute(&file, spoil).await?;
    let (key, me) = (key("k")?, Owner::random()?);
    let Err(error) = store.acquire(acquire(&key, me)).await else {
        return Err("granted".into());
    };
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert_eq!(store.inspect(InspectRequest::new(key.clone())).await?, None);
    execute(&file, "INSERT INTO other VALUES (1)").await?;
    granted(&store, &key, me).await?;
    Ok(())
}

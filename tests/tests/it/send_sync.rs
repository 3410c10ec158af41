//! Every public type and every public future crosses threads as the documentation says.

use std::time::Duration;

use verrou::drivers::{
    MemoryStore, MySqlBuilder, MySqlStore, PostgresBuilder, PostgresStore, RedisBuilder,
    RedisStore, RedisWarning, SqliteBuilder, SqliteStore,
};
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, Cursor, Doubt,
    ForceReleaseRequest, Holding, InspectRequest, ListRequest, Listed, Owner, Page, PassRequest,
    Passed, ReleaseRequest, RenewRequest, Reply, Sent, StoreError, StoredKey, Watch,
};
use verrou::testkit::{Backend as _, Case, FaultStore, Op, Rule, Shared};
use verrou::{
    Cause, ConnectKind, Error, FencingToken, Holder, Lock, LockFactory, LockGuard, LockOptions,
    LockStore, OnLost, Outcome, Pages, Retry, ScopeGuard, SerializedLock, Verrou, VerrouBuilder,
    Wait,
};

fn send<T: Send>(_: &T) {}

macro_rules! all {
    ($($type:ty),* $(,)?) => {
        $({
            fn crosses<T: Send + Sync + Unpin>() {}
            crosses::<$type>();
        })*
    };
}

#[test]
fn every_public_type_is_send_sync_and_unpin() {
    all!(
        AcquireRequest,
        Acquired,
        AdoptRequest,
        Adopted,
        Capabilities,
        Cursor,
        Doubt,
        Case,
        Cause,
        ConnectKind,
        Error,
        FaultStore<MemoryStore>,
        FencingToken,
        ForceReleaseRequest,
        Holder,
        Holding,
        InspectRequest,
        ListRequest,
        Listed,
        Lock,
        LockFactory,
        LockGuard,
        LockOptions,
        MemoryStore,
        MySqlBuilder,
        MySqlStore,
        OnLost,
        Op,
        Outcome,
        Owner,
        Page,
        Pages,
        PassRequest,
        Passed,
        PostgresBuilder,
        PostgresStore,
        RedisBuilder,
        RedisStore,
        RedisWarning,
        ReleaseRequest,
        RenewRequest,
        Reply,
        Retry,
        Rule,
        Sent,
        SerializedLock,
        Shared<MemoryStore>,
        SqliteBuilder,
        SqliteStore,
        StoreError,
        StoredKey,
        Verrou,
        VerrouBuilder,
        Wait,
        Watch,
    );
    fn is_static<T: Send + Sync + 'static>() {}
    is_static::<LockGuard>();
    is_static::<Error>();
}

/// The list above, against what the crate makes public.
#[test]
fn no_public_type_is_forgotten() {
    let source = include_str!("send_sync.rs");
    let (_, listed) = source.split_once("all!(\n").unwrap();
    let (listed, _) = listed.split_once(");").unwrap();
    let listed = words(listed);
    // Not `Send`, and tested as such below; traits.
    let others = ["ScopeGuard", "LockStore", "Backend"];
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../verrou/src/");
    let read = |file: &str| std::fs::read_to_string(format!("{root}{file}")).unwrap();
    let mut public = Vec::new();
    for file in ["lib.rs", "drivers.rs", "testkit.rs", "store.rs"] {
        for line in read(file).lines() {
            let named = line.strip_prefix("pub use ").or_else(|| {
                let rest = line.strip_prefix("pub struct ");
                let rest = rest.or_else(|| line.strip_prefix("pub enum "))?;
                rest.split([' ', '(', '<', ';']).next()
            });
            public.extend(words(named.unwrap_or_default()));
        }
    }
    assert!(public.len() > 35, "{public:?}");
    for name in public {
        assert!(
            listed.contains(&name) || others.contains(&name.as_str()),
            "`{name}` is not tested"
        );
    }
}

/// The words of `text` that begin like the name of a type.
fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(str::to_owned)
        .collect()
}

/// A scope belongs to its thread: this compiles only while `ScopeGuard` is not `Send`.
#[test]
fn a_scope_guard_stays_on_its_thread() {
    trait Ambiguous<A> {
        fn only_if_not_send() {}
    }
    struct IfSend;
    impl<T: ?Sized> Ambiguous<()> for T {}
    impl<T: ?Sized + Send> Ambiguous<IfSend> for T {}
    <ScopeGuard as Ambiguous<_>>::only_if_not_send();
}

#[tokio::test]
async fn every_public_future_is_send() {
    let verrou = Verrou::builder()
        .store("m", MemoryStore::new())
        .build()
        .unwrap();
    let locks = verrou.store("m").unwrap();
    let lock = verrou.create_lock("k");
    send(&lock.acquire());
    send(&lock.try_acquire());
    send(&lock.run(async |_| tokio::task::yield_now().await));
    send(&lock.try_run(async |guard| guard.lost().await));
    send(&lock.is_locked());
    send(&lock.inspect());
    send(&lock.force_release());
    send(&verrou.scope(async {}));
    send(&verrou.shutdown());
    send(&locks.list(""));
    send(&locks.list_pages("").next());
    send(&locks.close());
    let guard = lock.acquire().await.unwrap();
    send(&guard.extend(Duration::from_secs(1)));
    send(&guard.lost());
    let lost = guard.lost();
    tokio::spawn(lost);
    let other = verrou.create_lock("other").acquire().await.unwrap();
    send(&other.release());
    let serialized = guard.into_serialized().unwrap();
    send(&verrou.restore_lock(&serialized));
    send(&locks.restore_lock(&serialized));
    send(&MySqlStore::connect("mysql:unused"));
    send(&PostgresStore::connect("postgres:unused"));
    send(&RedisStore::connect("redis:unused"));
    send(&SqliteStore::connect("sqlite:unused"));
    send(&SqliteStore::builder("sqlite:unused").connect());
    let folder = tests::Folder::new();
    let sqlite = SqliteStore::connect(&folder.sqlite()).await.unwrap();
    send(&sqlite.purge(Duration::ZERO));
    every_call_is_send(&sqlite);
    sqlite.close().await;
    let store = FaultStore::new(MemoryStore::new());
    every_call_is_send(&store);
    every_call_is_send(&MemoryStore::new());
    send(&store.until(|_| true));
    send(&Shared::new(MemoryStore::new()).open());
    send(&Watch::none().hint());
    // A body that is not `Send` still runs.
    let local = std::rc::Rc::new(1);
    assert_eq!(
        verrou
            .create_lock("local")
            .run(async |_| *local)
            .await
            .unwrap(),
        1
    );
}

fn every_call_is_send(store: &impl LockStore) {
    let key = StoredKey::new("", "k").unwrap();
    let owner = Owner::random().unwrap();
    let ttl = Duration::from_secs(1);
    send(&store.acquire(AcquireRequest::new(key.clone(), owner, ttl)));
    send(&store.renew(RenewRequest::new(key.clone(), owner, ttl)));
    send(&store.renew_many(Vec::new()));
    send(&store.adopt(AdoptRequest::new(key.clone(), owner, owner, ttl)));
    send(&store.release(ReleaseRequest::new(key.clone(), owner)));
    send(&store.inspect(InspectRequest::new(key.clone())));
    send(&store.force_release(ForceReleaseRequest::new(key.clone())));
    send(&store.list(ListRequest::new("")));
    send(&store.close());
    send(&store.watch(&key));
}

//! Every public type and every public future crosses threads as the documentation says.

use std::time::Duration;

use verrou::drivers::{MemoryStore, SqliteStore};
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, Capabilities, ForceReleaseRequest, Holding,
    InspectRequest, Listed, Owner, ReleaseRequest, RenewRequest, Reply, Sent, StoreError,
    StoredKey, Watch,
};
use verrou::testkit::FaultStore;
use verrou::{
    ConnectKind, Error, FencingToken, Holder, Lock, LockFactory, LockGuard, LockOptions, LockStore,
    OnLost, Outcome, Retry, ScopeGuard, SerializedLock, Verrou, VerrouBuilder, Wait,
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
        ConnectKind,
        Error,
        FaultStore<MemoryStore>,
        FencingToken,
        ForceReleaseRequest,
        Holder,
        Holding,
        InspectRequest,
        Listed,
        Lock,
        LockFactory,
        LockGuard,
        LockOptions,
        MemoryStore,
        OnLost,
        Outcome,
        Owner,
        ReleaseRequest,
        RenewRequest,
        Reply,
        Retry,
        Sent,
        SerializedLock,
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
    send(&SqliteStore::connect("sqlite:unused"));
    send(&LockStore::close(&MemoryStore::new()));
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

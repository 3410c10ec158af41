//! What costs the keeper's thread its time or its life, in a process of its own: one test at a time.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use verrou::drivers::MemoryStore;
use verrou::store::{
    AcquireRequest, Acquired, AdoptRequest, Adopted, ForceReleaseRequest, Holding, InspectRequest,
    LockStore, ReleaseRequest, RenewRequest, Reply, StoreError,
};
use verrou::{LockFactory, Verrou};

const MS: Duration = Duration::from_millis(1);
static ALONE: Mutex<()> = Mutex::const_new(());

/// Memory whose releases of keys that begin with "slow" block the thread, as no driver may.
#[derive(Clone, Default)]
struct Blocking {
    memory: MemoryStore,
}
impl LockStore for Blocking {
    async fn acquire(&self, r: AcquireRequest) -> Result<Acquired, StoreError> {
        self.memory.acquire(r).await
    }
    async fn renew(&self, r: RenewRequest) -> Result<Reply, StoreError> {
        self.memory.renew(r).await
    }
    async fn adopt(&self, r: AdoptRequest) -> Result<Adopted, StoreError> {
        self.memory.adopt(r).await
    }
    async fn release(&self, r: ReleaseRequest) -> Result<Reply, StoreError> {
        if r.key.key().starts_with("slow") {
            std::thread::sleep(500 * MS);
        }
        self.memory.release(r).await
    }
    async fn inspect(&self, r: InspectRequest) -> Result<Option<Holding>, StoreError> {
        self.memory.inspect(r).await
    }
    async fn force_release(&self, r: ForceReleaseRequest) -> Result<bool, StoreError> {
        self.memory.force_release(r).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_misses_no_hold_whatever_the_keeper_is_doing() {
    let _alone = ALONE.lock().await;
    let store = Blocking::default();
    let verrou = Verrou::builder()
        .store("s", store.clone())
        .request_timeout(100 * MS)
        .build()
        .unwrap();
    let lock = |key: &str, ttl: u32| verrou.create_lock(key).ttl(ttl * MS);
    let started = Instant::now();
    let b = lock("b", 1500).acquire().await.unwrap(); // due at 500
    let a = lock("slow-a", 400).renew(false).acquire().await.unwrap(); // lost at 380
    let c = lock("slow-c", 150).renew(false).acquire().await.unwrap(); // lost at 140, blocks until 640
    tokio::time::sleep((800 * MS).saturating_sub(started.elapsed())).await;
    // Its releases block the keeper for longer than the shutdown takes, which says so.
    assert!(verrou.shutdown().await.is_err());
    assert!(!b.is_held(), "a live guard outlives the shutdown");
    drop((a, c));
    // The next test needs a keeper that does not stand still.
    tests::eventually("the keeper is done", || store.memory.is_empty()).await;
}

struct Panics;
impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the application");
    }
}

#[tokio::test]
async fn a_panic_in_a_waker_costs_no_other_lock() {
    let _alone = ALONE.lock().await;
    let locks = LockFactory::new(MemoryStore::new());
    let other = locks
        .create_lock("other")
        .ttl(300 * MS)
        .acquire()
        .await
        .unwrap();
    let guard = locks
        .create_lock("k")
        .ttl(50 * MS)
        .renew(false)
        .acquire()
        .await
        .unwrap();
    let mut lost = Box::pin(guard.lost());
    let waker = Waker::from(Arc::new(Panics));
    assert!(
        lost.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let other_lost = tokio::spawn(other.lost());
    tokio::time::sleep(1000 * MS).await;
    let told = other_lost.is_finished();
    assert!(
        other.is_held(),
        "lost, because the keeper died; lost() resolved: {told}"
    );
}

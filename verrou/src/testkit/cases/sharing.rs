//! Several stores on one place, and the sibling that renews for them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use crate::store::{
    AcquireRequest, AdoptRequest, ForceReleaseRequest, InspectRequest, ReleaseRequest,
    RenewRequest, Reply, Sent,
};
use crate::testkit::bench::{Bench, LONG, PATIENCE, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn stores_of_one_place_exclude_each_other(bench: &Bench) {
    let (one, other) = (bench.open().await, bench.open().await);
    let (key, holder) = (bench.key("k"), owner());
    let token = one.grant(&key, holder, LONG).await;
    other.held(&key, owner()).await;
    assert_eq!(
        other.holding(&key).await.token,
        token,
        "a store sees who holds a key through another store"
    );
    assert_eq!(
        one.release(&key, holder).await,
        Reply::Done,
        "the owner of a live lease can release it"
    );
    other
        .assert_free(&key, "a key that one store released is free for another")
        .await;
}

pub(crate) async fn an_owner_may_use_any_store_of_the_place(bench: &Bench) {
    let (one, other) = (bench.open().await, bench.open().await);
    let (key, holder) = (bench.key("k"), owner());
    let token = one.grant(&key, holder, LONG).await;
    assert_eq!(
        other.grant(&key, holder, LONG).await,
        token,
        "an acquire that is repeated through another store has won with the same token"
    );
    assert_eq!(
        other.renew(&key, holder, LONG).await,
        Reply::Done,
        "what one store acquired another can renew"
    );
    assert_eq!(
        other.release(&key, holder).await,
        Reply::Done,
        "what one store acquired another can release"
    );
    one.assert_free(&key, "a key that another store released is free")
        .await;
}

pub(crate) async fn a_force_release_is_seen_by_every_store(bench: &Bench) {
    let (one, other) = (bench.open().await, bench.open().await);
    let (key, former) = (bench.key("k"), owner());
    one.grant(&key, former, LONG).await;
    assert!(
        other.force_release(&key).await,
        "what one store acquired another can free by force"
    );
    assert_eq!(
        one.renew(&key, former, LONG).await,
        Reply::NotHeld,
        "an owner that was freed by force through another store has lost the key"
    );
}

pub(crate) async fn a_closed_store_leaves_the_others_open(bench: &Bench) {
    let (one, other) = (bench.open().await, bench.open().await);
    let (key, holder) = (bench.key("k"), owner());
    one.grant(&key, holder, LONG).await;
    one.close().await;
    drop(one);
    other.held(&key, owner()).await;
    assert_eq!(
        other.release(&key, holder).await,
        Reply::Done,
        "closing a store ends neither its leases nor the other stores"
    );
    other.close().await;
    other.close().await;
    drop(other);
    bench
        .open()
        .await
        .assert_free(
            &key,
            "a place can be opened again after its stores were closed",
        )
        .await;
}

pub(crate) async fn the_keepers_sibling_works_on_the_same_leases(bench: &Bench) {
    let store = bench.open().await;
    let (key, kept, holder, heir) = (bench.key("k"), bench.key("kept"), owner(), owner());
    let token = store.grant(&key, holder, LONG).await;
    store.grant(&kept, holder, LONG).await;
    let keeper = {
        let (store, key, kept) = (store.clone(), key.clone(), kept.clone());
        on_a_thread_of_its_own(move || async move {
            // No sibling: the store itself is what the keeper uses.
            let sibling = store.for_keeper().unwrap_or_else(|| store.clone());
            assert_eq!(
                sibling.renew(&key, holder, LONG * 2).await,
                Reply::Done,
                "the keeper can renew what the store acquired"
            );
            let batch = [&key, &kept].map(|key| RenewRequest::new(key.clone(), holder, LONG));
            assert_eq!(
                sibling.renew_many(batch.to_vec()).await,
                [Reply::Done, Reply::Done],
                "the keeper can renew what the store acquired, in a batch"
            );
            assert_eq!(
                sibling.holding(&key).await.token,
                token,
                "the keeper sees what the store sees"
            );
            assert_eq!(
                sibling.release(&key, holder).await,
                Reply::Done,
                "the keeper can release what the store acquired"
            );
            assert_eq!(
                sibling.release_keeping(&kept, holder, LONG).await,
                Reply::Done,
                "the keeper can release and keep what the store acquired"
            );
            sibling.close().await;
        })
    };
    joined(keeper).await;
    store
        .assert_free(&key, "what the keeper released is free")
        .await;
    store.held(&kept, heir).await;
}

pub(crate) async fn a_store_without_a_sibling_needs_no_runtime(bench: &Bench) {
    let store = bench.open().await;
    if store.for_keeper().is_some() {
        return has_a_working_sibling(bench).await;
    }
    let (key, holder, heir) = (bench.key("k"), owner(), owner());
    let asking = store.clone();
    let thread = thread::spawn(move || {
        without_a_runtime(async {
            asking.grant(&key, holder, LONG).await;
            assert_eq!(asking.renew(&key, holder, LONG).await, Reply::Done);
            asking.adopt(&key, holder, heir, LONG).await;
            asking.holding(&key).await;
            assert_eq!(asking.release(&key, heir).await, Reply::Done);
            asking.force_release(&key).await;
        });
    });
    joined(thread).await;
}

/// The other half of the promise: who has a sibling has one that is there for each keeper that comes.
async fn has_a_working_sibling(bench: &Bench) {
    let store = bench.open().await;
    for turn in 0..3 {
        let (key, holder) = (bench.key(&format!("k{turn}")), owner());
        store.grant(&key, holder, LONG).await;
        let asking = store.clone();
        // The keeper's thread ends and starts again: each time it asks for a sibling anew, and its runtime is gone after.
        let keeper = on_a_thread_of_its_own(move || async move {
            let sibling = asking
                .for_keeper()
                .expect("a store that has a sibling has one each time it is asked");
            assert_eq!(
                sibling.release(&key, holder).await,
                Reply::Done,
                "each sibling can release what the store acquired"
            );
        });
        joined(keeper).await;
    }
}

pub(crate) async fn a_driver_with_connections_marks_what_it_sends(bench: &Bench) {
    let store = bench.open().await;
    if store.for_keeper().is_none() {
        // A driver without I/O needs no mark, and may give one.
        return;
    }
    let (key, holder, heir) = (bench.key("k"), owner(), owner());
    let check = |call: &str, sent: &Sent, answered: bool| {
        assert!(answered, "a store that works answers, but `{call}` failed");
        assert!(
            sent.is_marked(),
            "a driver marks a call as sent before its first byte goes out, but `{call}` was not"
        );
    };
    let driver = store.driver();

    let mut request = AcquireRequest::new(key.clone(), holder, LONG);
    let sent = Sent::tracked();
    request.sent = sent.clone();
    check(
        "acquire",
        &sent,
        Arc::clone(&driver).acquire(request).await.is_ok(),
    );

    let mut request = RenewRequest::new(key.clone(), holder, LONG);
    let sent = Sent::tracked();
    request.sent = sent.clone();
    check(
        "renew",
        &sent,
        Arc::clone(&driver).renew(request).await.is_ok(),
    );

    let mut request = AdoptRequest::new(key.clone(), holder, heir, LONG);
    let sent = Sent::tracked();
    request.sent = sent.clone();
    check(
        "adopt",
        &sent,
        Arc::clone(&driver).adopt(request).await.is_ok(),
    );

    let mut request = InspectRequest::new(key.clone());
    let sent = Sent::tracked();
    request.sent = sent.clone();
    check(
        "inspect",
        &sent,
        Arc::clone(&driver).inspect(request).await.is_ok(),
    );

    let mut request = ReleaseRequest::new(key.clone(), heir);
    let sent = Sent::tracked();
    request.sent = sent.clone();
    check(
        "release",
        &sent,
        Arc::clone(&driver).release(request).await.is_ok(),
    );

    let mut request = ForceReleaseRequest::new(key);
    let sent = Sent::tracked();
    request.sent = sent.clone();
    check(
        "force_release",
        &sent,
        driver.force_release(request).await.is_ok(),
    );
}

pub(crate) async fn a_sent_call_can_be_finished_on_another_thread(bench: &Bench) {
    let store = bench.open().await;
    for turn in 0..5 {
        let (key, holder) = (bench.key(&format!("k{turn}")), owner());
        let mut request = AcquireRequest::new(key.clone(), holder, LONG);
        let sent = Sent::tracked();
        request.sent = sent.clone();
        let mut call = store.acquiring(request);
        // Up to where the core would hand it to the keeper when its caller is dropped.
        let since = Instant::now();
        let early = std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if sent.is_marked() => Poll::Ready(None),
            Poll::Pending => {
                assert!(since.elapsed() < PATIENCE, "a call is sent, or answers");
                Poll::Pending
            }
        })
        .await;
        if early.is_none() {
            let rest = on_a_thread_of_its_own(move || async move {
                assert!(
                    call.await.is_ok(),
                    "a call that was sent can be polled to its end on another runtime"
                );
            });
            joined(rest).await;
        }
        assert_eq!(
            store.release(&key, holder).await,
            Reply::Done,
            "a call that was finished elsewhere has done what it was asked for"
        );
    }
}

/// A thread with a runtime of its own, as the keeper has.
fn on_a_thread_of_its_own<F, Work>(work: F) -> thread::JoinHandle<()>
where
    F: FnOnce() -> Work + Send + 'static,
    Work: Future<Output = ()>,
{
    thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a tokio runtime can be built")
            .block_on(work());
    })
}

/// Waits for a thread while the runtime of the case goes on, and fails with it.
async fn joined(thread: thread::JoinHandle<()>) {
    let end = tokio::task::spawn_blocking(move || thread.join())
        .await
        .expect("the waiting for a thread does not fail");
    if let Err(failure) = end {
        std::panic::resume_unwind(failure);
    }
}

/// Polls on this thread, which knows no runtime, and parks in between.
fn without_a_runtime(work: impl Future<Output = ()>) {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut work = pin!(work);
    let since = Instant::now();
    while work
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending()
    {
        thread::park_timeout(PATIENCE);
        assert!(
            since.elapsed() < PATIENCE,
            "a store without a sibling has no I/O state: its calls end on a thread without a runtime"
        );
    }
}

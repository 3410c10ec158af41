//! Calls that are dropped, and calls that share a thread with other work.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::store::{AcquireRequest, InspectRequest, ReleaseRequest, Reply};
use crate::testkit::bench::{Bench, LATENESS, LONG, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn a_dropped_acquire_blocks_the_key_no_longer_than_its_ttl(bench: &Bench) {
    let store = bench.open().await;
    let ttl = Duration::from_millis(300);
    let mut left = Vec::new();
    for polls in 0..6 {
        let key = bench.key(&format!("k{polls}"));
        let mut call = store.acquiring(AcquireRequest::new(key.clone(), owner(), ttl));
        poll_a_few_times(&mut call, polls).await;
        drop(call);
        left.push((key, Instant::now()));
    }
    for (key, dropped) in left {
        // What was on its way may be done after the drop: a second is ample for that.
        let over = dropped + Duration::from_secs(1) + ttl + LATENESS;
        store.wait_for_grant(&key, owner(), over).await;
    }
}

pub(crate) async fn a_dropped_call_does_not_disturb_the_next(bench: &Bench) {
    let store = bench.open().await;
    for turn in 0..20 {
        let (torn, key, holder) = (
            bench.key(&format!("torn{turn}")),
            bench.key(&format!("k{turn}")),
            owner(),
        );
        // Its answer may still arrive, and must not be taken for the answer of a later call.
        let mut call = store.driver().inspect(InspectRequest::new(torn.clone()));
        poll_a_few_times(&mut call, turn % 4).await;
        drop(call);
        let mut call = store.acquiring(AcquireRequest::new(torn, owner(), LONG));
        poll_a_few_times(&mut call, turn % 5).await;
        drop(call);
        let text = format!("holder {turn}");
        store.acquire_as(&key, holder, LONG, &text).await;
        assert_eq!(
            store.holding(&key).await.holder,
            text,
            "after a dropped call each later call gets its own answer"
        );
        assert_eq!(
            store.release(&key, holder).await,
            Reply::Done,
            "after a dropped call each later call gets its own answer"
        );
    }
}

pub(crate) async fn a_dropped_release_has_happened_or_not(bench: &Bench) {
    let store = bench.open().await;
    for polls in 0..6 {
        let (key, holder) = (bench.key(&format!("k{polls}")), owner());
        store.grant(&key, holder, LONG).await;
        let mut call = store
            .driver()
            .release(ReleaseRequest::new(key.clone(), holder));
        poll_a_few_times(&mut call, polls).await;
        drop(call);
        // Sent again, as the keeper would: done now, or done before.
        store.release(&key, holder).await;
        store
            .assert_free(
                &key,
                "a release that is sent again after a drop frees the key",
            )
            .await;
    }
}

/// Leaves `call` where it is after at most `polls` polls: not started, sent, half answered, or answered.
async fn poll_a_few_times<F: Future + Unpin>(call: &mut F, polls: usize) {
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if std::pin::Pin::new(&mut *call).poll(&mut context).is_ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn calls_do_not_block_their_thread(bench: &Bench) {
    /// What a call may cost the thread, with room for a slow machine: a blocking driver with a busy store takes more.
    const LONGEST: Duration = Duration::from_millis(250);
    let store = bench.open().await;
    let stop = Arc::new(AtomicBool::new(false));
    // The same beat on a thread that does nothing else: what that one misses is the machine's doing, not the store's.
    let machine = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Acquire) {
                let beat = Instant::now();
                thread::sleep(Duration::from_millis(5));
                longest = longest.max(beat.elapsed());
            }
            longest
        })
    };
    let heart = {
        let stop = Arc::clone(&stop);
        tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Acquire) {
                let beat = Instant::now();
                tokio::time::sleep(Duration::from_millis(5)).await;
                longest = longest.max(beat.elapsed());
            }
            longest
        })
    };
    let contended = bench.key("contended");
    store.grant(&contended, owner(), LONG).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (store, contended) = (store.clone(), contended.clone());
        let key = bench.key(&format!("k{caller}"));
        callers.spawn(async move {
            for _ in 0..10 {
                let holder = owner();
                store.grant(&key, holder, LONG).await;
                store.held(&contended, holder).await;
                store.release(&key, holder).await;
                // A call may be ready at once: only between the calls can the heart beat then.
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        if let Err(failure) = caller {
            std::panic::resume_unwind(failure.into_panic());
        }
    }
    stop.store(true, Ordering::Release);
    let heart = heart.await.expect("the heart does not fail");
    let machine = machine.join().expect("the clock does not fail");
    assert!(
        heart < LONGEST + machine,
        "a call does not block its thread, but other work on it stood still for {heart:?} (the machine itself for {machine:?})"
    );
}

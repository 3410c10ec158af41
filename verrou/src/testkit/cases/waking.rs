//! Hints that a key may be free. They cost latency when they are missed, never progress, so little is demanded of them.

use std::time::{Duration, Instant};

use crate::store::Watch;
use crate::testkit::bench::{Bench, Client, LONG, owner};

pub(crate) const THREADS: usize = 1;

/// A hint that takes longer is no better than polling.
const PROMPT: Duration = Duration::from_secs(2);

/// Whether a hint comes before `limit`.
async fn hinted(watch: &mut Watch, limit: Duration) -> bool {
    tokio::time::timeout(limit, watch.hint()).await.is_ok()
}

/// Fails unless a release through `releasing` hints to a watch of `watching`; a driver without hints is held to that.
async fn a_release_hints(bench: &Bench, watching: &Client, releasing: &Client, text: &str) {
    let key = bench.key(text);
    let mut watch = watching.watch(&key);
    if !watching.capabilities().watch {
        assert!(
            !hinted(&mut watch, Duration::from_millis(50)).await,
            "a driver whose capabilities deny `watch` gives no hints"
        );
        return;
    }
    let since = Instant::now();
    // More than one release: the subscription is set up in the background and may miss the first.
    while since.elapsed() < PROMPT {
        let holder = owner();
        releasing.grant(&key, holder, LONG).await;
        releasing.release(&key, holder).await;
        if hinted(&mut watch, Duration::from_millis(250)).await {
            return;
        }
    }
    panic!("a release is hinted to who watches the key, but none was within {PROMPT:?}");
}

pub(crate) async fn a_release_wakes_who_watches(bench: &Bench) {
    let store = bench.open().await;
    a_release_hints(bench, &store, &store, "k").await;
}

pub(crate) async fn a_release_by_another_store_wakes_who_watches(bench: &Bench) {
    let (watching, releasing) = (bench.open().await, bench.open().await);
    a_release_hints(bench, &watching, &releasing, "k").await;
}

pub(crate) async fn every_watch_of_a_key_is_hinted(bench: &Bench) {
    let (watching, releasing) = (bench.open().await, bench.open().await);
    let key = bench.key("k");
    let mut watches: Vec<_> = (0..5).map(|_| watching.watch(&key)).collect();
    for watch in &mut watches {
        if !watching.capabilities().watch {
            assert!(
                !hinted(watch, Duration::from_millis(10)).await,
                "a driver whose capabilities deny `watch` gives no hints"
            );
            continue;
        }
        let since = Instant::now();
        while !hinted(watch, Duration::from_millis(250)).await {
            assert!(
                since.elapsed() < PROMPT,
                "each watch of a key is hinted when the key is released"
            );
            let holder = owner();
            releasing.grant(&key, holder, LONG).await;
            releasing.release(&key, holder).await;
        }
    }
}

pub(crate) async fn a_dropped_watch_does_not_end_the_others(bench: &Bench) {
    let (watching, releasing) = (bench.open().await, bench.open().await);
    let key = bench.key("k");
    drop(watching.watch(&key));
    let (dropped, stays) = (watching.watch(&key), watching.watch(&key));
    drop(dropped);
    a_release_hints(bench, &watching, &releasing, "k").await;
    drop(stays);
    a_release_hints(bench, &watching, &releasing, "k").await;
}

pub(crate) async fn a_thousand_watches_come_and_go(bench: &Bench) {
    let (watching, releasing) = (bench.open().await, bench.open().await);
    let since = Instant::now();
    for round in 0..2 {
        let watches: Vec<_> = (0..1000)
            .map(|number| watching.watch(&bench.key(&format!("{round}:{number}"))))
            .collect();
        drop(watches);
    }
    assert!(
        since.elapsed() < Duration::from_secs(10),
        "a watch is set up in the background: 2000 of them must not take {:?}",
        since.elapsed()
    );
    a_release_hints(bench, &watching, &releasing, "after").await;
}

pub(crate) async fn a_watch_may_outlive_its_store(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let mut watch = store.watch(&key);
    store.close().await;
    drop(store);
    // What a watch says of a store that is gone is open, as long as it says it without a panic and without spinning.
    let mut hints = 0;
    while hints < 100 && hinted(&mut watch, Duration::from_millis(20)).await {
        hints += 1;
    }
    assert!(
        hints < 100,
        "a watch of a closed store falls silent, and does not keep its waiter spinning"
    );
}

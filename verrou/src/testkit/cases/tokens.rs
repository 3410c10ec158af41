//! Tokens rise with every grant of a key, whatever happened in between.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::store::Adopted;
use crate::testkit::bench::{Bench, LATENESS, LONG, SHORT, owner};
use crate::token::FencingToken;

pub(crate) const THREADS: usize = 1;

fn assert_rises(earlier: FencingToken, later: FencingToken, over: &str) {
    assert!(
        later > earlier,
        "tokens rise with every grant of a key, but over {over} {earlier} was followed by {later}"
    );
}

pub(crate) async fn tokens_rise_over_a_release(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let mut last = None;
    // In a tight loop: two grants within one microsecond are two tokens as well.
    for _ in 0..50 {
        let holder = owner();
        let token = store.grant(&key, holder, LONG).await;
        if let Some(last) = last.replace(token) {
            assert_rises(last, token, "a release");
        }
        store.release(&key, holder).await;
    }
}

pub(crate) async fn tokens_rise_over_an_expiry(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let first = store.grant(&key, owner(), SHORT).await;
    bench.outlive(&store, SHORT).await;
    let second = store.grant(&key, owner(), LONG).await;
    assert_rises(first, second, "an expiry");
}

pub(crate) async fn tokens_rise_over_an_expiry_that_was_seen(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let first = store.grant(&key, owner(), SHORT).await;
    bench.outlive(&store, SHORT).await;
    // A driver may clean up when it finds an expired lease; the order must survive that.
    assert_eq!(store.inspect(&key).await, None, "an expired lease is over");
    assert!(
        !store.force_release(&key).await,
        "an expired lease is not held"
    );
    let second = store.grant(&key, owner(), LONG).await;
    assert_rises(first, second, "an expiry and its clean-up");
}

pub(crate) async fn tokens_rise_over_a_force_release(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let mut last = store.grant(&key, owner(), LONG).await;
    for _ in 0..20 {
        store.force_release(&key).await;
        let token = store.grant(&key, owner(), LONG).await;
        assert_rises(last, token, "a force release");
        last = token;
    }
}

pub(crate) async fn tokens_rise_over_a_keep(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let first = store.grant(&key, holder, LONG).await;
    store.release_keeping(&key, holder, SHORT).await;
    let over = Instant::now() + SHORT + LATENESS;
    let second = store.wait_for_grant(&key, owner(), over).await;
    assert_rises(first, second, "a keep");
}

pub(crate) async fn tokens_rise_over_an_adoption(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    let first = store.grant(&key, giver, LONG).await;
    assert_eq!(
        store.adopt(&key, giver, heir, LONG).await,
        Adopted::Adopted { token: first },
        "an adoption keeps the token"
    );
    store.release(&key, heir).await;
    let second = store.grant(&key, owner(), LONG).await;
    assert_rises(first, second, "an adoption");
}

pub(crate) async fn tokens_rise_over_every_store_of_the_place(bench: &Bench) {
    let stores = [bench.open().await, bench.open().await, bench.open().await];
    let key = bench.key("k");
    let mut last = None;
    for turn in 0..30 {
        let holder = owner();
        let store = &stores[turn % stores.len()];
        let token = store.grant(&key, holder, LONG).await;
        if let Some(last) = last.replace(token) {
            assert_rises(last, token, "a grant by another store");
        }
        stores[(turn + 1) % stores.len()]
            .release(&key, holder)
            .await;
    }
}

pub(crate) async fn tokens_rise_after_the_store_was_opened_anew(bench: &Bench) {
    let (key, holder) = (bench.key("k"), owner());
    let store = bench.open().await;
    let first = store.grant(&key, holder, LONG).await;
    store.release(&key, holder).await;
    store.close().await;
    drop(store);
    let second = bench.open().await.grant(&key, owner(), LONG).await;
    assert_rises(first, second, "the end of a store");
}

pub(crate) async fn a_token_is_not_behind_the_time(bench: &Bench) {
    let store = bench.open().await;
    // The clock may be another machine's, and may be read in milliseconds.
    let (early, late) = (Duration::from_secs(5), Duration::from_secs(3600));
    for turn in 0..3 {
        let before = wall_micros();
        let token = store
            .grant(&bench.key(&format!("k{turn}")), owner(), LONG)
            .await
            .get();
        let after = wall_micros();
        assert!(
            token >= before - micros(early),
            "a token is at least the time in microseconds, so that tokens rise over a loss of the store's data: \
             at {before} it was {token}"
        );
        assert!(
            token <= after + micros(late),
            "a token is the time in microseconds unless the key is granted faster than that: at {after} it was {token}"
        );
    }
}

pub(crate) async fn inspect_shows_the_token_of_the_grant(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    for _ in 0..5 {
        let holder = owner();
        let token = store.grant(&key, holder, LONG).await;
        assert_eq!(
            store.holding(&key).await.token,
            token,
            "inspect shows the token that was granted"
        );
        store.release(&key, holder).await;
    }
}

fn wall_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the wall clock is past 1970");
    micros(since)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).expect("the year is before 586 000")
}

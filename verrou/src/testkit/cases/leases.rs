//! A lease ends by the store's clock, and is renewed only while it lives.

use std::time::{Duration, Instant};

use crate::store::Reply;
use crate::testkit::bench::{
    Bench, Client, LATENESS, LONG, ROUNDING, SHORT, assert_plausible, owner,
};

pub(crate) const THREADS: usize = 1;

/// Takes a key for `ttl`, and watches when somebody else gets it.
async fn watch_a_lease_end(bench: &Bench, store: &Client, ttl: Duration) {
    let key = bench.key(&format!("{ttl:?}"));
    let sent = Instant::now();
    store.grant(&key, owner(), ttl).await;
    let over = Instant::now() + ttl + LATENESS;
    store.wait_for_grant(&key, owner(), over).await;
    // Counted from before the request was sent: however slow the machine is, the lease cannot have begun earlier.
    let held = sent.elapsed();
    assert!(
        held + ROUNDING >= ttl,
        "a lease lasts for its ttl, but one of {ttl:?} was over after {held:?}"
    );
}

pub(crate) async fn a_lease_expires_after_its_ttl(bench: &Bench) {
    let store = bench.open().await;
    for ttl in [SHORT, Duration::from_millis(333)] {
        watch_a_lease_end(bench, &store, ttl).await;
    }
}

pub(crate) async fn a_lease_of_10_ms_is_kept_exactly(bench: &Bench) {
    let store = bench.open().await;
    watch_a_lease_end(bench, &store, Duration::from_millis(10)).await;
}

pub(crate) async fn a_lease_of_10_years_is_held(bench: &Bench) {
    let store = bench.open().await;
    let years = Duration::from_secs(10 * 365 * 24 * 3600);
    let (key, holder) = (bench.key("k"), owner());
    let asked = Instant::now();
    store.grant(&key, holder, years).await;
    assert_plausible(store.held(&key, owner()).await, years, asked);
    assert_plausible(store.holding(&key).await.remaining, years, asked);
    assert_eq!(
        store.renew(&key, holder, years).await,
        Reply::Done,
        "a lease of ten years can be renewed"
    );
    assert_eq!(
        store.release(&key, holder).await,
        Reply::Done,
        "a lease of ten years can be released"
    );
    store.assert_free(&key, "a released key is free").await;
}

pub(crate) async fn an_owner_that_expired_is_granted_anew(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let first = store.grant(&key, holder, SHORT).await;
    bench.outlive(&store, SHORT).await;
    let second = store.grant(&key, holder, LONG).await;
    assert!(
        second > first,
        "an acquire after the end of the own lease is a new grant with a greater token, but {first} was followed by {second}"
    );
}

pub(crate) async fn renew_extends_a_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let asked = Instant::now();
    assert_eq!(
        store.renew(&key, holder, LONG * 3).await,
        Reply::Done,
        "the owner of a live lease can renew it"
    );
    assert_plausible(store.holding(&key).await.remaining, LONG * 3, asked);
}

pub(crate) async fn a_renewed_lease_outlives_its_first_ttl(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    // Long enough for the renewal to be in time on a busy machine.
    let first = Duration::from_secs(2);
    store.grant(&key, holder, first).await;
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "a live lease can be renewed"
    );
    bench.outlive(&store, first).await;
    store.held(&key, owner()).await;
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "a renewed lease lives on past its first ttl"
    );
}

pub(crate) async fn renew_does_not_shorten_a_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let asked = Instant::now();
    store.grant(&key, holder, LONG).await;
    assert_eq!(
        store.renew(&key, holder, SHORT).await,
        Reply::Done,
        "a renewal shorter than what is left is done all the same"
    );
    assert_plausible(store.holding(&key).await.remaining, LONG, asked);
}

pub(crate) async fn renew_keeps_token_and_holder(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.acquire_as(&key, holder, LONG, "the holder").await;
    let before = store.holding(&key).await;
    for _ in 0..3 {
        store.renew(&key, holder, LONG * 2).await;
    }
    let after = store.holding(&key).await;
    assert_eq!(
        (after.holder, after.token),
        (before.holder, before.token),
        "a renewal is no new grant: holder and token stay"
    );
    assert!(
        after.held_for >= before.held_for,
        "a renewal is no new grant: the time since the grant runs on"
    );
}

pub(crate) async fn renew_by_another_owner_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let before = store.holding(&key).await;
    assert_eq!(
        store.renew(&key, owner(), LONG * 10).await,
        Reply::NotHeld,
        "only the owner of a lease can renew it"
    );
    assert!(
        store.holding(&key).await.remaining <= before.remaining,
        "a renewal by another owner does not extend the lease"
    );
}

pub(crate) async fn renew_of_a_free_key_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::NotHeld,
        "a key that was never taken cannot be renewed"
    );
    store
        .assert_free(&key, "a refused renewal takes nothing")
        .await;
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::NotHeld,
        "a key that was released by others cannot be renewed"
    );
}

pub(crate) async fn an_expired_lease_cannot_be_renewed(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, SHORT).await;
    bench.outlive(&store, SHORT).await;
    for _ in 0..2 {
        assert_eq!(
            store.renew(&key, holder, LONG).await,
            Reply::NotHeld,
            "an expired lease cannot be renewed, also if nobody has taken the key since"
        );
    }
    store
        .assert_free(&key, "a refused renewal does not revive the lease")
        .await;
}

pub(crate) async fn a_late_renewal_leaves_the_next_holder_alone(bench: &Bench) {
    let store = bench.open().await;
    let (key, late, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, late, SHORT).await;
    bench.outlive(&store, SHORT).await;
    let token = store.grant(&key, next, LONG).await;
    assert_eq!(
        store.renew(&key, late, LONG).await,
        Reply::NotHeld,
        "an expired owner cannot renew the lease of the next"
    );
    assert_eq!(
        store.holding(&key).await.token,
        token,
        "a late renewal does not touch the next grant"
    );
    assert_eq!(
        store.renew(&key, next, LONG).await,
        Reply::Done,
        "a late renewal does not take the key from the next holder"
    );
}

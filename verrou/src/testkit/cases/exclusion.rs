//! One owner at a time.

use std::time::{Duration, Instant};

use crate::store::{Acquired, Reply};
use crate::testkit::bench::{Bench, LONG, SHORT, assert_plausible, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn grants_a_free_key(bench: &Bench) {
    let store = bench.open().await;
    store.grant(&bench.key("k"), owner(), LONG).await;
}

pub(crate) async fn refuses_a_key_that_another_owner_holds(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    store.grant(&key, owner(), LONG).await;
    for _ in 0..3 {
        store.held(&key, owner()).await;
    }
}

pub(crate) async fn tells_how_long_a_refused_key_stays_held(bench: &Bench) {
    let store = bench.open().await;
    for ttl in [Duration::from_secs(20), Duration::from_secs(3600)] {
        let key = bench.key(&format!("{ttl:?}"));
        let asked = Instant::now();
        store.grant(&key, owner(), ttl).await;
        let first = store.held(&key, owner()).await;
        assert_plausible(first, ttl, asked);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let second = store.held(&key, owner()).await;
        assert!(
            second < first,
            "what is left of a lease falls as time passes, but it went from {first:?} to {second:?}"
        );
    }
}

pub(crate) async fn a_repeated_acquire_has_won_with_the_same_token(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let first = store.grant(&key, holder, LONG).await;
    for _ in 0..3 {
        let again = store.grant(&key, holder, LONG).await;
        assert_eq!(
            again, first,
            "an acquire that finds its own owner has won with the token of the first time"
        );
    }
}

pub(crate) async fn a_repeated_acquire_does_not_shorten_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let asked = Instant::now();
    store.grant(&key, holder, LONG).await;
    store.grant(&key, holder, SHORT).await;
    assert_plausible(store.holding(&key).await.remaining, LONG, asked);
}

pub(crate) async fn a_repeated_acquire_extends_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let asked = Instant::now();
    store.grant(&key, holder, LONG * 2).await;
    assert_plausible(store.holding(&key).await.remaining, LONG * 2, asked);
}

pub(crate) async fn a_refused_acquire_changes_nothing(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.acquire_as(&key, holder, LONG, "the holder").await;
    let before = store.holding(&key).await;
    for _ in 0..3 {
        let refused = store
            .acquire_as(&key, owner(), LONG * 10, "somebody else")
            .await;
        assert!(
            matches!(refused, Acquired::Held { .. }),
            "a key that another owner holds is not granted"
        );
    }
    let after = store.holding(&key).await;
    assert_eq!(
        (after.holder, after.token),
        (before.holder, before.token),
        "a refused acquire leaves holder and token as they are"
    );
    assert!(
        after.remaining <= before.remaining,
        "a refused acquire does not extend the lease, but it went from {:?} to {:?}",
        before.remaining,
        after.remaining
    );
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "the holder still holds the key after another was refused"
    );
}

pub(crate) async fn keys_are_held_independently(bench: &Bench) {
    let store = bench.open().await;
    let owners: Vec<_> = (0..20).map(|_| owner()).collect();
    for (number, holder) in owners.iter().enumerate() {
        store
            .grant(&bench.key(&format!("k{number}")), *holder, LONG)
            .await;
    }
    assert_eq!(
        store.release(&bench.key("k7"), owners[7]).await,
        Reply::Done,
        "each key is released by its own owner"
    );
    for number in (0..20).filter(|number| *number != 7) {
        store.held(&bench.key(&format!("k{number}")), owner()).await;
    }
}

pub(crate) async fn one_owner_may_hold_several_keys(bench: &Bench) {
    let store = bench.open().await;
    let (one, other, holder) = (bench.key("one"), bench.key("other"), owner());
    store.grant(&one, holder, LONG).await;
    store.grant(&other, holder, LONG).await;
    assert_eq!(
        store.release(&one, holder).await,
        Reply::Done,
        "an owner that holds two keys can release one"
    );
    store.assert_free(&one, "a released key is free").await;
    assert_eq!(
        store.renew(&other, holder, LONG).await,
        Reply::Done,
        "releasing one key leaves the other keys of the same owner held"
    );
}

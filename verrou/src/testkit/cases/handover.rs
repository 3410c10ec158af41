//! A lease goes to another owner once, with its token.

use std::time::Instant;

use super::release::assert_powerless;
use crate::store::{Adopted, Reply};
use crate::testkit::bench::{Bench, LONG, SHORT, assert_plausible, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn adopt_hands_the_lease_to_the_new_owner(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    let token = store.grant(&key, giver, LONG).await;
    assert_eq!(
        store.adopt(&key, giver, heir, LONG).await,
        Adopted::Adopted { token },
        "a live lease can be adopted, and keeps its token"
    );
    store.held(&key, owner()).await;
    assert_eq!(
        store.renew(&key, heir, LONG).await,
        Reply::Done,
        "the new owner can renew what it has adopted"
    );
    assert_eq!(
        store.release(&key, heir).await,
        Reply::Done,
        "the new owner can release what it has adopted"
    );
    store.assert_free(&key, "a released key is free").await;
}

pub(crate) async fn adopt_keeps_the_token_and_shows_the_new_holder(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    store.acquire_as(&key, giver, LONG, "the giver").await;
    let before = store.holding(&key).await;
    store.adopt_as(&key, giver, heir, LONG, "the heir").await;
    let after = store.holding(&key).await;
    assert_eq!(
        after.holder, "the heir",
        "an adopted lease shows its new holder"
    );
    assert_eq!(
        after.token, before.token,
        "an adoption is no new grant: the token stays"
    );
    assert!(
        after.held_for >= before.held_for,
        "an adoption is no new grant: the time since the grant runs on"
    );
}

pub(crate) async fn the_old_owner_can_do_nothing_after_an_adopt(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    let asked = Instant::now();
    store.grant(&key, giver, LONG).await;
    store.adopt(&key, giver, heir, LONG).await;
    assert_powerless(&store, &key, giver, "an owner that gave its lease away").await;
    store.held(&key, giver).await;
    assert_plausible(store.holding(&key).await.remaining, LONG, asked);
    assert_eq!(
        store.renew(&key, heir, LONG).await,
        Reply::Done,
        "the new owner still holds the key after late requests of the old"
    );
}

pub(crate) async fn a_lease_is_adopted_only_once(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir, second) = (bench.key("k"), owner(), owner(), owner());
    store.grant(&key, giver, LONG).await;
    store.adopt(&key, giver, heir, LONG).await;
    assert_eq!(
        store.adopt(&key, giver, second, LONG).await,
        Adopted::NotHeld,
        "a lease is handed over once: the second who tries has come too late"
    );
    assert_eq!(
        store.renew(&key, heir, LONG).await,
        Reply::Done,
        "the first to adopt still holds the key"
    );
    assert_eq!(
        store.renew(&key, second, LONG).await,
        Reply::NotHeld,
        "the second to adopt holds nothing"
    );
}

pub(crate) async fn a_repeated_adopt_by_the_same_owner_has_won(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    let token = store.grant(&key, giver, LONG).await;
    for _ in 0..3 {
        assert_eq!(
            store.adopt(&key, giver, heir, LONG).await,
            Adopted::Adopted { token },
            "an adopt that finds its own owner has won, with the same token"
        );
    }
}

pub(crate) async fn an_adopted_lease_can_be_handed_on(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, second, third) = (bench.key("k"), owner(), owner(), owner());
    let token = store.grant(&key, first, LONG).await;
    store.adopt(&key, first, second, LONG).await;
    assert_eq!(
        store.adopt(&key, second, third, LONG).await,
        Adopted::Adopted { token },
        "who has adopted a lease can hand it on, and the token stays"
    );
    assert_powerless(&store, &key, second, "an owner that handed its lease on").await;
}

pub(crate) async fn adopt_from_a_wrong_owner_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder, stranger) = (bench.key("k"), owner(), owner());
    store.acquire_as(&key, holder, LONG, "the holder").await;
    let before = store.holding(&key).await;
    assert_eq!(
        store
            .adopt_as(&key, stranger, owner(), LONG * 10, "a thief")
            .await,
        Adopted::NotHeld,
        "only who knows the owner of a lease can adopt it"
    );
    let after = store.holding(&key).await;
    assert_eq!(
        (after.holder, after.token),
        (before.holder, before.token),
        "a refused adopt changes nothing"
    );
    assert!(
        after.remaining <= before.remaining,
        "a refused adopt does not extend the lease"
    );
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "the holder still holds the key after a refused adopt"
    );
}

pub(crate) async fn adopt_of_a_free_key_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    assert_eq!(
        store.adopt(&key, owner(), owner(), LONG).await,
        Adopted::NotHeld,
        "a key that nobody holds cannot be adopted"
    );
    store
        .assert_free(&key, "a refused adopt takes nothing")
        .await;
}

pub(crate) async fn adopt_of_an_expired_lease_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    store.grant(&key, giver, SHORT).await;
    bench.outlive(&store, SHORT).await;
    assert_eq!(
        store.adopt(&key, giver, heir, LONG).await,
        Adopted::NotHeld,
        "an expired lease cannot be adopted, also if nobody has taken the key since"
    );
    store
        .assert_free(&key, "a refused adopt does not revive the lease")
        .await;
}

pub(crate) async fn a_repeated_adopt_after_expiry_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    store.grant(&key, giver, SHORT).await;
    // It may have expired before it was adopted, on a slow machine: then the second half holds all the more.
    store.adopt(&key, giver, heir, SHORT).await;
    bench.outlive(&store, SHORT).await;
    assert_eq!(
        store.adopt(&key, giver, heir, LONG).await,
        Adopted::NotHeld,
        "an adopt that finds its own owner expired has lost"
    );
    store
        .assert_free(&key, "a refused adopt does not revive the lease")
        .await;
}

pub(crate) async fn adopt_extends_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    store.grant(&key, giver, LONG).await;
    let asked = Instant::now();
    store.adopt(&key, giver, heir, LONG * 2).await;
    assert_plausible(store.holding(&key).await.remaining, LONG * 2, asked);
}

pub(crate) async fn adopt_does_not_shorten_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, giver, heir) = (bench.key("k"), owner(), owner());
    let asked = Instant::now();
    store.grant(&key, giver, LONG).await;
    store.adopt(&key, giver, heir, SHORT).await;
    store.adopt(&key, giver, heir, SHORT).await;
    assert_plausible(store.holding(&key).await.remaining, LONG, asked);
}

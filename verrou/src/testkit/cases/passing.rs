//! A holder passes its key to the next owner, with nobody in between. Drivers that cannot are let off.

use std::time::Instant;

use super::release::assert_powerless;
use crate::store::{Passed, Reply};
use crate::testkit::bench::{Bench, LONG, SHORT, assert_plausible, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn pass_grants_the_key_to_the_next_owner(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    let before = store.grant(&key, first, LONG).await;
    let Some(token) = store.passed(&key, first, next, LONG).await else {
        return;
    };
    assert!(
        token > before,
        "a pass is a grant, whose token is greater than that before it: {token} after {before}"
    );
    store.held(&key, owner()).await;
    assert_eq!(
        store.renew(&key, next, LONG).await,
        Reply::Done,
        "the next owner can renew what was passed to it"
    );
    assert_eq!(
        store.release(&key, next).await,
        Reply::Done,
        "the next owner can release what was passed to it"
    );
    store.assert_free(&key, "a released key is free").await;
    let after = store.grant(&key, owner(), LONG).await;
    assert!(
        after > token,
        "tokens rise over a pass: {after} after {token}"
    );
}

pub(crate) async fn pass_is_a_new_grant(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    store.acquire_as(&key, first, LONG, "the first").await;
    bench.outlive(&store, SHORT).await;
    let asked = Instant::now();
    let Some(Passed::Granted { token }) = store.pass_as(&key, first, next, LONG, "the next").await
    else {
        return;
    };
    let holding = store.holding(&key).await;
    assert_eq!(holding.holder, "the next", "a pass shows the new holder");
    assert_eq!(holding.token, token, "inspect shows the token of the pass");
    assert!(
        holding.held_for <= asked.elapsed() + SHORT / 2,
        "a passed key is held since it was passed, not since the first grant"
    );
}

pub(crate) async fn the_old_owner_can_do_nothing_after_a_pass(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, first, LONG).await;
    if store.passed(&key, first, next, LONG).await.is_none() {
        return;
    }
    assert_powerless(&store, &key, first, "an owner that passed its key on").await;
    assert_eq!(
        store.pass(&key, first, owner(), LONG).await,
        Some(Passed::NotHeld),
        "a key is passed on once"
    );
    assert_eq!(
        store.renew(&key, next, LONG).await,
        Reply::Done,
        "the next owner still holds the key after late requests of the old"
    );
}

pub(crate) async fn a_repeated_pass_has_won_with_the_same_token(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, first, LONG).await;
    let Some(token) = store.passed(&key, first, next, LONG).await else {
        return;
    };
    for _ in 0..3 {
        assert_eq!(
            store.pass(&key, first, next, LONG).await,
            Some(Passed::Granted { token }),
            "a pass that finds its own owner has won, with the same token"
        );
    }
}

pub(crate) async fn a_repeated_pass_does_not_shorten_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, first, LONG).await;
    let asked = Instant::now();
    if store.passed(&key, first, next, LONG).await.is_none() {
        return;
    }
    store.pass(&key, first, next, SHORT).await;
    assert_plausible(store.holding(&key).await.remaining, LONG, asked);
}

pub(crate) async fn pass_sets_the_lease_of_the_next_owner(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, first, LONG).await;
    if store.passed(&key, first, next, SHORT).await.is_none() {
        return;
    }
    bench.outlive(&store, SHORT).await;
    store
        .assert_free(
            &key,
            "the lease after a pass has the ttl of the pass, not what was left",
        )
        .await;
}

pub(crate) async fn pass_by_another_owner_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let token = store.grant(&key, holder, LONG).await;
    let Some(passed) = store.pass(&key, owner(), owner(), LONG).await else {
        return;
    };
    assert_eq!(passed, Passed::NotHeld, "only its holder passes a key on");
    assert_eq!(
        store.holding(&key).await.token,
        token,
        "a refused pass changes nothing"
    );
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "the holder still holds the key after a refused pass"
    );
}

pub(crate) async fn pass_of_a_free_key_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, first) = (bench.key("k"), owner());
    let Some(passed) = store.pass(&key, first, owner(), LONG).await else {
        return;
    };
    assert_eq!(passed, Passed::NotHeld, "a free key cannot be passed on");
    store.grant(&key, first, LONG).await;
    store.release(&key, first).await;
    assert_eq!(
        store.pass(&key, first, owner(), LONG).await,
        Some(Passed::NotHeld),
        "a released key cannot be passed on"
    );
    store
        .assert_free(&key, "a refused pass takes nothing")
        .await;
}

pub(crate) async fn pass_of_an_expired_lease_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, first) = (bench.key("k"), owner());
    store.grant(&key, first, SHORT).await;
    bench.outlive(&store, SHORT).await;
    let Some(passed) = store.pass(&key, first, owner(), LONG).await else {
        return;
    };
    assert_eq!(
        passed,
        Passed::NotHeld,
        "an expired lease cannot be passed on"
    );
    store
        .assert_free(&key, "a refused pass takes nothing")
        .await;
}

pub(crate) async fn pass_of_a_kept_key_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, first) = (bench.key("k"), owner());
    store.grant(&key, first, LONG).await;
    store.release_keeping(&key, first, LONG).await;
    let Some(passed) = store.pass(&key, first, owner(), LONG).await else {
        return;
    };
    assert_eq!(
        passed,
        Passed::NotHeld,
        "a kept key belongs to no owner who could pass it on"
    );
    store.held(&key, owner()).await;
}

pub(crate) async fn a_passed_key_can_be_passed_on(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let mut holder = owner();
    let mut last = store.grant(&key, holder, LONG).await;
    for _ in 0..20 {
        let next = owner();
        let Some(token) = store.passed(&key, holder, next, LONG).await else {
            return;
        };
        assert!(
            token > last,
            "tokens rise with every pass: {token} after {last}"
        );
        (holder, last) = (next, token);
    }
    assert_eq!(
        store.release(&key, holder).await,
        Reply::Done,
        "the last of a row of passes holds the key"
    );
}

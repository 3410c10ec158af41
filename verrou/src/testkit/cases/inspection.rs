//! Looking at a key, and freeing it by force.

use std::time::{Duration, Instant};

use super::release::assert_powerless;
use crate::store::Reply;
use crate::testkit::bench::{Bench, LATENESS, LONG, ROUNDING, SHORT, assert_plausible, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn inspect_of_a_free_key_is_nobody(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    assert_eq!(
        store.inspect(&key).await,
        None,
        "a key that was never taken is held by nobody"
    );
    store.grant(&key, holder, LONG).await;
    store.release(&key, holder).await;
    assert_eq!(
        store.inspect(&key).await,
        None,
        "a released key is held by nobody"
    );
}

pub(crate) async fn inspect_of_an_expired_lease_is_nobody(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    store.grant(&key, owner(), SHORT).await;
    bench.outlive(&store, SHORT).await;
    assert_eq!(
        store.inspect(&key).await,
        None,
        "an expired lease is over, so inspect shows nobody"
    );
}

pub(crate) async fn inspect_shows_what_is_left_of_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    let asked = Instant::now();
    store.grant(&key, owner(), LONG).await;
    let first = store.holding(&key).await.remaining;
    assert_plausible(first, LONG, asked);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = store.holding(&key).await.remaining;
    assert!(
        second < first,
        "what is left of a lease falls as time passes, but it went from {first:?} to {second:?}"
    );
}

pub(crate) async fn inspect_shows_how_long_the_key_is_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let sent = Instant::now();
    store.grant(&key, holder, LONG).await;
    let answered = Instant::now();
    tokio::time::sleep(Duration::from_millis(50)).await;
    // No new grant, so the time runs on.
    store.renew(&key, holder, LONG * 2).await;
    store.grant(&key, holder, LONG * 2).await;
    let at_least = answered.elapsed();
    let held_for = store.holding(&key).await.held_for;
    let at_most = sent.elapsed();
    assert!(
        held_for + ROUNDING >= at_least && held_for <= at_most + ROUNDING,
        "inspect shows the time since the grant, but it said {held_for:?} and it was {at_least:?} to {at_most:?}"
    );
}

pub(crate) async fn a_new_grant_is_held_from_its_own_beginning(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, second) = (bench.key("k"), owner(), owner());
    store.acquire_as(&key, first, LONG, "the first").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.release(&key, first).await;
    let sent = Instant::now();
    store.acquire_as(&key, second, LONG, "the second").await;
    let holding = store.holding(&key).await;
    assert_eq!(
        holding.holder, "the second",
        "inspect shows the holder of the last grant"
    );
    assert!(
        holding.held_for <= sent.elapsed() + ROUNDING,
        "a new grant is held from its own beginning, but inspect said for {:?}",
        holding.held_for
    );
}

pub(crate) async fn inspect_changes_nothing(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let asked = Instant::now();
    store.acquire_as(&key, holder, LONG, "the holder").await;
    let first = store.holding(&key).await;
    for _ in 0..10 {
        store.inspect(&key).await;
    }
    let last = store.holding(&key).await;
    assert_eq!(
        (last.holder, last.token),
        (first.holder, first.token),
        "inspect changes nothing"
    );
    assert_plausible(last.remaining, LONG, asked);
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "inspect leaves the owner as it is"
    );
}

pub(crate) async fn a_lease_expires_though_it_is_inspected(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    store.grant(&key, owner(), SHORT).await;
    bench
        .wait_for_end(&store, &key, Instant::now() + SHORT + LATENESS)
        .await;
    store
        .assert_free(&key, "a key that inspect shows as free can be taken")
        .await;
}

pub(crate) async fn a_holder_text_of_255_bytes_comes_back(bench: &Bench) {
    let store = bench.open().await;
    let texts = [
        String::new(),
        "api-7:4711".to_owned(),
        "h".repeat(255),
        format!("{}x", "\u{e9}".repeat(127)),
        format!("{}abc", "\u{1f512}".repeat(63)),
        " it's \"100 %\" \\ \n\t{} ".to_owned(),
    ];
    for (number, text) in texts.iter().enumerate() {
        let key = bench.key(&format!("k{number}"));
        store.acquire_as(&key, owner(), LONG, text).await;
        assert_eq!(
            store.holding(&key).await.holder,
            *text,
            "inspect shows what the holder said of itself, byte for byte"
        );
    }
}

pub(crate) async fn force_release_frees_a_held_key(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    store.grant(&key, owner(), LONG).await;
    assert!(
        store.force_release(&key).await,
        "force release of a held key says that somebody held it"
    );
    store
        .assert_free(&key, "force release frees the key whoever holds it")
        .await;
}

pub(crate) async fn force_release_of_a_free_key_frees_nobody(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    assert!(
        !store.force_release(&key).await,
        "force release of a key that was never taken says that nobody held it"
    );
    store.grant(&key, holder, LONG).await;
    store.release(&key, holder).await;
    assert!(
        !store.force_release(&key).await,
        "force release of a released key says that nobody held it"
    );
    store.grant(&key, owner(), LONG).await;
    store.force_release(&key).await;
    assert!(
        !store.force_release(&key).await,
        "a second force release finds nobody"
    );
    store
        .assert_free(&key, "a key freed by force is free")
        .await;
}

pub(crate) async fn force_release_of_an_expired_lease_frees_nobody(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    store.grant(&key, owner(), SHORT).await;
    bench.outlive(&store, SHORT).await;
    assert!(
        !store.force_release(&key).await,
        "force release of an expired lease says that nobody held it"
    );
}

pub(crate) async fn an_owner_freed_by_force_can_do_nothing(bench: &Bench) {
    let store = bench.open().await;
    let (key, former, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, former, LONG).await;
    store.force_release(&key).await;
    assert_powerless(&store, &key, former, "an owner that was freed by force").await;
    store.grant(&key, next, LONG).await;
    assert_powerless(&store, &key, former, "an owner that was freed by force").await;
    store.held(&key, former).await;
    assert_eq!(
        store.renew(&key, next, LONG).await,
        Reply::Done,
        "the next holder still holds the key after late requests of the one freed by force"
    );
}

pub(crate) async fn force_release_leaves_other_keys_alone(bench: &Bench) {
    let store = bench.open().await;
    let holder = owner();
    let keys = ["k", "k%", "k_", "K", "k:k", "kk"].map(|text| bench.key(text));
    for key in &keys {
        store.grant(key, holder, LONG).await;
    }
    store.force_release(&keys[1]).await;
    for key in keys.iter().filter(|key| **key != keys[1]) {
        assert_eq!(
            store.renew(key, holder, LONG).await,
            Reply::Done,
            "force release frees one key and no other"
        );
    }
}

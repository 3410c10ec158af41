//! Giving a key back, at once or after a while.

use std::time::{Duration, Instant};

use crate::store::{Acquired, Adopted, Owner, Reply, StoredKey};
use crate::testkit::bench::{
    Bench, Client, LATENESS, LONG, ROUNDING, SHORT, assert_plausible, owner,
};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn release_frees_the_key_at_once(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    assert_eq!(
        store.release(&key, holder).await,
        Reply::Done,
        "the owner of a live lease can release it"
    );
    store
        .assert_free(&key, "a released key is free at once")
        .await;
}

pub(crate) async fn release_by_another_owner_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    let asked = Instant::now();
    store.grant(&key, holder, LONG).await;
    for keep in [Duration::ZERO, SHORT] {
        assert_eq!(
            store.release_keeping(&key, owner(), keep).await,
            Reply::NotHeld,
            "only the owner of a lease can release it"
        );
    }
    assert_plausible(store.held(&key, owner()).await, LONG, asked);
    assert_eq!(
        store.renew(&key, holder, LONG).await,
        Reply::Done,
        "the holder still holds the key after a stranger's release"
    );
}

pub(crate) async fn release_of_a_free_key_is_not_held(bench: &Bench) {
    let store = bench.open().await;
    let key = bench.key("k");
    for keep in [Duration::ZERO, LONG] {
        assert_eq!(
            store.release_keeping(&key, owner(), keep).await,
            Reply::NotHeld,
            "a key that nobody holds cannot be released"
        );
        store
            .assert_free(&key, "a refused release takes nothing")
            .await;
    }
}

pub(crate) async fn a_second_release_is_not_held_and_harmless(bench: &Bench) {
    let store = bench.open().await;
    let (key, first, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, first, LONG).await;
    store.release(&key, first).await;
    assert_eq!(
        store.release(&key, first).await,
        Reply::NotHeld,
        "what was released is not held any more"
    );
    store.grant(&key, next, LONG).await;
    assert_eq!(
        store.release(&key, first).await,
        Reply::NotHeld,
        "a repeated release does not free the next holder's key"
    );
    store.held(&key, first).await;
    assert_eq!(
        store.renew(&key, next, LONG).await,
        Reply::Done,
        "the next holder still holds the key after the release of the former came again"
    );
}

pub(crate) async fn a_released_owner_can_do_nothing(bench: &Bench) {
    let store = bench.open().await;
    let (key, former) = (bench.key("k"), owner());
    store.grant(&key, former, LONG).await;
    store.release(&key, former).await;
    assert_powerless(&store, &key, former, "an owner that has released").await;
    store
        .assert_free(&key, "a late request of a former owner takes nothing")
        .await;
}

pub(crate) async fn an_expired_lease_cannot_be_released(bench: &Bench) {
    let store = bench.open().await;
    let (key, kept, late) = (bench.key("k"), bench.key("kept"), owner());
    store.grant(&key, late, SHORT).await;
    store.grant(&kept, late, SHORT).await;
    bench.outlive(&store, SHORT).await;
    assert_eq!(
        store.release(&key, late).await,
        Reply::NotHeld,
        "an expired lease is not held, so it cannot be released"
    );
    assert_eq!(
        store.release_keeping(&kept, late, LONG).await,
        Reply::NotHeld,
        "an expired lease is not held, so its key cannot be kept either"
    );
    store.assert_free(&kept, "an expired lease is over").await;
}

pub(crate) async fn a_late_release_leaves_the_next_holder_alone(bench: &Bench) {
    let store = bench.open().await;
    let (key, late, next) = (bench.key("k"), owner(), owner());
    store.grant(&key, late, SHORT).await;
    bench.outlive(&store, SHORT).await;
    store.grant(&key, next, LONG).await;
    assert_eq!(
        store.release(&key, late).await,
        Reply::NotHeld,
        "an expired owner cannot release the lease of the next"
    );
    store.held(&key, late).await;
}

pub(crate) async fn a_kept_key_stays_taken(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let asked = Instant::now();
    assert_eq!(
        store.release_keeping(&key, holder, LONG).await,
        Reply::Done,
        "the owner of a live lease can release it and keep the key taken"
    );
    assert_plausible(store.held(&key, owner()).await, LONG, asked);
}

pub(crate) async fn a_kept_key_is_free_when_its_keep_has_passed(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let sent = Instant::now();
    store.release_keeping(&key, holder, SHORT).await;
    let over = Instant::now() + SHORT + LATENESS;
    store.wait_for_grant(&key, owner(), over).await;
    let kept = sent.elapsed();
    assert!(
        kept + ROUNDING >= SHORT,
        "a kept key stays taken for its keep, but one of {SHORT:?} was free after {kept:?}"
    );
}

pub(crate) async fn a_keep_may_end_before_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG * 10).await;
    let asked = Instant::now();
    store.release_keeping(&key, holder, LONG).await;
    assert_plausible(store.held(&key, owner()).await, LONG, asked);
}

pub(crate) async fn a_keep_may_end_after_the_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let asked = Instant::now();
    store.release_keeping(&key, holder, LONG * 10).await;
    assert_plausible(store.held(&key, owner()).await, LONG * 10, asked);
}

pub(crate) async fn a_kept_key_belongs_to_no_owner(bench: &Bench) {
    let store = bench.open().await;
    let (key, former) = (bench.key("k"), owner());
    let asked = Instant::now();
    store.grant(&key, former, LONG).await;
    store.release_keeping(&key, former, LONG).await;
    // Whatever a driver writes in place of the owner, no request has it: not even these.
    let zeros = Owner::from_bytes([0; 16]);
    let ones = Owner::from_bytes([0xff; 16]);
    for anybody in [former, owner(), zeros, ones] {
        store.held(&key, anybody).await;
        assert_powerless(&store, &key, anybody, "while a key is kept, any owner").await;
    }
    let left = store.held(&key, former).await;
    assert!(
        left <= LONG + asked.elapsed(),
        "nobody can prolong the time that a key is kept"
    );
}

pub(crate) async fn a_kept_key_shows_no_holder(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.acquire_as(&key, holder, LONG, "the holder").await;
    let held = store.holding(&key).await;
    let asked = Instant::now();
    store.release_keeping(&key, holder, LONG).await;
    let kept = store.holding(&key).await;
    assert_eq!(kept.holder, "", "a kept key shows no holder");
    assert_eq!(
        kept.token, held.token,
        "a kept key still shows the token of its last grant"
    );
    assert_plausible(kept.remaining, LONG, asked);
}

pub(crate) async fn a_kept_key_can_be_released_by_force(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    store.release_keeping(&key, holder, LONG).await;
    assert!(
        store.force_release(&key).await,
        "a kept key is held, so force release says that it freed something"
    );
    store
        .assert_free(&key, "force release frees a kept key")
        .await;
}

/// Fails if `owner` can renew, adopt or release the key.
pub(crate) async fn assert_powerless(store: &Client, key: &StoredKey, owner: Owner, who: &str) {
    assert_eq!(
        store.renew(key, owner, LONG * 5).await,
        Reply::NotHeld,
        "{who} cannot renew"
    );
    let heir = self::owner();
    assert_eq!(
        store.adopt(key, owner, heir, LONG * 5).await,
        Adopted::NotHeld,
        "{who} cannot hand the key on"
    );
    assert_eq!(
        store.release(key, owner).await,
        Reply::NotHeld,
        "{who} cannot release"
    );
    assert_eq!(
        store.release_keeping(key, owner, LONG * 5).await,
        Reply::NotHeld,
        "{who} cannot release and keep"
    );
}

pub(crate) async fn the_next_after_a_keep_is_a_plain_holder(bench: &Bench) {
    let store = bench.open().await;
    let (key, former, next) = (bench.key("k"), owner(), owner());
    store.acquire_as(&key, former, LONG, "the former").await;
    store.release_keeping(&key, former, SHORT).await;
    bench.outlive(&store, SHORT).await;
    let answer = store.acquire_as(&key, next, LONG, "the next").await;
    assert!(
        matches!(answer, Acquired::Granted { .. }),
        "a kept key is granted after its keep"
    );
    assert_eq!(
        store.holding(&key).await.holder,
        "the next",
        "a grant after a keep shows its holder"
    );
    assert_eq!(
        store.renew(&key, next, LONG).await,
        Reply::Done,
        "a grant after a keep can be renewed"
    );
    assert_eq!(
        store.release(&key, next).await,
        Reply::Done,
        "a grant after a keep can be released"
    );
}

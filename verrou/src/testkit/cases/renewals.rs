//! Many renewals in one call, each with its own answer.

use std::time::Instant;

use crate::store::{RenewRequest, Reply};
use crate::testkit::bench::{Bench, LONG, SHORT, assert_plausible, owner};

pub(crate) const THREADS: usize = 1;

pub(crate) async fn renew_many_of_nothing_answers_nothing(bench: &Bench) {
    let store = bench.open().await;
    assert_eq!(
        store.renew_many(Vec::new()).await,
        [],
        "no request, no answer"
    );
}

pub(crate) async fn renew_many_extends_every_lease(bench: &Bench) {
    let store = bench.open().await;
    let leases: Vec<_> = (0..100)
        .map(|number| (bench.key(&format!("k{number}")), owner()))
        .collect();
    for (key, holder) in &leases {
        store.grant(key, *holder, LONG).await;
    }
    let asked = Instant::now();
    let requests = leases
        .iter()
        .map(|(key, holder)| RenewRequest::new(key.clone(), *holder, LONG * 2))
        .collect();
    assert_eq!(
        store.renew_many(requests).await,
        vec![Reply::Done; leases.len()],
        "every live lease of a batch is renewed"
    );
    for (key, _) in &leases {
        assert_plausible(store.holding(key).await.remaining, LONG * 2, asked);
    }
}

pub(crate) async fn renew_many_answers_in_the_order_of_the_requests(bench: &Bench) {
    let store = bench.open().await;
    let (held, foreign, free, expired) = (
        bench.key("held"),
        bench.key("foreign"),
        bench.key("free"),
        bench.key("expired"),
    );
    let me = owner();
    store.grant(&expired, me, SHORT).await;
    bench.outlive(&store, SHORT).await;
    store.grant(&held, me, LONG).await;
    store.grant(&foreign, owner(), LONG).await;
    let answers = [
        (&held, Reply::Done),
        (&foreign, Reply::NotHeld),
        (&free, Reply::NotHeld),
        (&expired, Reply::NotHeld),
    ];
    // Each at each place of the batch: an engine that sorts by key must sort its answers back.
    for shift in 0..answers.len() {
        for backwards in [false, true] {
            let mut order = answers;
            order.rotate_left(shift);
            if backwards {
                order.reverse();
            }
            let requests = order
                .iter()
                .map(|(key, _)| RenewRequest::new((*key).clone(), me, LONG))
                .collect();
            assert_eq!(
                store.renew_many(requests).await,
                order.map(|(_, reply)| reply),
                "each request of a batch has its own answer, at its own place"
            );
        }
    }
}

pub(crate) async fn renew_many_uses_the_ttl_of_each_request(bench: &Bench) {
    let store = bench.open().await;
    let holder = owner();
    let keys: Vec<_> = (0..4)
        .map(|number| bench.key(&format!("k{number}")))
        .collect();
    for key in &keys {
        store.grant(key, holder, LONG).await;
    }
    let asked = Instant::now();
    let requests = (2..)
        .zip(&keys)
        .map(|(times, key)| RenewRequest::new(key.clone(), holder, LONG * times))
        .collect();
    assert_eq!(
        store.renew_many(requests).await,
        vec![Reply::Done; 4],
        "every live lease of a batch is renewed"
    );
    for (times, key) in (2..).zip(&keys) {
        assert_plausible(store.holding(key).await.remaining, LONG * times, asked);
    }
}

pub(crate) async fn renew_many_does_not_shorten_a_lease(bench: &Bench) {
    let store = bench.open().await;
    let (key, other, holder) = (bench.key("k"), bench.key("other"), owner());
    let asked = Instant::now();
    store.grant(&key, holder, LONG).await;
    store.grant(&other, holder, LONG).await;
    store
        .renew_many(vec![
            RenewRequest::new(key.clone(), holder, SHORT),
            RenewRequest::new(other.clone(), holder, SHORT),
        ])
        .await;
    assert_plausible(store.holding(&key).await.remaining, LONG, asked);
    assert_plausible(store.holding(&other).await.remaining, LONG, asked);
}

pub(crate) async fn renew_many_answers_a_key_that_is_named_twice(bench: &Bench) {
    let store = bench.open().await;
    let (key, holder) = (bench.key("k"), owner());
    store.grant(&key, holder, LONG).await;
    let ask = |owner| RenewRequest::new(key.clone(), owner, LONG);
    assert_eq!(
        store.renew_many(vec![ask(holder), ask(holder)]).await,
        [Reply::Done, Reply::Done],
        "a batch may name one lease twice"
    );
    let stranger = owner();
    assert_eq!(
        store
            .renew_many(vec![ask(stranger), ask(holder), ask(stranger)])
            .await,
        [Reply::NotHeld, Reply::Done, Reply::NotHeld],
        "a batch may name one key for two owners, and only the holder's is renewed"
    );
}

pub(crate) async fn renew_many_does_not_revive_an_expired_lease(bench: &Bench) {
    let store = bench.open().await;
    let (one, other, holder) = (bench.key("one"), bench.key("other"), owner());
    store.grant(&one, holder, SHORT).await;
    store.grant(&other, holder, SHORT).await;
    bench.outlive(&store, SHORT).await;
    let requests = [&one, &other].map(|key| RenewRequest::new(key.clone(), holder, LONG));
    assert_eq!(
        store.renew_many(requests.to_vec()).await,
        [Reply::NotHeld, Reply::NotHeld],
        "an expired lease cannot be renewed in a batch either"
    );
    store
        .assert_free(&one, "a refused renewal does not revive the lease")
        .await;
}

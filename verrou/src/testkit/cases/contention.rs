//! Many askers at the same time, on several threads.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::store::{Acquired, Adopted, Passed, RenewRequest, Reply, StoredKey};
use crate::testkit::bench::{Bench, Client, LONG, PATIENCE, SHORT, owner};
use crate::token::FencingToken;

pub(crate) const THREADS: usize = 4;

/// How many ask.
const TASKS: usize = 16;

/// Two stores, so that half of the askers share nothing in this process with the other half.
async fn two_stores(bench: &Bench) -> [Client; 2] {
    [bench.open().await, bench.open().await]
}

async fn all<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut ended = Vec::new();
    while let Some(end) = tasks.join_next().await {
        match end {
            Ok(value) => ended.push(value),
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }
    ended
}

pub(crate) async fn sixteen_tasks_never_hold_a_key_together(bench: &Bench) {
    const GRANTS_EACH: usize = 4;
    let stores = two_stores(bench).await;
    let key = bench.key("k");
    let inside = Arc::new(AtomicUsize::new(0));
    let tokens = Arc::new(Mutex::new(Vec::<FencingToken>::new()));
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (store, key) = (stores[number % stores.len()].clone(), key.clone());
        let (inside, tokens) = (Arc::clone(&inside), Arc::clone(&tokens));
        tasks.spawn(async move {
            let since = Instant::now();
            let mut grants = 0;
            while grants < GRANTS_EACH {
                let holder = owner();
                let Acquired::Granted { token } = store.acquire(&key, holder, LONG).await else {
                    assert!(
                        since.elapsed() < PATIENCE * 2,
                        "a key that is released again and again is granted to everybody in the end"
                    );
                    // Not in step with the others.
                    let pause = 1 + u64::from(holder.as_bytes()[0] % 4);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    continue;
                };
                grants += 1;
                let before = inside.fetch_add(1, Ordering::SeqCst);
                assert_eq!(before, 0, "two owners never hold one key at the same time");
                tokens
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(token);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                assert_eq!(
                    store.release(&key, holder).await,
                    Reply::Done,
                    "who was granted the key holds it until its release"
                );
            }
        });
    }
    all(tasks).await;
    let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(tokens.len(), TASKS * GRANTS_EACH, "every grant was counted");
    for pair in tokens.windows(2) {
        assert!(
            pair[1] > pair[0],
            "tokens rise in the order of the grants, but {} was followed by {}",
            pair[0],
            pair[1]
        );
    }
}

/// Sixteen tasks do this at once, each through one of `stores`.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    stores: &[Client],
    ask: impl Fn(Client) -> F,
) -> Vec<T> {
    let start = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let (start, asked) = (
            Arc::clone(&start),
            ask(stores[number % stores.len()].clone()),
        );
        tasks.spawn(async move {
            start.wait().await;
            asked.await
        });
    }
    all(tasks).await
}

/// Sixteen tasks ask at once; gives the tokens of those that were granted.
async fn ask_at_once(stores: &[Client], key: &StoredKey) -> Vec<FencingToken> {
    let asked = at_once(stores, |store| {
        let key = key.clone();
        async move {
            match store.acquire(&key, owner(), LONG).await {
                Acquired::Granted { token } => Some(token),
                Acquired::Held { .. } => None,
            }
        }
    });
    asked.await.into_iter().flatten().collect()
}

pub(crate) async fn one_of_sixteen_is_granted_a_free_key(bench: &Bench) {
    let stores = two_stores(bench).await;
    for turn in 0..10 {
        let key = bench.key(&format!("k{turn}"));
        let granted = ask_at_once(&stores, &key).await;
        assert_eq!(
            granted.len(),
            1,
            "of all who ask for a free key at once exactly one is granted"
        );
    }
}

pub(crate) async fn one_of_sixteen_is_granted_an_expired_key(bench: &Bench) {
    let stores = two_stores(bench).await;
    let keys: Vec<_> = (0..10).map(|turn| bench.key(&format!("k{turn}"))).collect();
    let mut before = Vec::new();
    for key in &keys {
        before.push(stores[0].grant(key, owner(), SHORT).await);
    }
    bench.outlive(&stores[0], SHORT).await;
    for (key, before) in keys.iter().zip(before) {
        let granted = ask_at_once(&stores, key).await;
        assert_eq!(
            granted.len(),
            1,
            "of all who ask for an expired key at once exactly one is granted"
        );
        assert!(
            granted[0] > before,
            "tokens rise over an expiry, also when many ask at once"
        );
    }
}

pub(crate) async fn one_of_sixteen_adopts_a_lease(bench: &Bench) {
    let stores = two_stores(bench).await;
    let (key, giver) = (bench.key("k"), owner());
    let token = stores[0].grant(&key, giver, LONG).await;
    let adopted = at_once(&stores, |store| {
        let key = key.clone();
        async move {
            let heir = owner();
            match store.adopt(&key, giver, heir, LONG).await {
                Adopted::Adopted { token } => Some((heir, token)),
                Adopted::NotHeld => None,
            }
        }
    });
    let heirs: Vec<_> = adopted.await.into_iter().flatten().collect();
    let [(heir, kept)] = heirs[..] else {
        panic!(
            "of all who adopt a lease at once exactly one has it, but {} had",
            heirs.len()
        );
    };
    assert_eq!(kept, token, "an adoption keeps the token");
    assert_eq!(
        stores[1].renew(&key, heir, LONG).await,
        Reply::Done,
        "who was told that it has adopted the lease has it"
    );
}

pub(crate) async fn one_of_sixteen_is_passed_a_key(bench: &Bench) {
    let stores = two_stores(bench).await;
    let (key, giver) = (bench.key("k"), owner());
    let before = stores[0].grant(&key, giver, LONG).await;
    let passed = at_once(&stores, |store| {
        let key = key.clone();
        async move {
            let next = owner();
            match store.pass(&key, giver, next, LONG).await? {
                Passed::Granted { token } => Some(Some((next, token))),
                Passed::NotHeld => Some(None),
            }
        }
    });
    let Some(passed) = passed.await.into_iter().collect::<Option<Vec<_>>>() else {
        return;
    };
    let passed: Vec<_> = passed.into_iter().flatten().collect();
    let [(next, token)] = passed[..] else {
        panic!(
            "a key is passed on once, but {} owners were told that they have it",
            passed.len()
        );
    };
    assert!(token > before, "tokens rise over a pass");
    assert_eq!(
        stores[1].renew(&key, next, LONG).await,
        Reply::Done,
        "who was told that a key was passed to it has it"
    );
}

pub(crate) async fn repeated_acquires_of_one_owner_agree_on_the_token(bench: &Bench) {
    let stores = two_stores(bench).await;
    let (key, holder) = (bench.key("k"), owner());
    let granted = at_once(&stores, |store| {
        let key = key.clone();
        async move { store.grant(&key, holder, LONG).await }
    });
    let tokens: BTreeSet<_> = granted.await.into_iter().collect();
    assert_eq!(
        tokens.len(),
        1,
        "an acquire that is sent again while the first is on its way is one grant with one token"
    );
}

pub(crate) async fn batches_in_different_orders_do_not_block_each_other(bench: &Bench) {
    const KEYS: usize = 20;
    let stores = two_stores(bench).await;
    let leases: Arc<Vec<_>> = Arc::new(
        (0..KEYS)
            .map(|number| (bench.key(&format!("k{number}")), owner()))
            .collect(),
    );
    for (key, holder) in leases.iter() {
        stores[0].grant(key, *holder, LONG).await;
    }
    let mut tasks = JoinSet::new();
    for number in 0..8 {
        let (store, leases) = (stores[number % stores.len()].clone(), Arc::clone(&leases));
        tasks.spawn(async move {
            for turn in 0..5 {
                let mut batch: Vec<_> = leases
                    .iter()
                    .map(|(key, holder)| RenewRequest::new(key.clone(), *holder, LONG))
                    .collect();
                batch.rotate_left((number * 7 + turn * 3) % KEYS);
                if number % 2 == 0 {
                    batch.reverse();
                }
                assert_eq!(
                    store.renew_many(batch).await,
                    vec![Reply::Done; KEYS],
                    "batches that name the same keys in different orders are all renewed"
                );
                let (key, _) = &leases[(number + turn) % KEYS];
                store.held(key, owner()).await;
            }
        });
    }
    all(tasks).await;
}

pub(crate) async fn many_keys_are_taken_and_released_at_once(bench: &Bench) {
    let stores = two_stores(bench).await;
    let mut tasks = JoinSet::new();
    for number in 0..TASKS {
        let store = stores[number % stores.len()].clone();
        let keys: Vec<_> = (0..5)
            .map(|turn| bench.key(&format!("{number}:{turn}")))
            .collect();
        tasks.spawn(async move {
            for key in &keys {
                let holder = owner();
                store.grant(key, holder, LONG).await;
                store.holding(key).await;
                assert_eq!(
                    store.release(key, holder).await,
                    Reply::Done,
                    "work on one key is not disturbed by work on others"
                );
            }
        });
    }
    all(tasks).await;
}

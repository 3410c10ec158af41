//! Requests of one moment, which a store may send in one statement: what befalls one of them is no matter of the others.

use std::time::Duration;

use tokio::task::JoinHandle;
use verrou::store::{
    AcquireRequest, Acquired, InspectRequest, LockStore, Owner, ReleaseRequest, Reply, StoreError,
    StoredKey,
};
use verrou::{Lock, LockFactory, LockGuard, Outcome, Wait};

use crate::{Proxy, soon};

/// As many requests come at once.
const CROWD: usize = 24;

const LONG: Duration = Duration::from_secs(60);

fn key(number: usize) -> StoredKey {
    must(StoredKey::new("", &format!("company-{number:02}")))
}

fn owner(number: usize) -> Owner {
    let mut bytes = [7; 16];
    bytes[0] = u8::try_from(number).unwrap_or(u8::MAX);
    Owner::from_bytes(bytes)
}

type Asked<T> = Vec<JoinHandle<Result<T, StoreError>>>;

/// Asks for all keys, each for the owner of its number and `shift`, in one turn of the scheduler.
fn acquires<S: LockStore + Clone>(store: &S, shift: usize) -> Asked<Acquired> {
    let ask = |number| {
        let store = store.clone();
        let request = AcquireRequest::new(key(number), owner(number + shift), LONG);
        tokio::spawn(async move { store.acquire(request).await })
    };
    (0..CROWD).map(ask).collect()
}

fn releases<S: LockStore + Clone>(store: &S, shift: usize) -> Asked<Reply> {
    let ask = |number| {
        let store = store.clone();
        let request = ReleaseRequest::new(key(number), owner(number + shift));
        tokio::spawn(async move { store.release(request).await })
    };
    (0..CROWD).map(ask).collect()
}

async fn answers<T>(asked: Asked<T>) -> Vec<Result<T, StoreError>> {
    let mut answers = Vec::with_capacity(asked.len());
    for asked in asked {
        answers.push(must(soon("an answer", asked).await));
    }
    answers
}

fn token(acquired: &Result<Acquired, StoreError>) -> u64 {
    match acquired {
        Ok(Acquired::Granted { token }) => token.get(),
        other => panic!("not granted: {other:?}"),
    }
}

/// Fails unless acquires and releases of one moment have each their own answer, as one by one.
///
/// # Panics
/// If they have not.
pub async fn each_has_its_own_answer(store: impl LockStore + Clone) {
    let first = answers(acquires(&store, 0)).await;
    let first: Vec<u64> = first.iter().map(token).collect();
    // A repetition has won with the token of the first time.
    let again = answers(acquires(&store, 0)).await;
    assert_eq!(first, again.iter().map(token).collect::<Vec<_>>());
    for held in answers(acquires(&store, 100)).await {
        assert!(
            matches!(held, Ok(Acquired::Held { remaining }) if remaining > LONG / 2 && remaining <= LONG),
            "{held:?}"
        );
    }
    for reply in answers(releases(&store, 100)).await {
        assert_eq!(must(reply), Reply::NotHeld, "a release by somebody else");
    }
    for reply in answers(releases(&store, 0)).await {
        assert_eq!(must(reply), Reply::Done);
    }
    for reply in answers(releases(&store, 0)).await {
        assert_eq!(must(reply), Reply::NotHeld, "a second release");
    }
    // Every other key is taken, so that the next statement is a mixed one.
    let (even, odd) = (0..CROWD).partition::<Vec<_>, _>(|number| number % 2 == 0);
    let mut grants = [0; CROWD];
    for number in even.iter().copied() {
        let granted = store.acquire(AcquireRequest::new(key(number), owner(number), LONG));
        grants[number] = token(&granted.await);
    }
    let asked: Vec<_> = (0..CROWD)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                if number % 2 == 0 {
                    let request = ReleaseRequest::new(key(number), owner(number));
                    assert_eq!(must(store.release(request).await), Reply::Done);
                    0
                } else {
                    let request = AcquireRequest::new(key(number), owner(number), LONG);
                    token(&store.acquire(request).await)
                }
            })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let granted = must(soon("an answer", asked).await);
        grants[number] = grants[number].max(granted);
    }
    for number in 0..CROWD {
        assert!(grants[number] > first[number], "tokens rise");
    }
    for number in odd {
        let request = ReleaseRequest::new(key(number), owner(number));
        assert_eq!(must(store.release(request).await), Reply::Done);
    }
}

/// Fails unless the tokens of one key, which `use_up` uses up, are no matter of its neighbours.
///
/// # Panics
/// If they are.
pub async fn a_neighbour_fails_alone(store: impl LockStore + Clone, use_up: impl AsyncFn(&str)) {
    answers(acquires(&store, 0)).await;
    answers(releases(&store, 0)).await;
    use_up("company-07").await;
    for (number, answer) in answers(acquires(&store, 0)).await.iter().enumerate() {
        if number == 7 {
            let error = answer.as_ref().expect_err("its tokens are used up");
            assert_eq!(error.outcome(), Outcome::NotApplied);
        } else {
            token(answer);
        }
    }
    for (number, reply) in answers(releases(&store, 0)).await.into_iter().enumerate() {
        let expected = if number == 7 {
            Reply::NotHeld
        } else {
            Reply::Done
        };
        assert_eq!(must(reply), expected);
    }
}

/// Fails unless a row that a stranger keeps locked (`:company-07`, until `stranger` lets it go) holds up nobody but who asks for
/// it.
///
/// # Panics
/// If it does.
pub async fn a_locked_row_holds_up_nobody_else<G>(
    store: impl LockStore + Clone,
    stranger: impl AsyncFnOnce() -> G,
    let_go: impl AsyncFnOnce(G),
) {
    answers(acquires(&store, 0)).await;
    answers(releases(&store, 0)).await;
    let transaction = stranger().await;
    let mut asked = acquires(&store, 0);
    let blocked = asked.remove(7);
    for answer in answers(asked).await {
        token(&answer);
    }
    assert!(!blocked.is_finished(), "the row is locked");
    let_go(transaction).await;
    let answer = must(soon("the last one", blocked).await);
    token(&answer);
    for reply in answers(releases(&store, 0)).await {
        assert_eq!(must(reply), Reply::Done);
    }
}

/// Fails unless a statement for many whose answer is lost at `proxy` has granted and released what it was asked for, once.
///
/// # Panics
/// If it has not.
pub async fn a_lost_answer_is_made_up_for(store: impl LockStore + Clone, proxy: &Proxy) {
    answers(acquires(&store, 0)).await;
    answers(releases(&store, 0)).await;
    for round in 0..5 {
        let asked = acquires(&store, round);
        // The one before the many has its answer, the many have lost theirs.
        until_some_answer(&asked).await;
        proxy.swallow_next_reply_and_cut();
        let granted = answers(asked).await;
        // Whatever is still to be swallowed is.
        let _ = store.inspect(InspectRequest::new(key(0))).await;
        for (granted, again) in granted.iter().zip(answers(acquires(&store, round)).await) {
            // The lost answer may also be that to a new connection: then it is an error, and no grant.
            if granted.is_ok() {
                assert_eq!(token(granted), token(&again));
            } else {
                token(&again);
            }
        }
        let asked = releases(&store, round);
        until_some_answer(&asked).await;
        proxy.swallow_next_reply_and_cut();
        let said = answers(asked).await;
        // Whatever is still to be swallowed is.
        let _ = store.inspect(InspectRequest::new(key(0))).await;
        for (said, next) in said.into_iter().zip(answers(releases(&store, round)).await) {
            match (said, must(next)) {
                (Ok(Reply::Done), Reply::NotHeld) => {}
                (Err(_), Reply::Done) => {}
                // Of one that went alone it is not known whether it was done the first time.
                (Err(error), Reply::NotHeld) => assert_eq!(error.outcome(), Outcome::Unknown),
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn until_some_answer<T>(asked: &Asked<T>) {
    soon("an answer", async {
        while !asked.iter().any(JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Fails unless a server that is killed with many requests under way is an error for each of those that it has not answered, and
/// nothing but what was granted is held afterwards for longer than its ttl.
///
/// # Panics
/// If it is not.
pub async fn a_killed_server_grants_nothing_by_half(
    store: impl LockStore + Clone,
    kill: impl AsyncFnOnce(),
    restart: impl AsyncFnOnce(),
) {
    answers(acquires(&store, 0)).await;
    answers(releases(&store, 0)).await;
    let asked = acquires(&store, 0);
    until_some_answer(&asked).await;
    kill().await;
    let before = answers(asked).await;
    restart().await;
    for (number, before) in before.iter().enumerate() {
        let request = || AcquireRequest::new(key(number), owner(number + 100), LONG);
        let after = soon("the server", async {
            loop {
                match store.acquire(request()).await {
                    Ok(after) => break after,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await;
        match (before, after) {
            // It is there as it was told.
            (Ok(Acquired::Granted { .. }), Acquired::Held { .. }) => {}
            (Err(error), Acquired::Held { .. }) => assert_eq!(error.outcome(), Outcome::Unknown),
            (Err(_), Acquired::Granted { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Fails unless those of many who leave leave their keys free at once, and the others get theirs.
///
/// # Panics
/// If they do not.
pub async fn who_leaves_takes_nobody_along(locks: LockFactory, elsewhere: LockFactory) {
    for polls in [1, 2, 3, 5, 8, 13, 21, 50] {
        let name = |number: usize| format!("leaving-{number:02}");
        let asked: Vec<_> = (0..CROWD)
            .map(|number| {
                let lock: Lock = locks.create_lock(name(number)).ttl(LONG);
                tokio::spawn(async move { lock.acquire().await })
            })
            .collect();
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        for asked in asked.iter().step_by(3) {
            asked.abort();
        }
        let mut guards: Vec<LockGuard> = Vec::new();
        for (number, asked) in asked.into_iter().enumerate() {
            match soon("an answer", asked).await {
                Ok(guard) => guards.push(must(guard)),
                Err(left) => assert!(left.is_cancelled() && number % 3 == 0, "{left}"),
            }
        }
        assert!(guards.len() >= CROWD * 2 / 3, "{}", guards.len());
        for guard in &guards {
            assert!(guard.is_held());
        }
        for guard in guards {
            must(guard.release().await);
        }
        for number in 0..CROWD {
            let lock = elsewhere.create_lock(name(number));
            let lock = lock.wait(Wait::For(LONG / 4));
            must(must(lock.acquire().await).release().await);
        }
    }
}

fn must<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{error:?}"),
    }
}

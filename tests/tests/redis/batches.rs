//! Requests of one moment go out in one script, and each is answered as if it were alone.

use std::time::Duration;

use tests::servers::redis::Server;
use tests::{Proxy, eventually, soon};
use tokio::task::JoinSet;
use verrou::drivers::RedisStore;
use verrou::store::{
    AcquireRequest, Acquired, InspectRequest, LockStore, Owner, ReleaseRequest, Reply, StoreError,
    StoredKey,
};
use verrou::{LockFactory, Outcome};

const TTL: Duration = Duration::from_secs(30);

/// How many ask at the same moment: the first goes alone, the others together.
const MANY: usize = 12;

fn key(number: usize) -> StoredKey {
    StoredKey::new("", &format!("{number}")).unwrap()
}

fn owners() -> Vec<Owner> {
    (0..MANY).map(|_| Owner::random().unwrap()).collect()
}

/// The answers in the order of `requests`, which are made at the same moment.
async fn at_once<T: Send + 'static>(
    requests: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let mut running = JoinSet::new();
    for (place, request) in requests.enumerate() {
        running.spawn(async move { (place, request.await) });
    }
    let mut answers = soon("the answers", running.join_all()).await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn acquire_all(store: &RedisStore, owners: &[Owner]) -> Vec<Result<Acquired, StoreError>> {
    let requests = owners.iter().enumerate().map(|(number, owner)| {
        let (store, request) = (store.clone(), AcquireRequest::new(key(number), *owner, TTL));
        async move { store.acquire(request).await }
    });
    at_once(requests).await
}

async fn release_all(store: &RedisStore, owners: &[Owner]) -> Vec<Result<Reply, StoreError>> {
    let requests = owners.iter().enumerate().map(|(number, owner)| {
        let (store, request) = (store.clone(), ReleaseRequest::new(key(number), *owner));
        async move { store.release(request).await }
    });
    at_once(requests).await
}

fn is_granted(answer: &Result<Acquired, StoreError>) -> bool {
    matches!(answer, Ok(Acquired::Granted { .. }))
}

fn is_done(answer: &Result<Reply, StoreError>) -> bool {
    matches!(answer, Ok(Reply::Done))
}

async fn store(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url()).await.unwrap()
}

fn calls(server: &Server) -> u64 {
    let stats = server.info("cmdstat_evalsha");
    let calls = stats.strip_prefix("calls=").unwrap();
    calls.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn requests_of_one_moment_share_a_script() {
    let server = Server::start();
    let store = store(&server).await;
    let owners = owners();
    let before = calls(&server);
    assert!(acquire_all(&store, &owners).await.iter().all(is_granted));
    assert!(release_all(&store, &owners).await.iter().all(is_done));
    let calls = calls(&server) - before;
    assert!(calls <= 8, "{calls} scripts for {} requests", 2 * MANY);
}

#[tokio::test]
async fn a_key_that_another_holds_is_busy_for_its_own_request_only() {
    let server = Server::start();
    let store = store(&server).await;
    let (first, second) = (owners(), owners());
    let held = &first[..MANY / 2];
    assert!(acquire_all(&store, held).await.iter().all(is_granted));
    for (number, answer) in acquire_all(&store, &second).await.iter().enumerate() {
        match answer.as_ref().unwrap() {
            Acquired::Held { remaining } => {
                assert!(number < MANY / 2 && *remaining <= TTL, "{number}");
            }
            Acquired::Granted { .. } => assert!(number >= MANY / 2, "{number}"),
        }
    }
    for (number, answer) in release_all(&store, &second).await.iter().enumerate() {
        let expected = if number < MANY / 2 {
            Reply::NotHeld
        } else {
            Reply::Done
        };
        assert_eq!(*answer.as_ref().unwrap(), expected, "{number}");
    }
    assert!(release_all(&store, held).await.iter().all(is_done));
}

#[tokio::test]
async fn the_error_of_one_is_no_error_of_its_neighbours() {
    let server = Server::start();
    let store = store(&server).await;
    let bad = MANY / 2;
    for _ in 0..5 {
        let owners = owners();
        let _: i64 = server.ask(&["LPUSH", &format!("verrou:{{k:{bad}}}lock"), "x"]);
        for (number, answer) in acquire_all(&store, &owners).await.iter().enumerate() {
            if number == bad {
                let error = answer.as_ref().unwrap_err();
                assert_eq!(error.outcome(), Outcome::NotApplied);
                assert!(error.cause().to_string().contains("WRONGTYPE"), "{error:?}");
            } else {
                assert!(is_granted(answer), "{number}: {answer:?}");
            }
        }
        for (number, answer) in release_all(&store, &owners).await.iter().enumerate() {
            assert!(is_done(answer) || number == bad, "{number}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn answers_that_are_lost_with_the_connection_come_again_the_same() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let through = RedisStore::connect(&proxy.through(&server.url()))
        .await
        .unwrap();
    let direct = store(&server).await;
    for _ in 0..5 {
        let owners = owners();
        proxy.swallow_next_reply_and_cut();
        let answers = acquire_all(&through, &owners).await;
        for (number, answer) in answers.iter().enumerate() {
            let holding = direct.inspect(InspectRequest::new(key(number))).await;
            let token = holding.unwrap().unwrap().token;
            assert_eq!(*answer.as_ref().unwrap(), Acquired::Granted { token });
        }
        proxy.swallow_next_reply_and_cut();
        assert!(release_all(&through, &owners).await.iter().all(is_done));
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_an_error_for_each_and_no_key_stays_taken() {
    let mut server = Server::start();
    let store = store(&server).await;
    let owners = owners();
    assert!(acquire_all(&store, &owners).await.iter().all(is_granted));
    assert!(release_all(&store, &owners).await.iter().all(is_done));
    server.freeze();
    let asking = {
        let (store, owners) = (store.clone(), owners.clone());
        tokio::spawn(async move { acquire_all(&store, &owners).await })
    };
    // The requests go out before the server dies, as far as this thread lets them.
    for _ in 0..MANY * 4 {
        tokio::task::yield_now().await;
    }
    server.kill();
    for answer in soon("the errors", asking).await.unwrap() {
        let _ = answer.unwrap_err();
    }
    server.restart();
    eventually("the server is back", || server.info("loading") == "0").await;
    assert!(acquire_all(&store, &owners).await.iter().all(is_granted));
    assert!(release_all(&store, &owners).await.iter().all(is_done));
}

#[tokio::test]
async fn a_member_that_is_dropped_leaves_its_key_free_and_its_neighbours_alone() {
    let server = Server::start();
    let locks = LockFactory::new(store(&server).await);
    let other = LockFactory::new(store(&server).await);
    server.freeze();
    let mut asking: Vec<_> = (0..MANY)
        .map(|number| {
            let lock = locks.create_lock(format!("{number}")).ttl(TTL);
            tokio::spawn(async move { lock.acquire().await })
        })
        .collect();
    for _ in 0..MANY * 4 {
        tokio::task::yield_now().await;
    }
    let dropped = asking.remove(MANY / 2);
    dropped.abort();
    let _ = dropped.await;
    server.thaw();
    for asking in asking {
        let guard = soon("the neighbours", asking).await.unwrap().unwrap();
        assert!(guard.is_held());
        guard.release().await.unwrap();
    }
    let its = other.create_lock(format!("{}", MANY / 2));
    let again = soon("the key of the dropped one", its.acquire()).await;
    drop(again.unwrap());
}

#[tokio::test]
async fn scripts_that_are_flushed_are_not_noticed_by_many_either() {
    let server = Server::start();
    let store = store(&server).await;
    for _ in 0..5 {
        let owners = owners();
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        assert!(acquire_all(&store, &owners).await.iter().all(is_granted));
        let _: String = server.ask(&["SCRIPT", "FLUSH"]);
        assert!(release_all(&store, &owners).await.iter().all(is_done));
    }
}

/// A full server takes every write of a script that has written once, so it may grant some of them: but never says one for
/// the other.
#[tokio::test]
async fn a_full_memory_refuses_or_grants_each_by_itself_and_every_release_works() {
    let server = Server::start();
    let store = store(&server).await;
    let (first, second) = (owners(), owners());
    let held = &first[..MANY / 2];
    assert!(acquire_all(&store, held).await.iter().all(is_granted));
    let _: String = server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for (number, answer) in acquire_all(&store, &second).await.iter().enumerate() {
        let holding = store.inspect(InspectRequest::new(key(number))).await;
        let token = holding.unwrap().map(|holding| holding.token);
        match answer {
            Ok(Acquired::Granted { token: granted }) => assert_eq!(token, Some(*granted)),
            Ok(Acquired::Held { .. }) => assert!(number < MANY / 2, "{number}"),
            Err(error) => {
                assert_eq!(token, None, "{number}");
                assert_eq!(error.outcome(), Outcome::NotApplied);
                assert!(error.cause().to_string().contains("OOM"), "{error:?}");
            }
        }
    }
    assert!(release_all(&store, held).await.iter().all(is_done));
}

#[tokio::test]
async fn a_server_that_became_a_replica_refuses_each_and_is_used_again_afterwards() {
    let server = Server::start();
    let store = store(&server).await;
    let owners = owners();
    let _: String = server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    for answer in acquire_all(&store, &owners).await {
        let error = answer.unwrap_err();
        assert!(error.cause().to_string().contains("READONLY"), "{error:?}");
    }
    let _: String = server.ask(&["REPLICAOF", "NO", "ONE"]);
    assert!(acquire_all(&store, &owners).await.iter().all(is_granted));
    assert!(release_all(&store, &owners).await.iter().all(is_done));
}

#[tokio::test]
async fn two_hundred_renewals_are_one_command() {
    let server = Server::start();
    let store = store(&server).await;
    let requests: Vec<_> = (0..200)
        .map(|number| (key(number), Owner::random().unwrap()))
        .collect();
    for (key, owner) in &requests {
        let request = AcquireRequest::new(key.clone(), *owner, TTL);
        assert!(is_granted(&store.acquire(request).await));
    }
    let renewals = |ttl| {
        let all = requests.iter();
        all.map(|(key, owner)| verrou::store::RenewRequest::new(key.clone(), *owner, ttl))
            .collect::<Vec<_>>()
    };
    let (gone, owner) = &requests[7];
    let released = store.release(ReleaseRequest::new(gone.clone(), *owner));
    assert!(is_done(&released.await));
    let before = calls(&server);
    let replies = store.renew_many(renewals(TTL * 2)).await;
    assert_eq!(calls(&server) - before, 1);
    for (number, reply) in replies.into_iter().enumerate() {
        let expected = if number == 7 {
            Reply::NotHeld
        } else {
            Reply::Done
        };
        assert_eq!(reply.unwrap(), expected, "{number}");
    }
    let left: i64 = server.ask(&["PTTL", "verrou:{k:0}lock"]);
    assert!(left > 30_000, "{left}");
}

//! Calls that are dropped on the way, and what a store leaves behind.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use sqlx::postgres::PgPoolOptions;
use tests::servers::postgres::PostgresServer;
use tests::soon;
use verrou::drivers::PostgresStore;
use verrou::{LockFactory, Retry, Wait};

use crate::{connection, number, shown};

const TTL: Duration = Duration::from_secs(60);

/// Drops an acquire after each number of polls, here and on a thread without a runtime; the key is free again long before
/// its lease would end.
async fn leaves_nothing(locks: LockFactory, application: &str) {
    let mut admin = connection(&PostgresServer::shared().url()).await;
    for polls in 0..40 {
        for elsewhere in [false, true] {
            let mut acquire = Box::pin(locks.create_lock("dropped").ttl(TTL).acquire());
            let mut left = polls;
            poll_fn(|cx| {
                if left == 0 || acquire.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                left -= 1;
                Poll::Pending
            })
            .await;
            if elsewhere {
                std::thread::spawn(move || drop(acquire)).join().unwrap();
            } else {
                drop(acquire);
            }
        }
        let started = Instant::now();
        let guard = soon(
            "the key",
            locks
                .create_lock("dropped")
                .ttl(TTL)
                .wait(Wait::Forever)
                .acquire(),
        );
        shown(shown(guard.await).release().await);
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "free only after {:?}",
            started.elapsed()
        );
        let stuck = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{application}' AND state LIKE 'idle in%'"
        );
        assert_eq!(number(&mut admin, stuck).await, 0);
    }
}

#[tokio::test]
async fn an_acquire_that_is_dropped_leaves_nothing() {
    let url = format!(
        "{}?application_name=dropped_own",
        PostgresServer::shared().url()
    );
    let store = shown(
        PostgresStore::builder(&url)
            .table("dropped_own")
            .connect()
            .await,
    );
    leaves_nothing(LockFactory::new(store), "dropped_own").await;
}

#[tokio::test]
async fn an_acquire_through_a_pool_that_is_dropped_leaves_nothing() {
    let url = format!(
        "{}?application_name=dropped_pool",
        PostgresServer::shared().url()
    );
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect_lazy(&url)
        .unwrap();
    let store = shown(
        PostgresStore::from_pool(pool)
            .table("dropped_pool")
            .connect()
            .await,
    );
    leaves_nothing(LockFactory::new(store), "dropped_pool").await;
}

#[tokio::test]
async fn connections_end_with_their_store() {
    let url = format!("{}?application_name=ended", PostgresServer::shared().url());
    let mut admin = connection(&PostgresServer::shared().url()).await;
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ended'";
    for closed in [true, false] {
        let one = LockFactory::new(shown(PostgresStore::connect(&url).await));
        let other = LockFactory::new(shown(PostgresStore::connect(&url).await));
        let lock = one.create_lock("ended").ttl(Duration::from_millis(1500));
        let held = shown(lock.acquire().await);
        // A waiter has a listener, and a short lease has a renewal over the keeper's connection.
        let slow = Retry::new().delays(TTL, TTL);
        let waiter = tokio::spawn(other.create_lock("ended").retry(slow).acquire());
        soon("a renewal and a listener", async {
            while number(&mut admin, sessions).await < 4 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        shown(held.release().await);
        shown(shown(waiter.await.unwrap()).release().await);
        if closed {
            shown(one.close().await);
            shown(other.close().await);
        }
        drop((lock, one, other));
        soon("the end of the sessions", async {
            while number(&mut admin, sessions).await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

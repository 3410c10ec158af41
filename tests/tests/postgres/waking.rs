//! Waiters in other processes hear of a release, and nobody pays for it when none waits.

use std::time::Duration;

use sqlx::postgres::PgListener;
use tests::servers::postgres::{PostgresServer, shared_url};
use tests::soon;
use verrou::drivers::{PostgresBuilder, PostgresStore};
use verrou::{LockFactory, Retry, Wait};

use crate::{bouncer, connection, execute, number, shown};

const LATE: Duration = Duration::from_secs(600);

/// A waiter that would look again after ten minutes gets the key of another store, ten times.
async fn wakes(builder: impl Fn() -> PostgresBuilder, table: &str) {
    let one = LockFactory::new(shown(builder().table(table).connect().await));
    let other = LockFactory::new(shown(builder().table(table).connect().await));
    let mut admin = connection(&PostgresServer::shared().url()).await;
    for _ in 0..10 {
        let held = shown(one.create_lock("k").ttl(LATE).acquire().await);
        let lock = other
            .create_lock("k")
            .ttl(LATE)
            .wait(Wait::Forever)
            .retry(Retry::new().delays(LATE, LATE));
        let waiter = tokio::spawn(lock.acquire());
        soon("the mark of a waiter", async {
            while number(
                &mut admin,
                format!("SELECT count(*) FROM {table} WHERE waiting > 0"),
            )
            .await
                == 0
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        shown(held.release().await);
        shown(shown(soon("a hint", waiter).await.unwrap()).release().await);
    }
}

#[tokio::test]
async fn a_release_wakes_who_waits_elsewhere() {
    let url = PostgresServer::shared().url();
    wakes(|| PostgresStore::builder(&url), "woken").await;
}

#[tokio::test]
async fn a_release_behind_pgbouncer_wakes_who_listens_past_it() {
    let (url, direct) = (
        bouncer().url_of("postgres", "postgres"),
        PostgresServer::shared().url(),
    );
    wakes(
        || {
            PostgresStore::builder(&url)
                .transaction_pooler()
                .listen_url(&direct)
        },
        "woken_past",
    )
    .await;
}

#[tokio::test]
async fn a_waiter_hears_again_after_its_listener_was_cut() {
    let url = format!(
        "{}?application_name=cut_listener",
        PostgresServer::shared().url()
    );
    let builder = || PostgresStore::builder(&url).table("woken_again");
    let one = LockFactory::new(shown(builder().connect().await));
    let other = LockFactory::new(shown(builder().connect().await));
    let mut admin = connection(&PostgresServer::shared().url()).await;
    let held = shown(one.create_lock("k").ttl(LATE).acquire().await);
    let lock = other
        .create_lock("k")
        .ttl(LATE)
        .wait(Wait::Forever)
        .retry(Retry::new().delays(LATE, LATE));
    let waiter = tokio::spawn(lock.acquire());
    let listeners = "FROM pg_stat_activity WHERE application_name = 'cut_listener' AND query LIKE 'WITH watched%'";
    let marked = "SELECT count(*) FROM woken_again WHERE waiting > 0";
    let marked = async |admin: &mut sqlx::PgConnection| {
        while number(admin, marked).await == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon("the mark of a waiter", marked(&mut admin)).await;
    assert_eq!(
        number(
            &mut admin,
            format!("SELECT count(pg_terminate_backend(pid)) {listeners}")
        )
        .await,
        1
    );
    execute(&mut admin, "UPDATE woken_again SET waiting = 0").await;
    soon("the mark of its next listener", marked(&mut admin)).await;
    shown(held.release().await);
    shown(shown(soon("a hint", waiter).await.unwrap()).release().await);
}

#[tokio::test]
async fn a_release_that_nobody_waits_for_notifies_nobody() {
    let url = shared_url();
    let table = "unheard";
    let locks = LockFactory::new(shown(
        PostgresStore::builder(&url).table(table).connect().await,
    ));
    let mut listener = PgListener::connect(&url).await.unwrap();
    listener.listen(table).await.unwrap();
    for _ in 0..100 {
        shown(
            shown(locks.create_lock("k").acquire().await)
                .release()
                .await,
        );
    }
    execute(
        &mut connection(&url).await,
        format!("NOTIFY {table}, 'the end'"),
    )
    .await;
    let first = soon("a notification", listener.recv()).await.unwrap();
    assert_eq!(first.payload(), "the end");
}

#[tokio::test]
async fn a_mark_is_used_up_by_one_notification() {
    let url = shared_url();
    let table = "heard_once";
    let locks = LockFactory::new(shown(
        PostgresStore::builder(&url).table(table).connect().await,
    ));
    let mut admin = connection(&url).await;
    let mut listener = PgListener::connect(&url).await.unwrap();
    listener.listen(table).await.unwrap();
    let held = shown(locks.create_lock("k").acquire().await);
    // A waiter that has gone since: its mark would stand for a minute.
    execute(
        &mut admin,
        format!("UPDATE {table} SET waiting = floor(extract(epoch FROM clock_timestamp()) * 1000000) + 60000000"),
    )
    .await;
    shown(held.release().await);
    for _ in 0..3 {
        let again = shown(locks.create_lock("k").acquire().await);
        shown(again.release().await);
    }
    execute(&mut admin, format!("NOTIFY {table}, 'the end'")).await;
    let first = soon("a notification", listener.recv()).await.unwrap();
    assert_ne!(first.payload(), "the end", "the marked release notifies");
    let second = soon("a notification", listener.recv()).await.unwrap();
    assert_eq!(
        second.payload(),
        "the end",
        "the mark was used up by the first"
    );
}

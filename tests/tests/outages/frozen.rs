//! A server that stands still, or a lock file that a stranger has for itself.

use std::time::{Duration, Instant};

use tests::{Driver, Site, soon};
use tokio::task::JoinSet;
use verrou::{Error, Wait};

/// The core's bound for one call.
const REQUEST: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(2);
/// What a busy machine may add to a promise.
const SLACK: Duration = Duration::from_millis(700);

super::each!(a_frozen_store_is_an_error_in_time_and_the_key_is_free_after_the_thaw:
    sqlite = Sqlite, redis = Redis, postgres = Postgres, mariadb = MySql);

/// Those who ask and those who stand behind them, whatever their `wait`; and none of them has the key afterwards.
async fn a_frozen_store_is_an_error_in_time_and_the_key_is_free_after_the_thaw(driver: Driver) {
    let Some(mut site) = Site::start(driver).await else {
        return;
    };
    let verrou = site.verrou().await;
    let lock = |key: &str, wait| verrou.create_lock(key).ttl(TTL).wait(wait);
    // The connections are up.
    for key in ["hot", "other"] {
        let guard = lock(key, Wait::Never).acquire().await.unwrap();
        guard.release().await.unwrap();
    }
    let held = verrou.create_lock("held").ttl(30 * TTL);
    let held = held.acquire().await.unwrap();

    for _ in 0..2 {
        site.freeze().await;
        let mut asking = JoinSet::new();
        let waits = [Wait::For(Duration::from_secs(1)), Wait::Forever];
        for number in 0..10 {
            let key = if number < 8 { "hot" } else { "other" };
            let lock = lock(key, waits[number % 2]);
            let begun = Instant::now();
            asking.spawn(async move { (lock.acquire().await, begun.elapsed(), number) });
        }
        while let Some(answer) = soon("an answer", asking.join_next()).await {
            let (answer, took, number) = answer.unwrap();
            let patience = if number % 2 == 0 {
                Duration::from_secs(1)
            } else {
                // It waits for nobody: the store says nothing.
                Duration::ZERO
            };
            match answer {
                Err(Error::Store { outcome: _, .. }) => {}
                other => panic!("{other:?} from a store that is frozen"),
            }
            assert!(
                took < patience + REQUEST + SLACK,
                "number {number} waited {took:?}"
            );
        }
        let thawed = Instant::now();
        site.thaw().await;
        for key in ["hot", "other"] {
            let guard = soon("the key", lock(key, Wait::Forever).acquire()).await;
            let took = thawed.elapsed();
            guard.unwrap().release().await.unwrap();
            assert!(
                took < TTL + Duration::from_secs(1) + SLACK,
                "`{key}` came {took:?} after the thaw"
            );
        }
    }
    held.check().unwrap();
    held.release().await.unwrap();
}

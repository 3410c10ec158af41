//! Processes that share a server.

use tests::servers::postgres::shared_url;
use tests::{handover, several};
use verrou::LockFactory;
use verrou::drivers::PostgresStore;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

async fn opened() -> (String, PostgresStore) {
    let url = shared_url();
    let store = PostgresStore::connect(&url).await.unwrap();
    (url, store)
}

#[tokio::test]
async fn a_lock_goes_from_one_process_to_another() {
    let (url, store) = opened().await;
    handover::between_processes(WORKER, &url, &LockFactory::new(store)).await;
}

#[tokio::test]
async fn a_renewal_under_way_does_nothing_to_a_lock_that_is_handed_over() {
    let ((_, giver), (_, taker)) = (opened().await, opened().await);
    handover::with_a_renewal_under_way(giver, taker).await;
}

#[tokio::test]
async fn the_keys_of_a_process_killed_while_it_waits_for_more_are_free_at_their_expiry() {
    let (url, store) = opened().await;
    several::killed_in_the_middle(WORKER, &url, &LockFactory::new(store)).await;
}

#[tokio::test]
async fn several_keys_in_any_order_and_overlap_block_nobody_for_ever() {
    let (url, _) = opened().await;
    several::in_any_order(WORKER, &url).await;
}

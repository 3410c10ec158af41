//! Processes that share a server.

use tests::servers::redis::{shared_cluster, shared_url};
use tests::{Folder, Process, handover, several};
use verrou::LockFactory;
use verrou::drivers::RedisStore;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

async fn increments(url: &str) {
    let folder = Folder::new();
    std::fs::write(folder.file("number"), "0").unwrap();
    std::fs::write(folder.file("tokens"), "").unwrap();
    let path = folder.path().display().to_string();
    let arguments = ["count", url, &path, "2", "250"];
    let mut workers: Vec<_> = (0..4).map(|_| Process::start(WORKER, &arguments)).collect();
    for worker in &mut workers {
        assert!(worker.ends_well().await);
    }
    assert_eq!(
        std::fs::read_to_string(folder.file("number")).unwrap(),
        "2000"
    );
    let tokens = std::fs::read_to_string(folder.file("tokens")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert_eq!(tokens.len(), 2000);
    assert!(
        tokens.is_sorted_by(|one, next| one < next),
        "tokens in file order must rise strictly"
    );
}

#[tokio::test]
async fn two_thousand_increments_in_four_processes_are_two_thousand() {
    increments(&shared_url()).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_is_refused_without_the_cluster_client() {
    let error = RedisStore::connect(&shared_cluster().urls()[0]).await;
    let error = error.unwrap_err();
    assert!(
        matches!(
            &error,
            verrou::Error::Connect {
                kind: verrou::ConnectKind::Unsupported,
                ..
            }
        ),
        "{error}"
    );
}

async fn opened() -> (String, RedisStore) {
    let url = shared_url();
    let store = RedisStore::connect(&url).await.unwrap();
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

//! Processes that share a server.

use tests::servers::redis::{shared_cluster, shared_url};
use tests::{Folder, Process};

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
    let error = verrou::drivers::RedisStore::connect(&shared_cluster().urls()[0]).await;
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

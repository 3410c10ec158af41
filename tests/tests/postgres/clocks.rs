//! Clients whose clocks are an hour fast and an hour slow.

use tests::clock_shim;
use tests::servers::postgres::PostgresServer;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

#[tokio::test]
async fn clients_an_hour_fast_and_slow_exclude_each_other() {
    clock_shim::exclude_each_other(WORKER, &PostgresServer::shared().url()).await;
}

#[tokio::test]
async fn a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry() {
    clock_shim::take_over_at_expiry(WORKER, &PostgresServer::shared().url()).await;
}

//! The short form of the fault matrix: every fault on every driver once. The longer ones are `./test.sh soak` and
//! `./test.sh sabotage`.

#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may fail loudly, and says which seeds it had"
)]

use std::io::Write as _;
use std::path::Path;

use tests::matrix::report::Report;
use tests::matrix::{Cell, Driver, Fault, Stand};
use tests::servers::is_skipped;
use tokio::sync::Semaphore;

/// Two drivers at a time: bounds of time are checked, and the machine may be small.
static TURNS: Semaphore = Semaphore::const_new(2);

async fn every_fault_on(driver: Driver) {
    if is_skipped(driver.name()) {
        // Past the capture of the test harness.
        let said = format!(
            "SKIPPED: the matrix on {}, as VERROU_TEST_SKIP says\n",
            driver.name()
        );
        let _ = std::io::stderr().write_all(said.as_bytes());
        return;
    }
    let _turn = TURNS.acquire().await.unwrap();
    let load = Path::new(env!("CARGO_BIN_EXE_load"));
    let mut stand = Stand::start(driver).await;
    let mut report = Report::default();
    for cell in Cell::all(driver) {
        let seed = fastrand::u64(..);
        println!("{cell} with seed {seed:#x}");
        let mut volatile = (cell.fault == Fault::Volatile).then(Stand::volatile);
        let stand = volatile.as_mut().unwrap_or(&mut stand);
        report.add(&cell.run(stand, load, seed).await);
    }
    println!("{}", report.table());
    let broken = report.violations();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let untried = report.untried(driver);
    assert!(untried.is_empty(), "{}", untried.join("\n"));
}

#[tokio::test]
async fn memory_keeps_its_promises_under_every_fault() {
    every_fault_on(Driver::Memory).await;
}

#[tokio::test]
async fn sqlite_keeps_its_promises_under_every_fault() {
    every_fault_on(Driver::Sqlite).await;
}

#[tokio::test]
async fn redis_keeps_its_promises_under_every_fault() {
    every_fault_on(Driver::Redis).await;
}

#[tokio::test]
async fn postgres_keeps_its_promises_under_every_fault() {
    every_fault_on(Driver::Postgres).await;
}

#[tokio::test]
async fn mysql_keeps_its_promises_under_every_fault() {
    every_fault_on(Driver::MySql).await;
}

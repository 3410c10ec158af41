//! The short form of the fault matrix.
#![cfg(target_os = "linux")]

use std::path::Path;

use tests::matrix::{Cell, Driver, Stand};

async fn run(driver: Driver) {
    let only = std::env::var("VERROU_TEST_CELL").ok();
    let mut stand = Stand::start(driver).await;
    for cell in Cell::all(driver) {
        if only.as_ref().is_some_and(|only| !cell.to_string().contains(only)) { continue }
        let seed = fastrand::u64(..);
        let mut volatile = (cell.fault == tests::matrix::Fault::Volatile).then(Stand::volatile);
        let started = std::time::Instant::now();
        let run = cell.run(volatile.as_mut().unwrap_or(&mut stand), Path::new(env!("CARGO_BIN_EXE_load")), seed).await;
        println!("{cell} seed {seed:x} took {:?}\n  {:?}", started.elapsed(), run.figures);
        for violation in run.violations.iter().take(10) {
            println!("  VIOLATION {}: {}", violation.check, violation.seen);
        }
        println!("  {} violations; probes {:?}", run.violations.len(), run.circumstances.probes.iter().map(|p| p.1 / 1_000_000).max());
    }
}

#[tokio::test]
async fn memory() { run(Driver::Memory).await; }
#[tokio::test]
async fn sqlite() { run(Driver::Sqlite).await; }
#[tokio::test]
async fn redis() { run(Driver::Redis).await; }
#[tokio::test]
async fn postgres() { run(Driver::Postgres).await; }
#[tokio::test]
async fn mysql() { run(Driver::MySql).await; }

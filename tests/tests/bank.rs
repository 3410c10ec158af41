//! The example that a newcomer runs first, as a newcomer runs it: what it says and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::process::Stdio;
use std::time::Duration;

use tests::example;
use tests::servers::{self, is_skipped};
use tokio::process::Command;

/// Long enough for the whole bank on a slow machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// Runs the example; its exit code, and all that it wrote.
async fn transfer(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(example::built("transfer").await)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, output)
        .await
        .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn the_bank_says_what_it_cannot_use_and_keeps_every_coin_in_memory() {
    for (arguments, phrase) in [
        (["--store", "x://user:canary@h"], "unknown store `x`"),
        (
            ["--store", "redis://user:canary@127.0.0.1:1/"],
            "could not set up the redis store",
        ),
        (["--store", "canary"], "unknown store"),
        (
            ["--storage", "x://user:canary@h"],
            "cannot read the arguments",
        ),
        (
            ["--store", "sqlite:/no/such/canary/locks.db"],
            "the directory of the file does not exist",
        ),
        (["--store", "sqlite:/"], "the path is a directory"),
    ] {
        let (code, text) = transfer(&arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(phrase), "{arguments:?}: {text}");
        assert!(!text.contains("canary"), "{arguments:?}: {text}");
    }
    let (code, text) = transfer(&["--store", "memory"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("every coin is there"), "{text}");
}

/// The four-process run with its locks on a server.
async fn keeps_every_coin(url: &str) {
    // One at a time: each takes all that the machine has.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let (code, text) = transfer(&["--store", url]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("every coin is there"), "{text}");
}

#[tokio::test]
async fn four_processes_keep_every_coin_on_redis() {
    if !is_skipped("redis") {
        keeps_every_coin(&servers::redis::shared_url()).await;
    }
}

#[tokio::test]
async fn four_processes_keep_every_coin_on_postgres() {
    if !is_skipped("postgres") {
        keeps_every_coin(&servers::postgres::shared_url()).await;
    }
}

#[tokio::test]
async fn four_processes_keep_every_coin_on_mysql() {
    if !is_skipped("mysql") {
        let server = servers::mariadb::MariaDb::for_tests().await;
        keeps_every_coin(&server.database("").await).await;
    }
}

//! A service that is told to end: it finishes what it is doing if that is quick, stops it if not, and leaves no key taken.
//!
//! ```text
//! cargo run -p examples --example graceful_shutdown -- sqlite:/tmp/locks.db [SECONDS]    then Ctrl-C, or `kill PID`
//! ```
//!
//! Without `shutdown` the keys would stay taken until their leases end, for the end of a process is not a release.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use verrou::{Error, Verrou, drivers::SqliteStore, locked};

/// What the service gives to jobs that are under way.
const PATIENCE: Duration = Duration::from_secs(1);

#[locked("job:<name>", wait = forever)]
async fn job(name: &str, length: Duration) -> Result<(), Error> {
    println!("begun {name}");
    tokio::time::sleep(length).await;
    println!("finished {name}");
    Ok(())
}

/// One job after the other, until the service is to end.
async fn work(name: &'static str, length: Duration, ending: watch::Receiver<bool>) {
    while !*ending.borrow() {
        match job(name, length).await {
            Ok(()) => {}
            // Not begun: it was still waiting for its lock, here behind the other worker of that name.
            Err(Error::ShutDown) => return println!("never begun {name}"),
            // Stopped at its next await, because the shutdown has taken its lock away.
            Err(error) if error.is_lost() => return println!("stopped {name}"),
            Err(error) => return println!("failed {name}: {error}"),
        }
    }
}

async fn told_to_end() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = term.recv() => Ok(()),
            ended = tokio::signal::ctrl_c() => ended,
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let locks = arguments.next().ok_or("give the URL of an SQLite store")?;
    let length = arguments.next().map_or(Ok(3_600), |text| text.parse())?;
    let verrou = Verrou::builder()
        .store("locks", SqliteStore::connect(&locks).await?)
        .build()?;
    verrou::init(verrou.clone())?;

    let (end, ending) = watch::channel(false);
    let mut workers = JoinSet::new();
    for _ in 0..2 {
        workers.spawn(work("long", Duration::from_secs(length), ending.clone()));
    }
    workers.spawn(work("short", Duration::from_millis(50), ending));

    told_to_end().await?;
    // 1. No new jobs; those under way may finish, if they are quick.
    end.send_replace(true);
    let all = async { while workers.join_next().await.is_some() {} };
    let quick = tokio::time::timeout(PATIENCE, all).await.is_ok();
    println!(
        "{}",
        if quick {
            "all have finished"
        } else {
            "some are still at work"
        }
    );
    // 2. What still waits is sent away, what still runs is stopped, and all keys are released.
    verrou.shutdown().await?;
    while workers.join_next().await.is_some() {}
    println!("released");
    Ok(())
}

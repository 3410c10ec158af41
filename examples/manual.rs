//! A lock by hand, without the macro: acquire, handle the timeout, use the token, release.
//!
//! Run it: `cargo run -p examples --example manual`

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::time::Duration;

use verrou::drivers::MemoryStore;
use verrou::{Error, Verrou, Wait};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()?;
    let lock = verrou
        .create_lock("report:2026")
        .wait(Wait::For(Duration::from_millis(200)));

    let guard = lock.acquire().await?;
    println!("held, with fencing token {}", guard.token());

    // Somebody else wants it meanwhile, and gives up after its 200 ms.
    match lock.acquire().await {
        Err(Error::Timeout { waited, .. }) => println!("somebody else waited {waited:.0?} in vain"),
        other => println!("unexpected: {other:?}"),
    }
    if let Some(holder) = lock.inspect().await? {
        println!("the holder calls itself {}", holder.holder);
    }

    // Before an effect that leaves the process: is it still ours? And send the token along.
    guard.check()?;
    guard.release().await?;
    println!("free again: {}", !lock.is_locked().await?);
    verrou.shutdown().await
}

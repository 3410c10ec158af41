//! A process of its own for the tests that kill, pause and count: only the public API, one line for each thing it does.
//!
//! ```text
//! worker count URL FOLDER TASKS ROUNDS   adds 1 to FOLDER/number and a token to FOLDER/tokens, TASKS x ROUNDS times
//! worker hold URL KEY TTL_MS             takes KEY, says `held TOKEN`, and renews it until it is killed
//! worker write URL KEY TTL_MS RESOURCE   the same without renewal; writes to RESOURCE until the lock is lost, and once more
//! worker wait URL KEY TTL_MS             says `waiting`, takes KEY, says `held TOKEN`, and releases it
//! ```
//!
//! Moments are in microseconds of the wall clock, which the processes of one machine share.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to the test over its output"
)]

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tests::{Resource, wall_micros};
use verrou::{Verrou, Wait};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let url = arguments.get(1).ok_or("no url")?;
    let builder = tests::site::register(Verrou::builder(), url).await?;
    let verrou = builder.build()?;
    match arguments.as_slice() {
        ["count", _, folder, tasks, rounds] => {
            count(&verrou, folder, tasks.parse()?, rounds.parse()?).await?
        }
        ["hold", _, key, ttl] => hold(&verrou, key, milliseconds(ttl)?).await?,
        ["write", _, key, ttl, resource] => {
            write(&verrou, key, milliseconds(ttl)?, resource).await?
        }
        ["wait", _, key, ttl] => wait(&verrou, key, milliseconds(ttl)?).await?,
        other => return Err(format!("cannot read {other:?}").into()),
    }
    verrou.shutdown().await?;
    Ok(())
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

async fn count(verrou: &Verrou, folder: &str, tasks: usize, rounds: usize) -> Outcome {
    let mut counting = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let lock = verrou.create_lock("number").wait(Wait::Forever);
        let (number, tokens) = (
            Path::new(folder).join("number"),
            Path::new(folder).join("tokens"),
        );
        counting.spawn(async move {
            for _ in 0..rounds {
                let guard = lock.acquire().await?;
                let before: u64 = std::fs::read_to_string(&number)?.trim().parse()?;
                tokio::task::yield_now().await;
                std::fs::write(&number, (before + 1).to_string())?;
                let mut tokens = OpenOptions::new().append(true).open(&tokens)?;
                writeln!(tokens, "{}", guard.token())?;
                guard.release().await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(counted) = counting.join_next().await {
        counted??;
    }
    Ok(())
}

async fn hold(verrou: &Verrou, key: &str, ttl: Duration) -> Outcome {
    let guard = verrou.create_lock(key).ttl(ttl).acquire().await?;
    println!("held {}", guard.token());
    guard.lost().await;
    println!("lost {}", wall_micros());
    Ok(())
}

async fn write(verrou: &Verrou, key: &str, ttl: Duration, resource: &str) -> Outcome {
    let resource = Resource::open(resource).await?;
    let guard = verrou
        .create_lock(key)
        .ttl(ttl)
        .renew(false)
        .acquire()
        .await?;
    println!("held {}", guard.token());
    let lost = tokio::spawn({
        let lost = guard.lost();
        async move {
            lost.await;
            println!("lost {}", wall_micros());
        }
    });
    while guard.check().is_ok() {
        // What a careful program does, and all that a lease can give: it may be paused right here.
        let accepted = resource.write(guard.token()).await?;
        println!(
            "{} {}",
            if accepted { "wrote" } else { "rejected" },
            wall_micros()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("stopped {}", wall_micros());
    lost.await?;
    // What no program should do: it knows of the loss, and writes all the same.
    let accepted = resource.write(guard.token()).await?;
    println!("stale {}", if accepted { "wrote" } else { "rejected" });
    Ok(())
}

async fn wait(verrou: &Verrou, key: &str, ttl: Duration) -> Outcome {
    let lock = verrou.create_lock(key).ttl(ttl).wait(Wait::Forever);
    println!("waiting");
    let guard = lock.acquire().await?;
    println!("held {} {}", guard.token(), wall_micros());
    guard.release().await?;
    Ok(())
}

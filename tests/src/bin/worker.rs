//! A process of its own for the tests that kill, pause and count: only the public API, one line for each thing it does.
//!
//! ```text
//! worker count URL FOLDER TASKS ROUNDS   adds 1 to FOLDER/number and a token to FOLDER/tokens, TASKS x ROUNDS times
//! worker hold URL KEY TTL_MS             takes KEY, says `held TOKEN`, and renews it until it is killed
//! worker write URL KEY TTL_MS RESOURCE   the same without renewal; writes to RESOURCE until the lock is lost, and once more
//! worker wait URL KEY TTL_MS             says `waiting`, takes KEY, says `held TOKEN`, and releases it
//! worker circle URL KEY TTL_MS TASKS     TASKS tasks take KEY in turn, say `held TOKEN`, and release it, until it is killed
//! worker give URL KEY TTL_MS             takes KEY, says `gave TOKEN TEXT` once it has handed it on; lives until its input ends
//! worker take URL TEXT                   takes up what TEXT hands on, says `held TOKEN`, and renews it until its input ends;
//!                                        or says `not held`
//! worker all URL TTL_MS KEY..            says `waiting`, takes all KEYs, says `held` and their tokens, and renews until its input ends
//! worker weave URL FOLDER TASKS ROUNDS SEED
//!                                        TASKS x ROUNDS times takes one to four of five keys in an order by chance, and adds 1 to
//!                                        FOLDER/KEY for each; says `added` and how much in all
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
use verrou::{Error as LockError, SerializedLock, Verrou, Wait};

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
        ["circle", _, key, ttl, tasks] => {
            circle(&verrou, key, milliseconds(ttl)?, tasks.parse()?).await?
        }
        ["give", _, key, ttl] => give(&verrou, key, milliseconds(ttl)?).await?,
        ["take", _, text] => take(&verrou, text).await?,
        ["all", _, ttl, keys @ ..] => all(&verrou, keys, milliseconds(ttl)?).await?,
        ["weave", _, folder, tasks, rounds, seed] => {
            weave(
                &verrou,
                folder,
                tasks.parse()?,
                rounds.parse()?,
                seed.parse()?,
            )
            .await?
        }
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

async fn circle(verrou: &Verrou, key: &str, ttl: Duration, tasks: usize) -> Outcome {
    let mut circling = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let lock = verrou.create_lock(key).ttl(ttl).wait(Wait::Forever);
        circling.spawn(async move {
            loop {
                let guard = lock.acquire().await?;
                println!("held {}", guard.token());
                guard.release().await?;
            }
        });
    }
    circling.join_next().await.map_or(Ok(()), |ended| ended?)
}

/// Waits until the test closes the pipe.
async fn end_of_input() -> Outcome {
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    Ok(())
}

async fn give(verrou: &Verrou, key: &str, ttl: Duration) -> Outcome {
    let guard = verrou.create_lock(key).ttl(ttl).acquire().await?;
    let token = guard.token();
    println!("gave {token} {}", guard.into_serialized()?.expose());
    end_of_input().await
}

async fn take(verrou: &Verrou, text: &str) -> Outcome {
    let serialized: SerializedLock = text.parse()?;
    match verrou.restore_lock(&serialized).await {
        Ok(guard) => {
            println!("held {}", guard.token());
            end_of_input().await?;
            guard.release().await?;
        }
        Err(LockError::NotHeld { .. }) => println!("not held"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn all(verrou: &Verrou, keys: &[&str], ttl: Duration) -> Outcome {
    let keys = keys.iter().copied();
    let lock = verrou.create_lock_all(keys).ttl(ttl).wait(Wait::Forever);
    println!("waiting");
    let guard = lock.acquire().await?;
    let tokens: Vec<_> = guard
        .keys()
        .filter_map(|key| guard.token_of(key))
        .map(|token| token.to_string())
        .collect();
    println!("held {}", tokens.join(" "));
    end_of_input().await?;
    guard.release().await?;
    Ok(())
}

async fn weave(verrou: &Verrou, folder: &str, tasks: u64, rounds: u64, seed: u64) -> Outcome {
    let mut weaving = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (verrou, folder) = (verrou.clone(), folder.to_owned());
        // Any number will do: SplitMix64.
        let mut state = seed << 32 | task;
        let mut chance = move |below: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) % below
        };
        weaving.spawn(async move {
            let mut added: u64 = 0;
            for _ in 0..rounds {
                let number = chance(4) + 1;
                let keys: Vec<_> = (0..number)
                    .map(|_| format!("woven-{}", chance(5)))
                    .collect();
                let guard = verrou
                    .create_lock_all(keys)
                    .wait(Wait::Forever)
                    .acquire()
                    .await?;
                for key in guard.keys() {
                    let file = Path::new(&folder).join(key);
                    let before: u64 = std::fs::read_to_string(&file)?.trim().parse()?;
                    tokio::task::yield_now().await;
                    std::fs::write(&file, (before + 1).to_string())?;
                    added += 1;
                }
                guard.release().await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(added)
        });
    }
    let mut added = 0;
    while let Some(woven) = weaving.join_next().await {
        added += woven??;
    }
    println!("added {added}");
    Ok(())
}

//! Several keys at once, in processes that die and cross each other, on a store of any server.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use verrou::{Error, LockFactory};

use crate::{Folder, Process, soon};

/// What is left to a busy machine beyond the promise.
const SLACK: Duration = Duration::from_secs(1);

/// Fails unless the keys that a process has won so far are kept while it waits for another one, and are free a ttl after it
/// was killed. `locks` and `worker` (the program of `worker.rs`) are on the store at `url`.
///
/// # Panics
/// If they are not.
pub async fn killed_in_the_middle(worker: &str, url: &str, locks: &LockFactory) {
    let ttl = Duration::from_secs(2);
    let blocker = must(locks.create_lock("middle-c").acquire().await);
    let arguments = ["all", url, "2000", "middle-c", "middle-b", "middle-a"];
    let mut dying = Process::start(worker, &arguments);
    dying.says("waiting").await;
    let pid = format!(":{}", dying.pid());
    let won = [locks.create_lock("middle-a"), locks.create_lock("middle-b")];
    let holds_both = async || {
        for lock in &won {
            let holder = must(lock.inspect().await);
            if holder.is_none_or(|holder| !holder.holder.ends_with(&pid)) {
                return false;
            }
        }
        true
    };
    soon("the first two keys", async {
        while !holds_both().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let since = Instant::now();
    while since.elapsed() < ttl * 3 / 2 {
        assert!(holds_both().await, "a key that was won was not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    dying.signal(Signal::KILL);
    let killed = Instant::now();
    assert!(!dying.ends_well().await, "it was killed");
    // The waiters of its keys are not held up by the one that it did not get.
    let mut next = Process::start(worker, &["all", url, "2000", "middle-b", "middle-a"]);
    next.says("held").await;
    let late = killed.elapsed();
    assert!(late < ttl + SLACK, "free only after {late:?}");
    assert!(blocker.is_held());
    next.ends_input();
    assert!(next.ends_well().await, "the next one failed");
    for lock in &won {
        assert!(!must(lock.is_locked().await), "it was not released");
    }
    must(blocker.release().await);
}

/// Fails unless processes whose tasks take overlapping sets of keys in every order all come to their end, and one at a time.
///
/// # Panics
/// If they do not.
pub async fn in_any_order(worker: &str, url: &str) {
    let folder = Folder::new();
    let files: Vec<_> = (0..5)
        .map(|key| folder.file(&format!("woven-{key}")))
        .collect();
    for file in &files {
        if let Err(error) = std::fs::write(file, "0") {
            panic!("cannot write {file}: {error}");
        }
    }
    let path = folder.path().display().to_string();
    let mut workers: Vec<_> = ["1", "2", "3"]
        .iter()
        .map(|seed| Process::start(worker, &["weave", url, &path, "4", "15", seed]))
        .collect();
    let mut added = 0;
    for worker in &mut workers {
        added += number(&worker.says("added").await);
        assert!(worker.ends_well().await, "a worker failed");
    }
    let texts = files.iter().map(std::fs::read_to_string);
    let found: u64 = texts.flatten().map(|text| number(&text)).sum();
    assert_eq!(found, added, "two had one key");
    assert!(added > 180, "{added} are too few to cross each other");
}

fn number(text: &str) -> u64 {
    match text.trim().parse() {
        Ok(number) => number,
        Err(error) => panic!("`{text}`: {error}"),
    }
}

fn must<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{error}"),
    }
}

//! What holds between processes that share an SQLite file, when they are killed and paused.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Folder, Process, Resource, handover, several, soon, wall_micros};
use verrou::drivers::SqliteStore;
use verrou::{FencingToken, LockFactory, Wait};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

async fn locks(folder: &Folder) -> LockFactory {
    LockFactory::new(SqliteStore::connect(&folder.sqlite()).await.unwrap())
}

#[tokio::test]
async fn two_thousand_increments_in_four_processes_are_two_thousand() {
    let folder = Folder::new();
    std::fs::write(folder.file("number"), "0").unwrap();
    std::fs::write(folder.file("tokens"), "").unwrap();
    let path = folder.path().display().to_string();
    let arguments = ["count", &folder.sqlite(), &path, "2", "250"];
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
async fn the_key_of_a_killed_holder_is_free_at_its_expiry_and_not_before() {
    let ttl = Duration::from_secs(1);
    let folder = Folder::new();
    let mut holder = Process::start(WORKER, &["hold", &folder.sqlite(), "k", "1000"]);
    let dead: u64 = holder.says("held").await.parse().unwrap();
    let mut waiter = Process::start(WORKER, &["wait", &folder.sqlite(), "k", "1000"]);
    waiter.says("waiting").await;
    let locks = locks(&folder).await;
    let lock = locks.create_lock("k");
    // Beyond the first ttl, so that its end is that of a renewal.
    soon("a renewed lease", async {
        loop {
            let holder = lock.inspect().await.unwrap().expect("it is alive");
            assert_eq!(holder.token.get(), dead, "the lease was not renewed");
            if holder.since.elapsed().is_ok_and(|held| held > ttl) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    holder.signal(Signal::KILL);
    let killed = wall_micros();
    assert!(!holder.ends_well().await);
    let left = lock
        .inspect()
        .await
        .unwrap()
        .expect("the dead holder still has its lease")
        .remaining;
    let inspected = Instant::now();
    let said = waiter.says("held").await;
    let waited = inspected.elapsed();
    let (token, at) = said.split_once(' ').unwrap();
    let (token, at): (u64, u64) = (token.parse().unwrap(), at.parse().unwrap());
    assert!(token > dead, "{token} after {dead}");
    let late = Duration::from_micros(at - killed);
    assert!(
        late <= ttl + Duration::from_millis(500),
        "free only after {late:?}"
    );
    // `remaining` is older than `inspected`, so a grant before the expiry would be seen here.
    assert!(
        waited + Duration::from_millis(20) >= left,
        "granted {waited:?} after {left:?} were left"
    );
    assert!(waiter.ends_well().await);
}

#[tokio::test]
async fn a_holder_paused_past_its_lease_stops_and_its_last_write_is_rejected() {
    let folder = Folder::new();
    let file = folder.file("resource.db");
    let mut holder = Process::start(WORKER, &["write", &folder.sqlite(), "k", "400", &file]);
    let old: u64 = holder.says("held").await.parse().unwrap();
    holder.says("wrote").await;
    holder.signal(Signal::STOP);

    let locks = locks(&folder).await;
    let next = locks.create_lock("k").wait(Wait::Forever).acquire();
    let next = soon("the key of the paused holder", next).await.unwrap();
    assert!(next.token() > FencingToken::new(old).unwrap());
    let resource = Resource::open(&file).await.unwrap();
    assert!(resource.write(next.token()).await.unwrap());

    // What it wrote before the pause may still stand in the pipe: only what it says after this moment counts.
    let resumed = wall_micros();
    holder.signal(Signal::CONT);
    let (mut attempts, mut rejected, mut lost) = (0, 0, None);
    let mut stale = Vec::new();
    while let Some(line) = holder.line().await {
        let (word, at) = line.split_once(' ').unwrap();
        if word == "stale" {
            stale.push(at.to_owned());
            continue;
        }
        let at: u64 = at.parse().unwrap();
        match word {
            "wrote" if at > resumed => attempts += 1,
            "rejected" => {
                attempts += 1;
                rejected += 1;
            }
            "lost" => lost = Some(Duration::from_micros(at.saturating_sub(resumed))),
            _ => {}
        }
    }
    assert!(holder.ends_well().await);
    assert!(
        attempts <= 1 && attempts == rejected,
        "{attempts} attempts, {rejected} rejected"
    );
    // It heard of the loss and wrote once more: there the token is all that stands in the way.
    assert_eq!(stale, ["rejected"]);
    let lost = lost.expect("it must hear of the loss");
    assert!(
        lost < Duration::from_millis(100),
        "it heard of the loss {lost:?} after it ran again"
    );
    assert!(next.is_held());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn clients_an_hour_fast_and_slow_exclude_each_other() {
    let folder = Folder::new();
    tests::clock_shim::exclude_each_other(WORKER, &folder.sqlite()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dead_client_an_hour_fast_or_slow_is_taken_over_at_its_expiry() {
    let folder = Folder::new();
    tests::clock_shim::take_over_at_expiry(WORKER, &folder.sqlite()).await;
}

#[tokio::test]
async fn a_lock_goes_from_one_process_to_another() {
    let folder = Folder::new();
    let (url, locks) = (folder.sqlite(), locks(&folder).await);
    handover::between_processes(WORKER, &url, &locks).await;
}

#[tokio::test]
async fn a_renewal_under_way_does_nothing_to_a_lock_that_is_handed_over() {
    let folder = Folder::new();
    let opened = async || SqliteStore::connect(&folder.sqlite()).await.unwrap();
    handover::with_a_renewal_under_way(opened().await, opened().await).await;
}

#[tokio::test]
async fn the_keys_of_a_process_killed_while_it_waits_for_more_are_free_at_their_expiry() {
    let folder = Folder::new();
    let (url, locks) = (folder.sqlite(), locks(&folder).await);
    several::killed_in_the_middle(WORKER, &url, &locks).await;
}

#[tokio::test]
async fn several_keys_in_any_order_and_overlap_block_nobody_for_ever() {
    let folder = Folder::new();
    several::in_any_order(WORKER, &folder.sqlite()).await;
}

//! A key that is passed on inside of a process while the link breaks, and while the process is killed.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{Driver, Process, Proxy, Site, site, soon};
use verrou::{Error, FencingToken, Outcome, Verrou, Wait};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// What a busy machine may add to a promise.
const SLACK: Duration = Duration::from_millis(700);

super::each!(a_grant_whose_answer_is_lost_is_the_heirs_or_nobodys:
    redis = Redis, postgres = Postgres, mariadb = MySql);

async fn a_grant_whose_answer_is_lost_is_the_heirs_or_nobodys(driver: Driver) {
    let Some(site) = Site::start(driver).await else {
        return;
    };
    let proxy = Proxy::to(site.port());
    let builder = site::register(Verrou::builder(), &proxy.through(&site.url())).await;
    let verrou = builder.unwrap().build().unwrap();
    let elsewhere = site.verrou().await;
    // A lease that the test does not wait for.
    let ttl = Duration::from_secs(120);
    let lock = verrou.create_lock("k").ttl(ttl).wait(Wait::Forever);
    let mut held = lock.acquire().await.unwrap();
    for _ in 0..5 {
        let heir = lock.clone();
        let heir = tokio::spawn(async move { heir.acquire().await });
        // It stands in the queue: nothing tells when.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (before, swallowed) = (held.token(), proxy.traffic().swallowed);
        proxy.swallow_next_reply_and_cut();
        match held.release().await {
            // The call was repeated on another connection.
            Ok(()) => {}
            Err(Error::Store { outcome, .. }) => assert_eq!(outcome, Outcome::Unknown),
            Err(error) => panic!("{error:?}"),
        }
        assert_eq!(proxy.traffic().swallowed, swallowed + 1);
        held = soon("the grant of the heir", heir).await.unwrap().unwrap();
        assert!(held.is_held() && held.token() > before);
        let stolen = elsewhere.create_lock("k").try_acquire().await.unwrap();
        assert!(stolen.is_none() && held.is_held());
    }
    held.release().await.unwrap();
    let free = elsewhere.create_lock("k").is_locked().await.unwrap();
    assert!(!free, "something of it is still held");
}

super::each!(a_process_killed_while_it_passes_a_key_on_blocks_it_for_a_lease_at_most:
    sqlite = Sqlite, redis = Redis, postgres = Postgres, mariadb = MySql);

async fn a_process_killed_while_it_passes_a_key_on_blocks_it_for_a_lease_at_most(driver: Driver) {
    let Some(site) = Site::start(driver).await else {
        return;
    };
    let verrou = site.verrou().await;
    let ttl = Duration::from_secs(1);
    let lock = verrou.create_lock("k").ttl(ttl).wait(Wait::Forever);
    for _ in 0..3 {
        let mut dying = Process::start(WORKER, &["circle", &site.url(), "k", "1000", "4"]);
        let mut last: u64 = 0;
        for _ in 0..100 {
            last = dying.says("held").await.parse().unwrap();
        }
        dying.signal(Signal::KILL);
        let killed = Instant::now();
        let next = soon("the key of the dead", lock.acquire()).await.unwrap();
        let late = killed.elapsed();
        assert!(late < ttl + SLACK, "free only after {late:?}");
        while let Some(line) = dying.line().await {
            // The last line may be half a one.
            let token = line.strip_prefix("held ").map(str::parse::<u64>);
            last = token
                .and_then(Result::ok)
                .map_or(last, |token| token.max(last));
        }
        assert!(!dying.ends_well().await, "it was killed");
        assert!(next.token() > FencingToken::new(last).unwrap());
        next.release().await.unwrap();
    }
}

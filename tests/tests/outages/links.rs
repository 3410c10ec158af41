//! Links that are cut, swallow all, or are deaf: for half of a lease, and for longer than one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::{Driver, Link, Proxy, Site, eventually, site, soon};
use tokio::task::JoinSet;
use verrou::{Error, LockGuard, Verrou};

const WAYS: [Link; 3] = [Link::Cut, Link::Silent, Link::Deaf];

async fn through(proxy: &Proxy, site: &Site) -> Verrou {
    let builder = site::register(Verrou::builder(), &proxy.through(&site.url())).await;
    builder.unwrap().build().unwrap()
}

mod half {
    use std::time::Duration;

    /// At the worst phase a guard has an eighth of it left after the cut: time for a busy machine.
    pub(super) const TTL: Duration = Duration::from_secs(6);
    pub(super) const LINKS: u32 = 10;
    /// On each link: 40 in all.
    pub(super) const CUTS: u32 = 4;
    /// On each link, begun at different moments.
    pub(super) const GUARDS: u32 = 6;
}

/// How long before the store's expiry a guard gives up, as DESIGN has it.
fn margin(ttl: Duration) -> Duration {
    (ttl / 20).max(Duration::from_millis(10).min(ttl / 4))
}

/// How long ago the last request was sent that was granted.
fn age(guard: &LockGuard, ttl: Duration) -> Duration {
    (ttl - margin(ttl)).saturating_sub(guard.remaining())
}

super::each!(forty_cuts_of_half_a_lease_lose_no_lock: redis = Redis, postgres = Postgres, mariadb = MySql);

async fn forty_cuts_of_half_a_lease_lose_no_lock(driver: Driver) {
    let Some(site) = Site::start(driver).await else {
        return;
    };
    let held: Arc<[AtomicBool]> = (0..half::LINKS).map(|_| AtomicBool::new(false)).collect();
    let mut links = JoinSet::new();
    for number in 0..half::LINKS {
        let proxy = Proxy::to(site.port());
        let verrou = through(&proxy, &site).await;
        links.spawn(one_link(proxy, verrou, held.clone(), number));
    }
    // A stranger, whose link is never cut, gets none of the keys.
    let stranger = site.verrou().await;
    while !links.is_empty() {
        for number in 0..half::LINKS * half::GUARDS {
            let (link, guard) = (number % half::LINKS, number / half::LINKS);
            let held = || held[link as usize].load(Ordering::SeqCst);
            if held() {
                let lock = stranger.create_lock(format!("{link}-{guard}"));
                let stolen = lock.try_acquire().await.unwrap();
                assert!(stolen.is_none() || !held(), "{link}-{guard} was free");
            }
        }
        while let Some(ended) = links.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn one_link(proxy: Proxy, verrou: Verrou, held: Arc<[AtomicBool]>, number: u32) {
    use half::{CUTS, GUARDS, LINKS, TTL};
    let period = TTL / 3;
    let mut guards = Vec::new();
    for guard in 0..GUARDS {
        let lock = verrou.create_lock(format!("{number}-{guard}")).ttl(TTL);
        guards.push(lock.acquire().await.unwrap());
        tokio::time::sleep(period / GUARDS).await;
    }
    let tokens: Vec<_> = guards.iter().map(LockGuard::token).collect();
    held[number as usize].store(true, Ordering::SeqCst);
    let all_held = |when: &str| {
        for guard in &guards {
            assert!(guard.is_held(), "{} was lost {when}", guard.key());
        }
    };
    for cut in 0..CUTS {
        // The renewal of the first guard at all of its phases, over the 40 cuts; the others at phases of their own.
        let phase = period * (number * CUTS + cut) / (LINKS * CUTS);
        let first = &guards[0];
        eventually("a renewal", || age(first, TTL) < period / 4).await;
        let mut before = Duration::ZERO;
        eventually("the phase", || {
            // It may be renewed a little early, with others.
            let renewed = age(first, TTL) < before;
            before = age(first, TTL);
            renewed || before >= phase
        })
        .await;
        let way = WAYS[(number + cut) as usize % WAYS.len()];
        let begun = Instant::now();
        proxy.set(way);
        while begun.elapsed() < TTL / 2 {
            all_held(&format!("in a cut of half a lease ({way:?}, at {phase:?})"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        proxy.set(Link::Open);
        let healed = Instant::now();
        let renewed = |guard: &LockGuard| age(guard, TTL) < healed.elapsed();
        eventually("all are renewed", || {
            all_held(&format!(
                "after a cut of half a lease ({way:?}, at {phase:?})"
            ));
            guards.iter().all(renewed)
        })
        .await;
    }
    held[number as usize].store(false, Ordering::SeqCst);
    for (guard, token) in guards.into_iter().zip(tokens) {
        let held = verrou.create_lock(guard.key()).inspect().await.unwrap();
        assert_eq!(held.map(|held| held.token), Some(token));
        guard.release().await.unwrap();
    }
}

super::each!(a_cut_longer_than_the_lease_stops_the_body_in_time: redis = Redis, postgres = Postgres, mariadb = MySql);

const TTL: Duration = Duration::from_secs(2);
/// What a loss may take to be told of, and what a busy machine may add to it.
const TOLD: Duration = Duration::from_millis(100);
const SLACK: Duration = Duration::from_millis(400);

async fn a_cut_longer_than_the_lease_stops_the_body_in_time(driver: Driver) {
    let Some(site) = Site::start(driver).await else {
        return;
    };
    let stranger = site.verrou().await;
    let mut cuts = JoinSet::new();
    for way in WAYS {
        for phase in 0..2 {
            let proxy = Proxy::to(site.port());
            let verrou = through(&proxy, &site).await;
            cuts.spawn(long_cut(
                proxy,
                verrou,
                stranger.clone(),
                way,
                TTL / 3 * phase / 2,
            ));
        }
    }
    while let Some(ended) = cuts.join_next().await {
        ended.unwrap();
    }
}

/// What a body saw last.
#[derive(Default)]
struct Seen {
    polled: Option<Instant>,
    deadline: Option<Instant>,
}

/// Polled all the time; says of each poll when it was, and when the lease ends, as far as the guard knows.
async fn busy_body(guard: &LockGuard, seen: Arc<Mutex<Seen>>) {
    loop {
        let now = Instant::now();
        *seen.lock().unwrap() = Seen {
            polled: Some(now),
            deadline: Some(now + guard.remaining()),
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn long_cut(proxy: Proxy, verrou: Verrou, stranger: Verrou, way: Link, phase: Duration) {
    let what = format!("{way:?} at {phase:?}");
    let key = format!("{way:?}-{}", phase.as_millis());
    let seen = Arc::new(Mutex::new(Seen::default()));
    let running = tokio::spawn({
        let (lock, seen) = (verrou.create_lock(&key).ttl(TTL), seen.clone());
        async move {
            let body = async |guard: &LockGuard| busy_body(guard, seen).await;
            (lock.run(body).await, Instant::now())
        }
    });
    eventually("the body runs", || seen.lock().unwrap().polled.is_some()).await;
    let plain = verrou.create_lock(format!("{key}-plain")).ttl(TTL);
    let plain = plain.acquire().await.unwrap();
    let token = plain.token();
    let told = tokio::spawn({
        let lost = plain.lost();
        async move {
            lost.await;
            Instant::now()
        }
    });
    eventually("a renewal", || age(&plain, TTL) > TTL / 6).await;
    eventually("a renewal", || age(&plain, TTL) < TTL / 12).await;
    eventually("the phase", || age(&plain, TTL) >= phase).await;
    proxy.set(way);
    let cut = Instant::now();
    // On a thread of its own, which nobody holds up.
    let (plain, last_true) = tokio::task::spawn_blocking(move || {
        let mut last_true = Instant::now();
        let mut remaining = plain.remaining();
        while plain.is_held() {
            last_true = Instant::now();
            remaining = plain.remaining();
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = Instant::now();
        while ended.elapsed() < Duration::from_millis(50) {
            assert!(!plain.is_held(), "a lost lease came back");
        }
        (plain, last_true + remaining)
    })
    .await
    .unwrap();
    let deadline = last_true;
    // Nothing was confirmed after the cut, so no guard may believe in its lease for longer than this.
    assert!(deadline <= cut + TTL - margin(TTL), "{what}");
    assert!(plain.check().unwrap_err().is_lost(), "{what}");
    let told = soon("the loss", told).await.unwrap();
    assert!(
        told < deadline + TOLD + SLACK,
        "{what}: told {:?} late",
        told - deadline
    );
    let (result, ended) = soon("the body", running).await.unwrap();
    assert!(
        matches!(result, Err(Error::Lost { .. })),
        "{what}: {result:?}"
    );
    {
        let seen = seen.lock().unwrap();
        let (polled, deadline) = (seen.polled.unwrap(), seen.deadline.unwrap());
        assert!(deadline <= cut + TTL - margin(TTL), "{what}");
        // The moment of the poll is taken a little after the look at the deadline.
        let last = Duration::from_millis(20);
        assert!(polled < deadline + last, "{what}: the body was polled on");
        assert!(
            ended < deadline + TOLD + SLACK,
            "{what}: ended {:?} late",
            ended - deadline
        );
    }
    // The next holder has it after the lease, and what arrives late from the other side of the cut is not for it.
    let next = stranger.create_lock(plain.key()).ttl(3 * TTL);
    let next = soon("the next holder", next.acquire()).await.unwrap();
    assert!(next.token() > token);
    proxy.set(Link::Open);
    let healed = Instant::now();
    while healed.elapsed() < TTL {
        next.extend(2 * TTL).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(plain);
    next.release().await.unwrap();
}

//! A store with many keys, half of them held: listing goes on in small steps.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _};
use tests::{Driver, Site};
use verrou::{LockFactory, Wait};

use crate::each;

/// No call may take longer.
const CALL: Duration = Duration::from_millis(100);

each!(no_page_of_20_000_keys_takes_long: memory = Memory, sqlite = Sqlite, redis = Redis, postgres = Postgres, mysql = MySql);
each!(#[ignore = "for a machine that does nothing else: 100 000 keys on each driver, and no call over 100 ms"]
    no_page_of_100_000_keys_takes_long: memory = Memory, sqlite = Sqlite, redis = Redis, postgres = Postgres, mysql = MySql);

/// Beside other tests a page may be held up, so here it is all but the slowest ones that count.
async fn no_page_of_20_000_keys_takes_long(driver: Driver) {
    let Some(times) = times_of_pages(driver, 20_000).await else {
        return;
    };
    let most = times[times.len() * 9 / 10];
    assert!(most < CALL, "one page in ten takes {most:?} or more");
}

async fn no_page_of_100_000_keys_takes_long(driver: Driver) {
    let Some(times) = times_of_pages(driver, 100_000).await else {
        return;
    };
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{}: {} pages, median {median:.1?}, longest {longest:.1?}",
        driver.name(),
        times.len()
    );
    assert!(longest < CALL, "a page takes {longest:?}");
}

/// Lists `keys`, every second of which is held, and says how long the pages took, in order.
async fn times_of_pages(driver: Driver, keys: u32) -> Option<Vec<Duration>> {
    let site = Site::start(driver).await?;
    let verrou = site.verrou().await;
    let locks = verrou.store("locks").unwrap();
    fill(&site, &locks, keys).await;
    let mut times = Vec::new();
    let mut found = std::collections::BTreeSet::new();
    let mut pages = locks.list_pages("k");
    loop {
        let begun = Instant::now();
        let page = pages.next().await.unwrap();
        times.push(begun.elapsed());
        let Some(page) = page else { break };
        found.extend(page.into_iter().map(|(key, _)| key));
    }
    assert_eq!(found.len(), keys as usize / 2, "every held key is listed");
    verrou.shutdown().await.unwrap();
    times.sort_unstable();
    Some(times)
}

/// Makes `keys` keys of one real lease, for it would take long to acquire all of them.
async fn fill(site: &Site, locks: &LockFactory, keys: u32) {
    let hour = Duration::from_secs(3600);
    let seed = |key: &str| locks.create_lock(key).ttl(hour).wait(Wait::Never).acquire();
    let url = site.url();
    if site.memory().is_some() {
        for number in (2..=keys).step_by(2) {
            std::mem::forget(seed(&format!("k{number:06}")).await.unwrap());
        }
        return;
    }
    std::mem::forget(seed("seed").await.unwrap());
    let numbers = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {keys})"
    );
    let of_seed = "verrou_locks AS l, numbers WHERE l.";
    match url.split(':').next() {
        Some("redis") => {
            let script = "local lock = redis.call('GET', 'verrou:{k:seed}lock') \
                 for n = 1, tonumber(ARGV[1]) do local name = string.format('verrou:{k:k%06d}', n) \
                 redis.call('SET', name .. 'fence', 1, 'EX', 3600) \
                 if n % 2 == 0 then redis.call('SET', name .. 'lock', lock, 'EX', 3600) end end";
            let () = tests::servers::redis::ask(&url, &["EVAL", script, "0", &keys.to_string()]);
        }
        Some("postgres") => {
            let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
            let statement = format!(
                "INSERT INTO verrou_locks (key, owner, holder, token, granted, expiry) {numbers} \
                 SELECT convert_to(':k' || lpad(n::text, 6, '0'), 'UTF8'), owner, holder, token, granted, \
                 CASE WHEN n % 2 = 0 THEN expiry ELSE 0 END FROM {of_seed}key = ':seed'::bytea"
            );
            let query = sqlx::raw_sql(AssertSqlSafe(statement));
            query.execute(&mut connection).await.unwrap();
        }
        Some("mysql") => {
            let mut connection = sqlx::MySqlConnection::connect(&url).await.unwrap();
            let statement = format!(
                "SET SESSION max_recursive_iterations = {keys}; \
                 INSERT INTO verrou_locks (`key`, owner, holder, token, granted, expiry) {numbers} \
                 SELECT CONCAT(':k', LPAD(n, 6, '0')), owner, holder, token, granted, \
                 IF(n % 2 = 0, expiry, 0) FROM {of_seed}`key` = ':seed'"
            );
            let query = sqlx::raw_sql(AssertSqlSafe(statement));
            query.execute(&mut connection).await.unwrap();
        }
        _ => {
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let statement = format!(
                "INSERT INTO verrou_locks (key, owner, holder, token, boot, granted, expiry) {numbers} \
                 SELECT CAST(printf(':k%06d', n) AS BLOB), owner, holder, token, boot, granted, \
                 CASE WHEN n % 2 = 0 THEN expiry ELSE 0 END FROM {of_seed}key = CAST(':seed' AS BLOB)"
            );
            let query = sqlx::raw_sql(AssertSqlSafe(statement));
            query.execute(&mut connection).await.unwrap();
        }
    }
}

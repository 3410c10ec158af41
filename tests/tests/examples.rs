//! The examples that serve, wait and end: each is run as the program that it is, and does what its first lines say.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection as _;
use tests::{Folder, Process, example, soon};
use verrou::LockFactory;
use verrou::drivers::SqliteStore;

/// An answer: the status, the header `Retry-After`, the text.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    text: String,
}

/// One request of a real client, with a connection of its own; `None` for the body of a GET.
async fn request(url: String, body: Option<String>) -> Answer {
    let asking = tokio::task::spawn_blocking(move || {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        let agent = config.new_agent();
        let answer = match body {
            Some(body) => agent.post(&url).content_type("application/json").send(body),
            None => agent.get(&url).call(),
        };
        let mut answer = answer.unwrap();
        let retry_after = answer.headers().get("retry-after");
        Answer {
            status: answer.status().as_u16(),
            retry_after: retry_after.map(|value| value.to_str().unwrap().to_owned()),
            text: answer.body_mut().read_to_string().unwrap(),
        }
    });
    soon("an answer", asking).await.unwrap()
}

async fn get(url: &str) -> String {
    let answer = request(url.to_owned(), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

/// Starts a server; the URL at which it listens.
async fn serve(program: &str, arguments: &[&str]) -> (Process, String) {
    let mut process = Process::start(program, arguments);
    let url = process.says("listening on ").await;
    (process, url)
}

fn order(from: u64, to: u64) -> Option<String> {
    Some(format!("{{\"from\":{from},\"to\":{to},\"amount\":1}}"))
}

#[tokio::test]
async fn axum_transfer_keeps_every_coin_and_says_what_a_client_should_do() {
    const REQUESTS: u64 = 200;
    let program = example::built("axum_transfer").await;
    let folder = Folder::new();
    let path = folder.path().to_str().unwrap();
    let (_one, one_url) = serve(&program, &[path]).await;
    let (_other, other_url) = serve(&program, &[path]).await;
    let urls = Arc::new([one_url, other_url]);
    let total = get(&format!("{}/total", urls[0])).await;

    let clients = (0..REQUESTS).map(|number| {
        let url = format!("{}/transfers", urls[usize::from(number % 2 == 0)]);
        tokio::spawn(async move {
            // Few accounts, all of them hot.
            let (from, to) = (number % 5, (number / 5) % 4 + 5);
            loop {
                let answer = request(url.clone(), order(from, to)).await;
                match (answer.status, answer.retry_after.as_deref()) {
                    (200, _) => return,
                    (409, Some(seconds)) => {
                        let pause = Duration::from_secs(seconds.parse().unwrap());
                        tokio::time::sleep(pause).await;
                    }
                    (status, _) => panic!("{status}: {}", answer.text),
                }
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        soon("a transfer", client).await.unwrap();
    }
    // Nothing was lost: the givers have given, the takers have got it.
    assert_eq!(get(&format!("{}/total", urls[1])).await, total);
    let accounts = format!("sqlite:{}", folder.file("accounts.db"));
    let mut accounts = sqlx::SqliteConnection::connect(&accounts).await.unwrap();
    let given = "SELECT SUM(1000 - balance) FROM account WHERE id < 5";
    let given: i64 = sqlx::query_scalar(given)
        .fetch_one(&mut accounts)
        .await
        .unwrap();
    assert_eq!(given.unsigned_abs(), REQUESTS);

    // Busy is 409, with the time after which to come back.
    let transfers = format!("{}/transfers", urls[0]);
    let locks = SqliteStore::connect(&folder.sqlite()).await.unwrap();
    let locks = LockFactory::new(locks);
    let held = locks.create_lock("account:1").acquire().await.unwrap();
    let busy = request(transfers.clone(), order(1, 2)).await;
    assert_eq!((busy.status, busy.retry_after.as_deref()), (409, Some("1")));
    assert!(busy.text.contains("account:1"), "{}", busy.text);
    held.release().await.unwrap();
    assert_eq!(request(transfers.clone(), order(1, 2)).await.status, 200);

    // A store that does not answer is 503.
    let mut blocking = sqlx::SqliteConnection::connect(&folder.sqlite())
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut blocking)
        .await
        .unwrap();
    let down = request(transfers.clone(), order(1, 2)).await;
    assert_eq!(down.status, 503, "{}", down.text);
    sqlx::query("ROLLBACK")
        .execute(&mut blocking)
        .await
        .unwrap();
    assert_eq!(request(transfers, order(1, 2)).await.status, 200);
}

#[tokio::test]
async fn cron_leader_does_one_job_at_each_tick() {
    let program = example::built("cron_leader").await;
    let mut leader = Process::start(&program, &[]);
    let mut ticks = 0;
    while let Some(line) = leader.line().await {
        if line.starts_with("tick") {
            ticks += 1;
        } else {
            assert_eq!(line, "no tick had two jobs");
        }
    }
    assert_eq!(ticks, 5);
    assert!(leader.ends_well().await);
}

#[cfg(unix)]
#[tokio::test]
async fn graceful_shutdown_leaves_no_key_taken() {
    let program = example::built("graceful_shutdown").await;
    let folder = Folder::new();
    let mut service = Process::start(&program, &[&folder.sqlite()]);
    service.says("begun long").await;
    service.signal(rustix::process::Signal::TERM);
    service.says("some are still at work").await;
    let mut ends = BTreeSet::new();
    while let Some(line) = service.line().await {
        ends.insert(line);
    }
    let expected = ["stopped long", "never begun long", "released"].map(str::to_owned);
    assert_eq!(ends, BTreeSet::from(expected));
    assert!(service.ends_well().await);
    // At once, not after the ttl.
    let locks = SqliteStore::connect(&folder.sqlite()).await.unwrap();
    let locks = LockFactory::new(locks);
    assert!(locks.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_metrics_example_has_every_metric_of_the_page() {
    let program = example::built("metrics").await;
    let (_service, url) = serve(&program, &[]).await;
    let page = include_str!("../../verrou/src/docs/observing.md");
    let names: BTreeSet<_> = page
        .lines()
        .filter_map(|row| row.strip_prefix("| `verrou_"))
        .map(|row| format!("verrou_{}", row.split('`').next().unwrap()))
        .collect();
    assert!(names.len() >= 10, "{names:?}");
    // Each line of `# TYPE NAME KIND`.
    let scraped = |text: &str| -> BTreeSet<String> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    };
    let mut text = String::new();
    soon("all metrics", async {
        while scraped(&text) != names {
            tokio::time::sleep(Duration::from_millis(20)).await;
            text = get(&url).await;
        }
    })
    .await;
    for line in [
        "# TYPE verrou_wait_seconds histogram",
        "# HELP verrou_lost_total ",
        "verrou_acquires_total{store=\"locks\",template=\"order:<id>\",outcome=\"granted\"} ",
        "verrou_hold_seconds_bucket{store=\"locks\",template=\"kept\",le=\"+Inf\"} ",
        "verrou_store_call_seconds_count{store=\"locks\",operation=\"acquire\",outcome=\"done\"} ",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
}

#[tokio::test]
async fn hand_over_begins_in_a_request_and_ends_in_a_worker() {
    let program = example::built("hand_over").await;
    let mut service = Process::start(&program, &[]);
    let worker = service.says("worker ").await;
    let url = service.says("listening on ").await + "/reports/2026";
    assert_eq!(get(&url).await, "there is none\n");
    let begun = request(url.clone(), Some(String::new())).await;
    assert_eq!(begun.status, 202, "{}", begun.text);
    let again = request(url.clone(), Some(String::new())).await;
    assert_eq!(
        (again.status, again.retry_after.as_deref()),
        (409, Some("1"))
    );
    let mut seen = BTreeSet::new();
    let report = soon("the report", async {
        loop {
            let text = get(&url).await;
            if text.starts_with("report") {
                break text;
            }
            seen.insert(text);
        }
    })
    .await;
    let token = report.trim().rsplit(' ').next().unwrap().to_owned();
    let by_worker = format!(":{worker}, token {token}\n");
    assert!(
        seen.iter().any(|text| text.ends_with(&by_worker)),
        "{seen:?}"
    );
    // The token stays the same through the hand-over.
    assert!(
        seen.iter()
            .all(|text| text.ends_with(&format!(", token {token}\n")))
    );
    let next = request(url.clone(), Some(String::new())).await;
    assert_eq!(next.status, 202, "{}", next.text);
}

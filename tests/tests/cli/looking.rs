//! What an operator looks at, and does.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Connection as _;
use tests::{Driver, Site, soon};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::shell::{Shell, command};
use crate::{each, shared};

shared!(
    a_watch_looks_again_and_ends_with_the_store,
    namespaces_and_tables_are_apart,
    a_check_says_what_a_lock_costs,
    a_purge_removes_what_is_idle,
);

async fn a_watch_looks_again_and_ends_with_the_store(driver: Driver) {
    let Some(mut shell) = Shell::ready(driver).await else {
        return;
    };
    let mut watch = shell
        .command(&["list", "--json", "--watch"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut look = async || {
        let line = soon("a look", lines.next_line()).await.unwrap();
        let line = line?;
        // Each line is whole, and there is a next one.
        let look: Value = serde_json::from_str(&line).unwrap();
        Some(look.as_array().unwrap().len())
    };
    assert_eq!(look().await, Some(0));
    let run = shell.start(&["run", "k", "--", "sleep", "1000"]);
    while look().await != Some(1) {}
    run.signal(rustix::process::Signal::TERM);
    run.ends().await;
    while look().await != Some(0) {}

    if driver == Driver::Sqlite {
        // Who only reads is let past the stranger that has the file locked.
        let mut connection = sqlx::SqliteConnection::connect(&shell.site.url())
            .await
            .unwrap();
        let gone = sqlx::raw_sql("DROP TABLE verrou_locks");
        gone.execute(&mut connection).await.unwrap();
    } else {
        shell.site.go_away().await;
    }
    while look().await.is_some() {}
    let done = soon("the end of the watch", watch.wait_with_output())
        .await
        .unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(69), "{err}");
    assert!(
        err.starts_with("verrou: could not list") && err.lines().count() == 1,
        "{err}"
    );
}

/// The pace is the same on every store; Redis counts its commands.
#[tokio::test]
async fn a_watch_costs_no_more_than_five_calls_a_second() {
    let Some(site) = Site::start(Driver::Redis).await else {
        return;
    };
    // Several pages.
    let fill =
        "for n = 1, 4000 do redis.call('SET', string.format('verrou:{k:%d}fence', n), n) end";
    let () = tests::servers::redis::ask(&site.url(), &["EVAL", fill, "0"]);
    let scans = || {
        let stats: String = tests::servers::redis::ask(&site.url(), &["INFO", "commandstats"]);
        let calls = |line: &str| {
            line.split(['=', ','])
                .nth(1)
                .and_then(|calls| calls.parse::<u32>().ok())
        };
        let of_scan = stats.lines().find(|line| line.starts_with("cmdstat_scan:"));
        of_scan.and_then(calls).unwrap_or(0)
    };
    let begun = Instant::now();
    let mut watch = command(&site.url(), &["list", "--json", "--watch"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        soon("a look", lines.next_line()).await.unwrap();
    }
    let (calls, time) = (scans(), begun.elapsed());
    watch.kill().await.unwrap();
    assert!(
        calls >= 8,
        "{calls} calls are not two looks of several pages"
    );
    assert!(
        f64::from(calls) <= 5.0 * time.as_secs_f64() + 1.0,
        "{calls} calls in {time:?}"
    );
}

async fn namespaces_and_tables_are_apart(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    // A table of its own is made by who takes a lock in it.
    shell
        .says(&["--table", "own", "run", "k", "--", "true"], 0)
        .await;
    let outer = [
        "--namespace",
        "shop",
        "run",
        "k",
        "--",
        "sh",
        "-c",
        "unset VERROU_KEY; \"$0\" run k --wait never -- \"$0\" --table own run k --wait never -- \"$0\" list --json --namespace shop",
    ];
    let mut arguments = outer.to_vec();
    arguments.push(env!("CARGO_BIN_EXE_verrou-cli"));
    let listed: Value = serde_json::from_str(&shell.says(&arguments, 0).await).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let nothing = shell.says(&["list"], 0).await;
    assert!(nothing.contains("--namespace"), "{nothing}");
}

async fn a_check_says_what_a_lock_costs(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let checked = shell.says(&["check"], 0).await;
    for word in [driver.name(), "p50", "remember"] {
        assert!(checked.contains(word), "{checked}");
    }
    if driver == Driver::Redis {
        // The server of this test keeps nothing.
        assert!(checked.contains("append-only"), "{checked}");
    }
    let left = shell.json(&["list", "--json"]).await;
    assert_eq!(left.as_array().unwrap().len(), 0, "{left}");
}

async fn a_purge_removes_what_is_idle(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    shell.says(&["run", "old", "--", "true"], 0).await;
    let kept = shell.says(&["purge", "--idle", "30d"], 0).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let gone = shell.says(&["purge", "--idle", "10ms"], 0).await;
    if driver == Driver::Redis {
        assert!(kept.contains("nothing to purge"), "{kept}");
    } else {
        assert!(kept.starts_with("removed 0 keys"), "{kept}");
        // `old`, and what has made the table.
        assert!(gone.starts_with("removed 2 keys"), "{gone}");
    }
}

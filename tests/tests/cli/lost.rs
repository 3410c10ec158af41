//! A lock that is lost while its command runs.

use std::time::{Duration, Instant};

use tests::{Driver, eventually};

use crate::shell::{Running, Shell, lives, written};
use crate::{each, shared};

shared!(
    a_command_is_ended_before_the_ttl_when_the_store_stays_away,
    a_command_is_ended_when_its_lock_is_freed_by_force,
    a_command_goes_on_without_its_lock_if_that_is_wanted,
);

/// A run whose command, and what that has started, bear a TERM; the numbers of both.
async fn stubborn(shell: &Shell, ttl: &str) -> (Running, Vec<String>) {
    let file = shell.file("stubborn");
    let script = format!(
        "trap '' TERM; sh -c 'while :; do sleep 0.05; done' & echo $$ $! > {file}; while :; do sleep 0.05; done"
    );
    let run = shell.start(&["run", "k", "--ttl", ttl, "--", "sh", "-c", &script]);
    let pids = written(&file).await;
    (run, pids.split(' ').map(str::to_owned).collect())
}

async fn a_command_is_ended_before_the_ttl_when_the_store_stays_away(driver: Driver) {
    const TTL: Duration = Duration::from_secs(4);
    let Some(mut shell) = Shell::ready(driver).await else {
        return;
    };
    let (run, pids) = stubborn(&shell, "4s").await;
    // Counted from before the last renewal that can have come through.
    let away = Instant::now();
    shell.site.go_away().await;
    eventually("the command is ended", || {
        !pids.iter().any(|pid| lives(pid))
    })
    .await;
    assert!(away.elapsed() < TTL, "{:?}", away.elapsed());
    let done = run.ends().await;
    assert_eq!(done.code, Some(76), "{done:?}");
    assert!(
        done.err.lines().count() == 1 && done.line().contains("`k`"),
        "{done:?}"
    );
}

async fn a_command_is_ended_when_its_lock_is_freed_by_force(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let (run, pids) = stubborn(&shell, "3s").await;
    let asked = shell.run(&["release", "k"]).await;
    assert_eq!(asked.code, Some(64), "{asked:?}");
    assert!(asked.line().contains("--force"), "{asked:?}");
    let freed = shell.says(&["release", "k", "--force"], 0).await;
    assert!(freed.contains(&format!(":{}", run.pid())), "{freed}");
    let done = run.ends().await;
    assert_eq!(done.code, Some(76), "{done:?}");
    assert!(!pids.iter().any(|pid| lives(pid)), "{done:?}");
    let freed = shell.says(&["release", "k", "--force"], 0).await;
    assert_eq!(freed, "`k` was free\n");
}

async fn a_command_goes_on_without_its_lock_if_that_is_wanted(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let (ready, go) = (shell.file("ready"), shell.file("go"));
    let script = format!("echo ready > {ready}; until [ -e {go} ]; do sleep 0.02; done; exit 5");
    let run = [
        "run",
        "k",
        "--ttl",
        "1s",
        "--on-lost",
        "warn",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let run = shell.start(&run);
    written(&ready).await;
    shell.says(&["release", "k", "--force"], 0).await;
    // It has heard of it when somebody else has held the key for a ttl.
    shell.says(&["run", "k", "--", "sleep", "1"], 0).await;
    std::fs::write(&go, "").unwrap();
    let done = run.ends().await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(done.line().contains("lost the lock `k`"), "{done:?}");
}

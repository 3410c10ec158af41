//! `verrou run`: a lock around a command.

use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tests::Driver;

use crate::shell::{Shell, lives, written};
use crate::{each, shared};

shared!(
    two_runs_of_one_key_never_overlap,
    a_killed_run_takes_its_command_along_and_frees_the_key_after_its_ttl,
    list_shows_holder_token_and_since_of_a_run,
    a_run_ends_as_its_command_does,
    several_keys_are_taken_all_or_none,
);

async fn two_runs_of_one_key_never_overlap(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let log = shell.file("log");
    let script = format!("echo begin >> {log}; sleep 0.03; echo end >> {log}");
    let turns = async || {
        for _ in 0..5 {
            let run = ["run", "report", "--wait", "50s", "--", "sh", "-c", &script];
            shell.says(&run, 0).await;
        }
    };
    tokio::join!(turns(), turns());
    let log = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 20);
    for pair in lines.chunks(2) {
        assert_eq!(pair, ["begin", "end"], "{lines:?}");
    }
}

/// What `kill -9` of verrou leaves behind: no command, and a lease that runs out.
async fn a_killed_run_takes_its_command_along_and_frees_the_key_after_its_ttl(driver: Driver) {
    const TTL: Duration = Duration::from_secs(3);
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let file = shell.file("first");
    let script = format!("echo $$ $VERROU_TOKEN > {file}; exec sleep 1000");
    let first = shell.start(&["run", "report", "--ttl", "3s", "--", "sh", "-c", &script]);
    let first_file = written(&file).await;
    let (command, token) = first_file.split_once(' ').unwrap();
    assert!(lives(command));

    let killed = Instant::now();
    first.signal(Signal::KILL);
    first.ends().await;
    tests::eventually("the command has ended with verrou", || !lives(command)).await;
    assert!(killed.elapsed() < TTL, "{:?}", killed.elapsed());
    let next = "echo $VERROU_TOKEN";
    let next = shell
        .says(&["run", "report", "--", "sh", "-c", next], 0)
        .await;
    // The lease was renewed at most a moment before, and a loaded machine takes its time to start a program.
    assert!(killed.elapsed() < TTL + Duration::from_secs(5));
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    assert!(number(&next) > number(token), "{next} after {token}");
}

async fn list_shows_holder_token_and_since_of_a_run(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let (file, go) = (shell.file("token"), shell.file("go"));
    let begun = SystemTime::now();
    let script =
        format!("echo $VERROU_KEY $VERROU_TOKEN > {file}; until [ -e {go} ]; do sleep 0.02; done");
    let run = shell.start(&["run", "report:1", "--", "sh", "-c", &script]);
    let told = written(&file).await;
    let listed = shell.json(&["list", "report:", "--json"]).await;
    let inspected = shell.json(&["inspect", "report:1", "--json"]).await;
    let [entry] = listed.as_array().unwrap().as_slice() else {
        panic!("one key is held, but list says {listed}");
    };
    for entry in [entry, &inspected] {
        assert_eq!(
            told,
            format!("{} {}", entry["key"].as_str().unwrap(), entry["token"])
        );
        let holder = entry["holder"].as_str().unwrap();
        assert!(holder.ends_with(&format!(":{}", run.pid())), "{holder}");
        let since = humantime::parse_rfc3339(entry["since"].as_str().unwrap()).unwrap();
        // Times of two looks at two clocks, cut to milliseconds.
        let slack = Duration::from_millis(50);
        assert!(
            since + slack >= begun && since <= SystemTime::now() + slack,
            "{entry}"
        );
        assert!(
            entry["remaining_ms"]
                .as_u64()
                .is_some_and(|left| left <= 20_000)
        );
    }
    assert_eq!(inspected["held"], true);
    // People see the same.
    let table = shell.says(&["list"], 0).await;
    assert!(table.contains("report:1") && table.contains(&entry["token"].to_string()));
    let shown = shell.says(&["inspect", "report:1"], 0).await;
    assert!(shown.contains(&format!(":{}", run.pid())), "{shown}");
    assert!(
        shell
            .json(&["list", "other:", "--json"])
            .await
            .as_array()
            .unwrap()
            .is_empty()
    );

    // Held, so that nobody else gets it, and nobody waits in vain for its end.
    let busy = shell
        .run(&["run", "report:1", "--wait", "never", "--", "true"])
        .await;
    assert_eq!(busy.code, Some(75), "{busy:?}");
    assert!(busy.line().contains("`report:1`"), "{busy:?}");
    let busy = shell
        .run(&["run", "report:1", "--wait", "100ms", "--", "true"])
        .await;
    assert_eq!(busy.code, Some(75), "{busy:?}");
    let held = shell.run(&["wait", "report:1", "--wait", "100ms"]).await;
    assert_eq!(held.code, Some(75), "{held:?}");
    let waiting = shell.start(&["wait", "report:1"]);
    std::fs::write(&go, "").unwrap();
    assert_eq!(waiting.ends().await.code, Some(0));
    assert_eq!(run.ends().await.code, Some(0));
    // Released at once.
    shell
        .says(&["run", "report:1", "--wait", "never", "--", "true"], 0)
        .await;
}

async fn a_run_ends_as_its_command_does(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let once = async |command: &[&str]| {
        let mut arguments = vec!["run", "k", "--wait", "never", "--"];
        arguments.extend(command);
        shell.run(&arguments).await
    };
    // Each of them finds the key free: the one before has released it at once.
    let done = once(&["sh", "-c", "echo out; echo err >&2; exit 7"]).await;
    assert_eq!(
        (done.code, &*done.out, &*done.err),
        (Some(7), "out\n", "err\n")
    );
    assert_eq!(
        once(&["sh", "-c", "kill -KILL $$"]).await.code,
        Some(128 + 9)
    );
    let done = once(&["no-such-command"]).await;
    assert_eq!(done.code, Some(127));
    assert!(done.line().contains("no-such-command"), "{done:?}");
    assert_eq!(once(&["/"]).await.code, Some(126));
    assert_eq!(once(&["true"]).await.code, Some(0));

    // A signal goes to the command, which does with it what it likes.
    let file = shell.file("ready");
    let script =
        format!("trap 'echo got; exit 9' TERM; echo ready > {file}; while :; do sleep 0.02; done");
    let run = shell.start(&["run", "k", "--wait", "never", "--", "sh", "-c", &script]);
    written(&file).await;
    run.signal(Signal::TERM);
    let done = run.ends().await;
    assert_eq!((done.code, &*done.out), (Some(9), "got\n"), "{done:?}");

    // One that waits has no command yet: it ends by the signal itself, and leaves nothing behind.
    let file = shell.file("holding");
    let script = format!("echo holding > {file}; exec sleep 1000");
    let holder = shell.start(&["run", "k", "--", "sh", "-c", &script]);
    written(&file).await;
    let waiter = shell.start(&["run", "k", "--", "true"]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    waiter.signal(Signal::INT);
    assert_eq!(waiter.ends().await.code, Some(128 + 2));
    holder.signal(Signal::TERM);
    assert_eq!(holder.ends().await.code, Some(128 + 15));
    assert_eq!(once(&["true"]).await.code, Some(0));
}

async fn several_keys_are_taken_all_or_none(driver: Driver) {
    let Some(shell) = Shell::ready(driver).await else {
        return;
    };
    let file = shell.file("both");
    let script = format!("echo $VERROU_KEY > {file}; exec sleep 1000");
    let both = shell.start(&["run", "b", "--also", "a", "--", "sh", "-c", &script]);
    assert_eq!(written(&file).await, "b");
    for keys in [["a", "c"], ["c", "b"]] {
        let busy = [
            "run", keys[0], "--also", keys[1], "--wait", "never", "--", "true",
        ];
        shell.says(&busy, 75).await;
    }
    shell
        .says(&["run", "c", "--wait", "never", "--", "true"], 0)
        .await;
    both.signal(Signal::TERM);
    both.ends().await;
    shell
        .says(
            &["run", "a", "--also", "b", "--wait", "never", "--", "true"],
            0,
        )
        .await;
}

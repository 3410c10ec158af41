//! What cannot work: one line that says so, the right code, and no secret.

use tests::{Driver, Folder, Site};

use crate::each;
use crate::shell::{Done, Running, Shell, command};

async fn at(url: &str, arguments: &[&str]) -> Done {
    Running::of(command(url, arguments)).ends().await
}

#[tokio::test]
async fn wrong_usage_is_64_and_one_line() {
    let folder = Folder::new();
    let url = folder.sqlite();
    let long = "k".repeat(513);
    let wrong: &[&[&str]] = &[
        &["frobnicate"],
        &["list", "--yaml"],
        &["run", "k"],
        &["run", "--", "true"],
        &["run", "k", "--ttl", "3 parsecs", "--", "true"],
        &["run", "k", "--ttl", "5", "--", "true"],
        &["run", "k", "--ttl", "1ms", "--", "true"],
        &["run", "k", "--wait", "soon", "--", "true"],
        &["run", "k", "--on-lost", "cry", "--", "true"],
        &["run", "", "--", "true"],
        &["run", &long, "--", "true"],
        &["run", "k", "--also", &long, "--", "true"],
        &["run", "--namespace", "a:b", "k", "--", "true"],
        &["run", "--table", "no table", "k", "--", "true"],
        &["purge"],
        &["purge", "--idle", "a while"],
        &["schema", "oracle"],
        &["schema", "postgres", "--table", "x; DROP"],
        &["completions", "dos"],
    ];
    for arguments in wrong {
        let done = at(&url, arguments).await;
        assert_eq!(done.code, Some(64), "{arguments:?}: {done:?}");
        assert_eq!(done.out, "", "{arguments:?}");
        done.line();
    }
}

#[tokio::test]
async fn help_and_what_needs_no_store_work_without_one() {
    let done = at("", &["--help"]).await;
    assert!(
        done.code == Some(0) && done.out.contains("Examples:"),
        "{done:?}"
    );
    for command in [
        "run", "list", "inspect", "wait", "release", "purge", "schema", "check",
    ] {
        let done = at("", &[command, "--help"]).await;
        assert_eq!((done.code, &*done.err), (Some(0), ""), "{done:?}");
        assert!(done.out.contains("Usage: verrou"), "{done:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let done = at("", &["completions", shell]).await;
        assert!(
            done.code == Some(0) && done.out.contains("on-lost"),
            "{shell}"
        );
    }
    for (database, words) in [
        ("postgres", "BYTEA"),
        ("mysql", "VARBINARY"),
        ("sqlite", "BLOB"),
    ] {
        let done = at("", &["schema", database, "--table", "own"]).await;
        assert!(done.code == Some(0) && done.out.contains(words) && done.out.contains("own"));
    }
    let done = at("", &["list"]).await;
    assert_eq!(done.code, Some(64));
    assert!(done.line().contains("VERROU_URL"), "{done:?}");
}

#[tokio::test]
async fn a_url_is_never_said_back() {
    let port = tests::servers::free_port();
    let urls = [
        (69, format!("redis://user:s3cr3t@127.0.0.1:{port}/")),
        (69, format!("postgres://user:s3cr3t@127.0.0.1:{port}/db")),
        (69, format!("mysql://user:s3cr3t@127.0.0.1:{port}/db")),
        (64, "redis://user:s3cr3t@[::1/".to_owned()),
        (64, "oracle://user:s3cr3t@host/".to_owned()),
        (64, "user:s3cr3t@host".to_owned()),
        (69, "sqlite:///no/such/folder/s3cr3t.db".to_owned()),
    ];
    for (code, url) in &urls {
        let several: [&[&str]; 4] = [
            &["list", "--json"],
            &["run", "k", "--", "true"],
            &["check"],
            &["inspect", "k", "--json"],
        ];
        for arguments in several {
            let done = at(url, arguments).await;
            assert_eq!(done.code, Some(*code), "{arguments:?}: {done:?}");
            assert!(!format!("{done:?}").contains("s3cr3t"), "{done:?}");
            assert_eq!(done.out, "", "nothing is half printed");
            done.line();
        }
        // In the wrong place.
        for arguments in [
            &[url.as_str()][..],
            &["list", "--json", "x", url],
            &["list", "--stor", url],
            &["--help", url],
        ] {
            let done = at("", arguments).await;
            assert!(!format!("{done:?}").contains("s3cr3t"), "{done:?}");
        }
        let done = at(url, &["--help"]).await;
        assert!(!format!("{done:?}").contains("s3cr3t"), "{done:?}");
    }
}

each!(a_missing_table_is_69_and_says_what_makes_it: postgres = Postgres, mysql = MySql);
each!(who_looks_makes_nothing: sqlite = Sqlite, redis = Redis, postgres = Postgres, mysql = MySql);

async fn a_missing_table_is_69_and_says_what_makes_it(driver: Driver) {
    let Some(site) = Site::start(driver).await else {
        return;
    };
    let done = at(&site.url(), &["list"]).await;
    assert_eq!(done.code, Some(69), "{done:?}");
    let advice = format!("verrou schema {}", driver.name());
    assert!(done.line().contains(&advice), "{done:?}");
}

/// A mistyped URL leaves no table and no file behind.
async fn who_looks_makes_nothing(driver: Driver) {
    let Some(shell) = Shell::at(driver).await else {
        return;
    };
    let looks: [&[&str]; 6] = [
        &["list"],
        &["inspect", "k"],
        &["wait", "k"],
        &["release", "k", "--force"],
        &["purge", "--idle", "1d"],
        &["check"],
    ];
    let code = if driver == Driver::Redis { 0 } else { 69 };
    for arguments in looks {
        let done = shell.run(arguments).await;
        assert_eq!(done.code, Some(code), "{arguments:?}: {done:?}");
    }
}

//! The layout keeps to what ARCHITECTURE.md says: who may know whom.

use std::path::{Path, PathBuf};

fn source(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verrou/src");
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "no source in {folder}");
    files
}

/// The modules of the crate that a file names.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("crate::").map(|(at, found)| {
        let rest = &text[at + found.len()..];
        rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .next()
            .unwrap_or("")
    })
}

#[test]
fn a_driver_knows_the_store_contract_and_what_is_below() {
    let allowed = [
        "clock",
        "drivers",
        "error",
        "key",
        "owner",
        "store",
        "token",
        "testkit",
        "ConnectKind",
        "Error",
        "FencingToken",
    ];
    for (path, text) in source("drivers") {
        if path.ends_with("tests.rs") {
            continue;
        }
        for module in named(&text) {
            assert!(
                allowed.contains(&module),
                "{} names crate::{module}",
                path.display()
            );
        }
    }
}

#[test]
fn the_store_contract_knows_only_what_is_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verrou/src");
    let below = ["clock", "error", "key", "owner", "token", "Error"];
    for file in [
        "key.rs",
        "token.rs",
        "owner.rs",
        "clock.rs",
        "error.rs",
        "options.rs",
    ] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for module in named(&text) {
            // Links in the documentation may point up.
            let documented = text.lines().all(|line| {
                !line.contains(&format!("crate::{module}")) || line.trim_start().starts_with("//")
            });
            assert!(
                below.contains(&module) || documented,
                "{file} names crate::{module}"
            );
        }
    }
}

#[test]
fn only_the_erased_twin_boxes_the_futures_of_stores() {
    for (path, text) in source("") {
        let boxes = text.contains("dyn Future");
        let twin = path.ends_with("store/erased.rs")
            || path.starts_with("testkit")
            || path.ends_with("tests.rs");
        assert!(twin || !boxes, "{} boxes futures", path.display());
    }
}

#[test]
fn only_observe_names_events_and_metrics() {
    for (path, text) in source("") {
        let names = ["tracing::", "metrics::"]
            .iter()
            .any(|name| text.contains(name));
        assert!(
            path.ends_with("observe.rs") || !names,
            "{} names events or metrics",
            path.display()
        );
    }
}

#[test]
fn the_readme_lists_every_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verrou");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let features = manifest
        .split_once("[features]")
        .unwrap()
        .1
        .split_once("\n[")
        .unwrap()
        .0;
    let features = features
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "));
    for (feature, _) in features.filter(|(feature, _)| *feature != "default") {
        assert!(
            readme.contains(&format!("| `{feature}` |")),
            "README.md has no row for `{feature}`"
        );
    }
}

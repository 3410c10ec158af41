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
        "sabotage",
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

/// The layers of ARCHITECTURE.md, the lowest first. A file may name what is in its own layer or below.
const LAYERS: [&[&str]; 6] = [
    &[
        "key", "token", "owner", "holder", "error", "options", "clock", "sabotage",
    ],
    &["store"],
    &["store::erased"],
    &[
        "wait",
        "who",
        "guard",
        "pass",
        "body",
        "turnstile",
        "hold",
        "keeper",
        "last_tokens",
        "call",
        "registered",
        "serialized",
        "reentry",
        "observe",
    ],
    &["lock"],
    &["registry", "scope", "private"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The code of a file, without its comments (links in the documentation may point up) and without its tests.
fn code(text: &str) -> String {
    let (code, _) = text
        .split_once("#[cfg(test)]\nmod tests")
        .unwrap_or((text, ""));
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The module behind what `lib.rs` re-exports.
fn home(lib: &str, name: &str) -> Option<String> {
    let uses = lib.lines().filter_map(|line| line.strip_prefix("pub use "));
    uses.filter_map(|line| line.split_once("::"))
        .find(|(_, names)| {
            names
                .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .any(|word| word == name)
        })
        .map(|(module, _)| module.to_owned())
}

#[test]
fn each_layer_knows_only_itself_and_what_is_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verrou/src");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let lib = read("lib.rs");
    let mut seen = 0;
    for (rank, modules) in LAYERS.iter().enumerate() {
        for module in *modules {
            let file = match *module {
                "registry" => "verrou.rs".to_owned(),
                module => format!("{}.rs", module.replace("::", "/")),
            };
            let code = code(&read(&file));
            // The parent of a file in a folder is in the list, and below it.
            assert!(
                module.contains("::") || !code.contains("super::"),
                "{file} hides whom it knows behind `super`"
            );
            for named in named(&code) {
                let erased = named == "store" && code.contains("crate::store::erased");
                let module = match layer(named) {
                    Some(_) if erased => "store::erased".to_owned(),
                    Some(_) => named.to_owned(),
                    None => home(&lib, named)
                        .unwrap_or_else(|| panic!("{file} names crate::{named}, of no layer")),
                };
                let below = layer(&module)
                    .unwrap_or_else(|| panic!("{file} names crate::{module}, of no layer"));
                assert!(
                    below <= rank,
                    "{file} names crate::{named}, which is above it"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen} names were looked at");
}

#[test]
fn every_file_has_its_place_in_the_layers() {
    let elsewhere = ["bin", "lib", "docs", "drivers", "testkit", "verrou"];
    for (path, _) in source("") {
        let mut parts = path.iter();
        let first = Path::new(parts.next().unwrap()).with_extension("");
        let first = first.to_str().unwrap();
        assert!(
            layer(first).is_some() || elsewhere.contains(&first),
            "{} is in no layer of ARCHITECTURE.md",
            path.display()
        );
    }
}

#[test]
fn the_lock_is_made_of_its_parts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verrou/src");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let parts = ["wait", "turnstile", "keeper", "guard"];
    for part in parts {
        for above in ["lock", "registry", "scope", "private", "drivers", "testkit"] {
            let code = code(&read(&format!("{part}.rs")));
            assert!(
                !named(&code).any(|module| module == above),
                "{part}.rs names crate::{above}"
            );
        }
    }
    let lock = code(&read("lock.rs"));
    for part in ["wait", "keeper", "guard"] {
        assert!(named(&lock).any(|module| module == part), "{part}");
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
            path.starts_with("observe") || path.ends_with("observe.rs") || !names,
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

/// Whether `file` has a test of this name: a function behind an attribute, or a line of a list of settings.
fn has_test(file: &Path, name: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else {
        return false;
    };
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let function = line.contains(&format!("fn {name}("));
        let behind = lines[at.saturating_sub(3)..at]
            .iter()
            .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        (function && behind) || *line == format!("{name}:")
    }) || is_case_of_each_driver(&text, name)
}

/// Whether a macro makes a module of this name, with a test for each driver.
fn is_case_of_each_driver(text: &str, name: &str) -> bool {
    let text: String = text.split_whitespace().collect();
    text.contains(&format!("each!({name}:")) || text.contains(&format!("mod{name}{{$(#[test]"))
}

/// Whether there is a test of this name: the binary, the modules, the function.
fn is_a_test(name: &str) -> bool {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = tests.join("../verrou/src");
    let tests = tests.join("tests");
    let parts: Vec<_> = name.split("::").collect();
    match parts.as_slice() {
        // A unit test: in a file of tests, or at the end of the file itself.
        ["verrou", modules @ .., "tests", test] => {
            let module = crates.join(modules.join("/"));
            has_test(&module.join("tests.rs"), test) || has_test(&module.with_extension("rs"), test)
        }
        [binary, module, test] => {
            let file = tests.join(binary).join(format!("{module}.rs"));
            let roots = [
                tests.join(format!("{binary}.rs")),
                tests.join(binary).join("main.rs"),
            ];
            let suite = |root: &PathBuf| {
                let root = std::fs::read_to_string(root).unwrap_or_default();
                let root: String = root.split_whitespace().collect();
                root.contains(&format!("contract_suite!({module},"))
            };
            let is_case = || {
                source("testkit/cases")
                    .iter()
                    .any(|(_, text)| text.contains(&format!("pub(crate) async fn {test}(")))
            };
            has_test(&file, test) || (roots.iter().any(suite) && is_case())
        }
        [binary, test] => has_test(&tests.join(format!("{binary}.rs")), test),
        _ => false,
    }
}

#[test]
fn every_cell_of_the_drivers_tables_names_its_tests_and_they_exist() {
    for driver in ["memory", "mysql", "postgres", "redis", "sqlite"] {
        let (_, text) = source("drivers")
            .into_iter()
            .find(|(path, _)| path.ends_with(format!("drivers/{driver}.rs")))
            .unwrap();
        let rows: Vec<_> = text
            .lines()
            .skip_while(|line| !line.contains("| shown by the tests |"))
            .skip(2)
            .take_while(|line| line.starts_with("/// |"))
            .collect();
        assert!(rows.len() >= 5, "the table of {driver}");
        for row in rows {
            let cell = row
                .trim_end_matches([' ', '|'])
                .rsplit_once(" | ")
                .unwrap()
                .1;
            let (named, untested) = cell.split_once("not tested: ").unwrap_or((cell, ""));
            let names: Vec<_> = named.split('`').skip(1).step_by(2).collect();
            assert!(
                !names.is_empty() || !untested.is_empty(),
                "{driver}: `{row}` names no test and no reason"
            );
            for name in names {
                assert!(is_a_test(name), "{driver}: there is no test `{name}`");
            }
        }
    }
    assert!(!is_a_test("outages::links::no_such_case"));
    assert!(!is_a_test("redis::clocks::no_such_test"));
    assert!(!is_a_test(
        "redis::no_such_suite::tokens_rise_over_a_release"
    ));
    assert!(!is_a_test("it::tidy::has_test"));
}

#[test]
fn every_promise_names_its_tests_and_checks_and_they_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let (page, checks) = (
        read("../verrou/src/docs/guarantees.md"),
        read("src/history/check.rs"),
    );
    let rows: Vec<_> = page
        .lines()
        .skip_while(|line| !line.ends_with("| shown by |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    for promise in 1..=7 {
        assert!(
            rows.iter()
                .any(|row| row.starts_with(&format!("| G{promise}: "))),
            "G{promise} is not shown"
        );
    }
    let mut named = 0;
    for row in rows {
        let (_, shown) = row.trim_end_matches([' ', '|']).rsplit_once(" | ").unwrap();
        let mut tests = 0;
        for name in shown.split('`').skip(1).step_by(2) {
            if name.contains("::") {
                assert!(is_a_test(name), "there is no test `{name}`");
                tests += 1;
            } else if name.contains(' ') || matches!(name, "exclusion" | "tokens") {
                let line = format!("//! | `{name}` |");
                assert!(checks.contains(&line), "there is no check `{name}`");
            } else if !name.starts_with(char::is_uppercase) {
                assert!(
                    page.contains(&format!("`{name}`")),
                    "there is no cell `{name}`"
                );
            }
        }
        assert!(tests > 0, "`{row}` names no test");
        named += tests;
    }
    assert!(named > 50, "{named} tests were looked for");
    // The cells of the page are those of the matrix.
    let cells = page
        .lines()
        .skip_while(|line| !line.starts_with("| cell |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let mut cells: Vec<_> = cells.collect();
    let mut faults: Vec<_> = tests::matrix::Fault::ALL
        .iter()
        .map(|fault| fault.name())
        .collect();
    cells.sort_unstable();
    faults.sort_unstable();
    assert_eq!(cells, faults);
}

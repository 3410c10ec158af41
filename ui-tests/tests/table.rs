//! The tables of `README.md` are complete, and what they name exists; so are the examples of the documentation.

use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");

/// The rows of the table under `heading`: number and last cell.
fn rows(heading: &str) -> Vec<(usize, &'static str)> {
    let (_, section) = README.split_once(heading).expect("the heading");
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        let number = cells.next().and_then(|cell| cell.trim().parse().ok());
        (
            number.unwrap_or_else(|| panic!("no number: {row}")),
            cells.last().unwrap_or_default(),
        )
    })
    .collect()
}

/// What stands in backticks and names a test.
fn tests(cell: &str) -> Vec<&str> {
    let names = cell.split('`').skip(1).step_by(2);
    names
        .filter(|name| name.contains('/') || name.contains("::"))
        .filter(|name| !name.starts_with('.'))
        .collect()
}

fn exists(name: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_test = |file: &Path, test: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let attribute =
            |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let is_it = |at: usize| {
            lines[at].contains(&format!("fn {test}("))
                && lines[at.saturating_sub(3)..at].iter().any(attribute)
        };
        (0..lines.len()).any(is_it)
    };
    match name.split("::").collect::<Vec<_>>().as_slice() {
        ["locked", module, test] => is_test(&here.join(format!("tests/locked/{module}.rs")), test),
        ["macros", module, test] => is_test(
            &here.join(format!("../verrou-macros/src/{module}.rs")),
            test,
        ),
        [binary, test] => is_test(&here.join(format!("tests/{binary}.rs")), test),
        [path] => match path.split_once('/') {
            Some(("crates", krate)) => here.join(format!("crates/{krate}/Cargo.toml")).exists(),
            Some(("pass", case)) => here.join(format!("tests/pass/{case}.rs")).exists(),
            Some((folder, case)) => here.join(format!("tests/{folder}/{case}.stderr")).exists(),
            None => false,
        },
        _ => false,
    }
}

/// The text of a case; of a test in a file, that function alone.
fn source_of(name: &str) -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: String| fs::read_to_string(here.join(file)).unwrap_or_default();
    match name.split("::").collect::<Vec<_>>().as_slice() {
        ["locked", module, test] => {
            let text = read(format!("tests/locked/{module}.rs"));
            let (_, from) = text
                .split_once(&format!("fn {test}("))
                .expect("it exists: see above");
            let (function, _) = from.split_once("\n}\n").expect("its end");
            function.to_owned()
        }
        _ => match name.strip_prefix("crates/") {
            Some(krate) => read(format!("crates/{krate}/{krate}.rs")),
            None => read(format!("tests/{name}.rs")),
        },
    }
}

#[test]
fn all_cases_are_there_and_what_holds_them_exists() {
    for (heading, count) in [("# The edge cases", 74), ("# The messages", 42)] {
        let rows = rows(heading);
        let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{heading}");
        for (number, cell) in rows {
            let named = tests(cell);
            let reason = cell
                .split('`')
                .step_by(2)
                .any(|text| text.contains(' ') && text.trim().len() > 10);
            assert!(
                !named.is_empty() || reason,
                "{heading}, {number}: neither a test nor a reason"
            );
            for name in named {
                assert!(exists(name), "{heading}, {number}: there is no `{name}`");
            }
        }
    }
    assert!(!exists("own/no_such_case"));
    assert!(!exists("locked::keys::no_such_test"));
    assert!(!exists("macros::args::is_key"));
}

#[test]
fn every_option_is_used_misused_and_run() {
    let source = include_str!("../../verrou-macros/src/args.rs");
    let (_, options) = source.split_once("const OPTIONS").expect("the options");
    let options = options
        .lines()
        .skip(1)
        .take_while(|line| line.trim() != "];");
    let options: Vec<_> = options.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(options.len() > 12, "{options:?}");
    let (_, section) = README.split_once("# The options").expect("the heading");
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), options.len());
    for (option, row) in options.iter().zip(rows) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [name, used, misused, run] = cells.as_slice() else {
            panic!("four cells: {row}");
        };
        assert_eq!(name.trim(), format!("`{option}`"));
        for cell in [used, misused, run] {
            let named = tests(cell);
            assert!(!named.is_empty(), "{row}");
            for name in named {
                assert!(exists(name), "`{option}`: there is no `{name}`");
            }
        }
        let name = format!("{option} =");
        for case in [used, misused, run]
            .into_iter()
            .flat_map(|cell| tests(cell))
        {
            assert!(source_of(case).contains(&name), "`{case}` has no `{name}`");
        }
    }
}

/// The macro's crate cannot compile them itself.
#[test]
fn the_examples_of_the_documentation_are_compiled_word_for_word() {
    let compiled = include_str!("pass/documentation.rs");
    let compiled: String = compiled
        .lines()
        .map(|line| line.trim().to_owned() + "\n")
        .collect();
    let compiled = compiled.replace("pub async fn", "async fn");
    let source = include_str!("../../verrou-macros/src/lib.rs");
    let mut blocks: Vec<String> = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        let line = line.strip_prefix("///").unwrap_or_default().trim();
        if line.starts_with("```") {
            inside = !inside;
            if inside {
                blocks.push(String::new());
            }
        } else if let Some(block) = blocks.last_mut().filter(|_| inside) {
            block.push_str(line);
            block.push('\n');
        }
    }
    assert_eq!(blocks.len(), 5);
    for block in blocks {
        assert!(compiled.contains(&block), "{block}");
    }
}

/// A fixture without such a comment would be compared with what it was, and with nothing else.
#[test]
fn every_misuse_says_what_its_message_must_contain() -> std::io::Result<()> {
    let mut count = 0;
    for folder in ["own", "rustc", "transparent"] {
        for file in fs::read_dir(format!("{}/tests/{folder}", env!("CARGO_MANIFEST_DIR")))? {
            let file = file?.path();
            if file.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&file)?;
                assert!(text.starts_with("// Must "), "{}", file.display());
                assert!(file.with_extension("stderr").exists(), "{}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 80, "{count}");
    Ok(())
}

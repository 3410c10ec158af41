//! What compiles, and what every misuse says.
//!
//! `TRYBUILD=overwrite cargo test -p ui-tests --test ui` writes the `.stderr` files anew. Then compare each with the
//! comment at the head of its case, not with what it was before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The compiler whose words the fixtures in `rustc/` repeat.
const PINNED: &str = "rustc 1.95.";

/// Those whose subject is the crate itself; the others are modules of `pass/main.rs`.
#[test]
fn pass() {
    let cases = trybuild::TestCases::new();
    for case in ["hygiene", "renamed_crate", "rustc_lints"] {
        cases.pass(format!("tests/pass/{case}.rs"));
    }
}

/// Messages of the macro itself: the same with every compiler.
#[test]
fn own() {
    trybuild::TestCases::new().compile_fail("tests/own/*.rs");
}

/// Messages of rustc about code that the macro made: other compilers word them differently.
#[test]
fn rustc() {
    if is_pinned() {
        trybuild::TestCases::new().compile_fail("tests/rustc/*.rs");
    }
}

/// Messages of rustc about the user's code: each is there without the attribute as well, at the same place. Where more
/// of its text differs, `NAME.plain.stderr` has the text without.
#[test]
fn transparent() -> std::io::Result<()> {
    if !is_pinned() {
        return Ok(());
    }
    let plain = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain");
    let _ = fs::remove_dir_all(&plain);
    fs::create_dir_all(&plain)?;
    let (here, there) = ("tests/transparent/", format!("{}/", plain.display()));
    let mut names = Vec::new();
    for file in fs::read_dir(here)? {
        let name = file?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    let cases = trybuild::TestCases::new();
    for name in &names {
        let source = fs::read_to_string(format!("{here}{name}.rs"))?;
        let without = |line: &str| {
            if line.trim().starts_with("#[verrou::locked") {
                "\n".into()
            } else {
                format!("{line}\n")
            }
        };
        let without: String = source.lines().map(without).collect();
        assert_ne!(without, source, "{name}");
        fs::write(format!("{there}{name}.rs"), without)?;
        let expected = fs::read_to_string(format!("{here}{name}.plain.stderr"))
            .or_else(|_| fs::read_to_string(format!("{here}{name}.stderr")))
            .unwrap_or_default();
        fs::write(
            format!("{there}{name}.stderr"),
            expected.replace(here, &there),
        )?;
        cases.compile_fail(format!("{here}{name}.rs"));
        cases.compile_fail(format!("{there}{name}.rs"));
    }
    // Runs them.
    drop(cases);
    let mut different = Vec::new();
    for name in &names {
        let with = fs::read_to_string(format!("{here}{name}.stderr"))?;
        let without = fs::read_to_string(format!("{there}{name}.stderr"))?.replace(&there, here);
        if std::env::var_os("TRYBUILD").is_some_and(|mode| mode == "overwrite") {
            let file = format!("{here}{name}.plain.stderr");
            if with == without {
                let _ = fs::remove_file(file);
            } else {
                fs::write(file, &without)?;
            }
        }
        if headings(&with) != headings(&without) {
            different.push(&**name);
        }
    }
    // The macro's async block returns the value: rustc points at the whole body instead of at its last expression.
    assert_eq!(different, ["lifetime"]);
    Ok(())
}

/// The first line of each message and its place.
fn headings(stderr: &str) -> BTreeSet<(&str, &str)> {
    let lines: Vec<&str> = stderr.lines().collect();
    let heading = |pair: &[&'_ str]| pair[0].starts_with("error") || pair[0].starts_with("warning");
    lines
        .windows(2)
        .filter(|pair| heading(pair))
        .map(|pair| (pair[0], pair[1].trim()))
        .collect()
}

/// Says so if not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn is_pinned() -> bool {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("-V").output();
    let version = version.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let pinned = version.starts_with(PINNED);
    if !pinned {
        eprintln!(
            "skipped: the fixtures are those of {PINNED}x, this is {}",
            version.trim()
        );
    }
    pinned
}

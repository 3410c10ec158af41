//! What compiles, and what every misuse says.
//!
//! `TRYBUILD=overwrite cargo test -p ui-tests --test ui` writes the `.stderr` files anew. Then compare each with the
//! comment at the head of its case, not with what it was before.

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
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn rustc() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("-V").output();
    let version = version.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    if !version.starts_with(PINNED) {
        eprintln!(
            "skipped: the fixtures are those of {PINNED}x, this is {}",
            version.trim()
        );
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/rustc/*.rs");
}

//! What compiles, as modules of one crate: quick to build, and linted with everything else. Those whose subject is the
//! crate itself are crates of their own, in `ui.rs`.
#![allow(dead_code, unreachable_pub, reason = "nobody calls the cases")]
#![deny(
    clippy::nursery,
    clippy::pedantic,
    clippy::else_if_without_else,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::expect_used,
    clippy::if_then_some_else_none,
    clippy::integer_division,
    clippy::let_underscore_must_use,
    clippy::let_underscore_untyped,
    clippy::mem_forget,
    clippy::multiple_inherent_impl,
    clippy::pub_use,
    clippy::same_name_method,
    clippy::semicolon_inside_block,
    clippy::semicolon_outside_block,
    clippy::shadow_same,
    clippy::str_to_string,
    clippy::unneeded_field_pattern,
    clippy::unreachable,
    clippy::wildcard_enum_match_arm
)]
#![allow(
    clippy::future_not_send,
    clippy::missing_const_for_fn,
    clippy::unused_async,
    reason = "what surrounds the cases, or is one"
)]

use std::process::{ExitCode, Termination};

macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        $(mod $case;)*

        /// Some have something to say when they run.
        mod runs {
            $(
                #[test]
                fn $case() {
                    super::ended(super::$case::main());
                }
            )*
        }

        const CASES: &[&str] = &[$(stringify!($case)),*];
    };
}

cases! {
    any_error,
    async_trait,
    clippy_lints,
    coercions,
    conditional,
    constants,
    control_flow,
    diverging,
    documentation,
    every_option,
    free_fn,
    generics,
    hygiene,
    impl_trait,
    instrument,
    instrument_async_trait,
    key_macro,
    lifetimes,
    macro_rules,
    method,
    must_use,
    nested_items,
    new_syntax,
    non_send_fmt,
    option_expressions,
    other_attributes,
    patterns,
    raw_identifiers,
    receivers,
    recursion,
    result_aliases,
    returned_future,
    send,
    several_keys,
    spawned,
    trait_impl,
    unsafe_fn,
}

fn ended(outcome: impl Termination) {
    assert_eq!(outcome.report(), ExitCode::SUCCESS);
}

#[test]
fn every_file_is_a_case() -> std::io::Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pass");
    let mut files = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let name = file?.file_name();
        let name = name.to_string_lossy();
        files.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    let crates = ["renamed_crate", "rustc_lints", "main"];
    files.retain(|file| !crates.contains(&&**file));
    files.sort();
    assert_eq!(files, CASES);
    Ok(())
}

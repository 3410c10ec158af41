//! Lints of rustc that are off unless asked for, and the groups.
#![deny(
    future_incompatible,
    keyword_idents,
    let_underscore,
    nonstandard_style,
    rust_2018_idioms,
    rust_2021_compatibility,
    rust_2024_compatibility,
    unused,
    warnings
)]
#![deny(
    deprecated_in_future,
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    macro_use_extern_crate,
    meta_variable_misuse,
    missing_abi,
    missing_copy_implementations,
    missing_debug_implementations,
    missing_docs,
    non_ascii_idents,
    redundant_imports,
    redundant_lifetimes,
    single_use_lifetimes,
    trivial_casts,
    trivial_numeric_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unsafe_code,
    unstable_features,
    unused_import_braces,
    unused_lifetimes,
    unused_macro_rules,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]

use std::time::Duration;

use verrou::{Error, Verrou, key, locked};

/// Uses every option that makes code.
#[locked(
    "t:<id>:<name>",
    "u:<id>",
    store = "s",
    ttl = ttl,
    wait = "5s",
    max_hold = "5m",
    min_hold = ttl,
    renew = id > 1,
    attempts = 3,
    delay = ttl,
    on_busy = Ok(None),
    on_lost = continue,
    when = id > 0,
    verrou = verrou
)]
pub async fn every_option(verrou: &Verrou, id: u64, name: &str, ttl: Duration) -> Result<Option<usize>, Error> {
    Ok(Some(name.len()))
}

/// Has the guard, and a lifetime.
#[locked("t:<text>", guard = guard, on_busy = skip)]
pub async fn with_guard(text: &str) -> Result<Option<&str>, Error> {
    guard.check()?;
    Ok(Some(text))
}

/// Returns nothing of interest.
#[locked("t")]
pub async fn unit() -> Result<(), Error> {
    Ok(())
}

/// Renders a key.
pub fn rendered(id: u64) -> Result<String, Error> {
    key!("t:<id>:<name>", id, name = "x")
}

fn main() {}

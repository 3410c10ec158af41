//! Lints of clippy that some projects ask for, and that could find something in the macro's code: here the user's code
//! keeps them all, so what is reported is the macro's.
#![deny(warnings, clippy::nursery, clippy::pedantic)]
#![allow(clippy::needless_return, reason = "what `implicit_return` asks for")]
#![deny(
    clippy::absolute_paths,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::create_dir,
    clippy::default_numeric_fallback,
    clippy::else_if_without_else,
    clippy::empty_structs_with_brackets,
    clippy::error_impl_error,
    clippy::expect_used,
    clippy::field_scoped_visibility_modifiers,
    clippy::if_then_some_else_none,
    clippy::implicit_return,
    clippy::indexing_slicing,
    clippy::inline_asm_x86_att_syntax,
    clippy::let_underscore_must_use,
    clippy::let_underscore_untyped,
    clippy::map_err_ignore,
    clippy::mem_forget,
    clippy::min_ident_chars,
    clippy::missing_assert_message,
    clippy::mixed_read_write_in_expression,
    clippy::non_ascii_literal,
    clippy::panic,
    clippy::panic_in_result_fn,
    clippy::pathbuf_init_then_push,
    clippy::pattern_type_mismatch,
    clippy::pub_without_shorthand,
    clippy::question_mark_used,
    clippy::redundant_type_annotations,
    clippy::ref_patterns,
    clippy::renamed_function_params,
    clippy::rest_pat_in_fully_bound_structs,
    clippy::same_name_method,
    clippy::self_named_module_files,
    clippy::semicolon_outside_block,
    clippy::shadow_reuse,
    clippy::shadow_same,
    clippy::shadow_unrelated,
    clippy::single_char_lifetime_names,
    clippy::std_instead_of_alloc,
    clippy::std_instead_of_core,
    clippy::str_to_string,
    clippy::try_err,
    clippy::undocumented_unsafe_blocks,
    clippy::unneeded_field_pattern,
    clippy::unreachable,
    clippy::unused_result_ok,
    clippy::unused_trait_names,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm
)]

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use async_trait::async_trait;
use verrou::{Error, Verrou, key, locked};

#[locked("t:<first>:<second>", "u:<first>")]
pub async fn keys_alone(first: u64, second: &str) -> Result<usize, Error> {
    let length = second.len();
    return Ok(length.max(usize::from(first == 0)));
}

#[locked(
    "t:<first>",
    store = "s",
    ttl = limit,
    wait = limit,
    max_hold = "5m",
    min_hold = "1s",
    renew = first > 1,
    attempts = 3,
    delay = "1s",
    on_busy = Ok(None),
    on_lost = continue,
    when = first > 0,
    verrou = verrou
)]
pub async fn every_option(verrou: &Verrou, first: u64, limit: Duration) -> Result<Option<u64>, Error> {
    return Ok(Some(first));
}

#[locked("t", wait = never, on_busy = skip, guard = guard)]
pub async fn with_guard(text: &str) -> Result<Option<&str>, Error> {
    if guard.is_held() {
        let token = guard.token();
        return Ok((token.get() > 0).then_some(text));
    }
    return Ok(None);
}

#[locked("t", on_busy = return Ok(None))]
pub async fn diverging_option() -> Result<Option<u64>, Error> {
    return Ok(None);
}

pub struct Service {
    id: u64,
}

impl Service {
    #[locked("t:<self.id>:<name>")]
    pub async fn method(&mut self, (name, more): (String, String)) -> Result<&mut u64, Error> {
        drop((name, more));
        return Ok(&mut self.id);
    }
}

#[async_trait]
pub trait Jobs {
    async fn run(&self, id: u64) -> Result<u64, Error>;
}

#[expect(clippy::implicit_return, reason = "of `#[async_trait]`")]
#[async_trait]
impl Jobs for Service {
    #[locked("t:<self.id>:<id>", when = self.id > 0)]
    async fn run(&self, id: u64) -> Result<u64, Error> {
        return Ok(id.max(self.id));
    }
}

#[expect(clippy::implicit_return, reason = "a body that is one async block has no `return`")]
#[locked("t:<id>")]
pub fn boxed(id: u64) -> Pin<Box<dyn Future<Output = Result<u64, Error>> + Send>> {
    Box::pin(async move { return Ok(id) })
}

/// Renders a key.
///
/// # Errors
/// As `key!`.
pub fn rendered(row: &str) -> Result<String, Error> {
    let rendered = key!("seat:<row>:<number>", row, number = row.len());
    return rendered;
}

pub const fn main() {}

//! Generics, lifetimes, constants and `where` clauses.
#![deny(warnings)]
#![allow(clippy::multiple_bound_locations, clippy::type_repetition_in_bounds, reason = "the case")]

use std::borrow::Cow;
use std::fmt::Display;

use verrou::locked;

#[locked("<a>:<b>")]
pub async fn free<'a, A, B: ?Sized, const N: usize>(a: A, b: &'a B) -> Result<[Cow<'a, str>; N], A::Error>
where
    A: Display + Fallible,
    A::Error: From<verrou::Error>,
    B: Display + AsRef<str>,
{
    drop(a);
    Ok([const { Cow::Borrowed("") }; N].map(|_| Cow::Borrowed(b.as_ref())))
}

pub trait Fallible {
    type Error;
}

#[locked("<a>")]
pub async fn argument_position(a: impl Display + Clone, f: impl Fn() -> u8) -> Result<u8, verrou::Error> {
    drop(a);
    Ok(f())
}

#[locked("t")]
pub async fn elided(text: &str, _other: &str) -> Result<usize, Box<dyn std::error::Error>> {
    Ok(text.parse()?)
}

pub fn main() {}

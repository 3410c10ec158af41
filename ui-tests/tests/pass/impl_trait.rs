//! `impl Trait` in arguments and, at any depth, in the return type.
#![deny(warnings)]
#![allow(clippy::elidable_lifetime_names, reason = "the case")]

use std::fmt::{Debug, Display};
use std::future::Future;

use verrou::{Error, locked};

#[locked("t:<a>")]
pub async fn arguments(a: impl Display + Send, f: impl FnOnce(u8) -> u8, _: &impl Debug) -> Result<u8, Error> {
    drop(a);
    Ok(f(1))
}

#[locked("t")]
pub async fn iterator<'a>(list: &'a [u8]) -> Result<impl Iterator<Item = &'a u8> + 'a, Error> {
    Ok(list.iter().rev())
}

#[locked("t")]
pub async fn deep() -> Result<Vec<(impl Debug, Option<Box<impl Display>>)>, Error> {
    Ok(vec![(1, Some(Box::new("x")))])
}

#[locked("t")]
pub async fn a_closure(n: u8) -> Result<impl Fn(u8) -> u8, Error> {
    Ok(move |m| n + m)
}

/// Done after the lock is released, which is the caller's business.
#[locked("t")]
pub async fn a_future() -> Result<impl Future<Output = u8>, Error> {
    Ok(async { 1 })
}

pub fn main() {}

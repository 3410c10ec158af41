//! Functions that return a future of an async block.
#![deny(warnings)]
#![allow(clippy::manual_async_fn, reason = "the case")]

use std::future::Future;
use std::pin::Pin;

use verrou::{Error, locked};

#[locked("<id>")]
pub fn plain(id: u64) -> impl Future<Output = Result<u64, Error>> + Send {
    async move { Ok(id) }
}

#[locked("<id>")]
pub fn borrowing(id: &str) -> impl Future<Output = Result<usize, Error>> + Send {
    async move {
        if id.is_empty() {
            return Ok(0);
        }
        Ok(id.len())
    }
}

#[locked("<id>")]
pub fn boxed<'a>(id: &'a str) -> Pin<Box<dyn Future<Output = Result<&'a str, Error>> + Send + 'a>> {
    Box::pin(async move { Ok(id) })
}

#[locked("<id>")]
pub fn boxed_by_path(id: u8) -> std::pin::Pin<std::boxed::Box<dyn Future<Output = Result<u8, Error>>>> {
    ::std::boxed::Box::pin(async move { Ok(id) },)
}

#[locked("<id>")]
#[allow(clippy::needless_return, reason = "the case")]
pub fn by_return(id: u64) -> impl Future<Output = Result<u64, Error>> + Send {
    return async move { Ok(id) };
}

#[locked("<id>")]
#[allow(unused_braces, reason = "the case")]
pub fn in_braces(id: u64) -> impl Future<Output = Result<u64, Error>> + Send {
    { async move { Ok(id) } }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[locked("t:<id>", on_busy = Ok(0))]
pub fn aliased(id: u64) -> BoxFuture<'static, Result<u64, Error>> {
    Box::pin(async move { Ok(id) })
}

trait Boxed: Future + Sized + Send + 'static {
    fn boxed(self) -> BoxFuture<'static, Self::Output> {
        Box::pin(self)
    }
}
impl<F: Future + Send + 'static> Boxed for F {}

#[locked("t:<id>")]
pub fn by_method(id: u64) -> BoxFuture<'static, Result<u64, Error>> {
    async move { Ok(id) }.boxed()
}

pub fn main() {}

// Must say that the body has to be one async block; that the future's output cannot be seen; that it returns nothing.
use std::future::Future;
use std::pin::Pin;

use verrou::{Error, locked};

#[locked("t")]
fn more_than_a_block(id: u64) -> impl Future<Output = Result<u64, Error>> {
    let twice = id * 2;
    async move { Ok(twice) }
}

type Hidden = Pin<Box<dyn Future<Output = Result<u64, Error>>>>;

#[locked("t")]
fn hidden() -> Hidden {
    Box::pin(async move { Ok(1) })
}

#[locked("t")]
fn unit() -> impl Future<Output = ()> {
    async move {}
}

fn main() {}

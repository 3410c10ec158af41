//! Functions that call themselves and each other, boxed at the call as any async function.
#![deny(warnings)]

use std::future::Future;
use std::pin::Pin;

use verrou::{Error, locked};

#[locked("t:<n>")]
pub async fn direct(n: u32) -> Result<u32, Error> {
    match n {
        0 => Ok(0),
        _ => Ok(1 + Box::pin(direct(n - 1)).await?),
    }
}

#[locked("even:<n>")]
pub async fn even(n: u32) -> Result<bool, Error> {
    if n == 0 { Ok(true) } else { Box::pin(odd(n - 1)).await }
}

#[locked("odd:<n>")]
pub async fn odd(n: u32) -> Result<bool, Error> {
    if n == 0 { Ok(false) } else { Box::pin(even(n - 1)).await }
}

#[locked("t:<n>")]
pub fn boxed(n: u32) -> Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>> {
    Box::pin(async move { if n == 0 { Ok(0) } else { boxed(n - 1).await } })
}

fn assert_send<T: Send>(_: T) {}

pub fn main() {
    assert_send(direct(1));
    assert_send(even(1));
}

//! Syntax that is younger than the macro's parser may be: the body is never parsed.
#![deny(warnings)]

use verrou::{Error, locked};

#[locked("t:<a>")]
pub async fn chains(a: u8, pair: Option<(u8, u8)>) -> Result<u8, Error> {
    let Some((x, y)) = pair else {
        return Ok(0);
    };
    if let 1.. = a
        && let Some(sum) = x.checked_add(y)
        && sum > 3
    {
        return Ok(sum);
    }
    let add = async |n: u8| n + a;
    let text = c"text";
    let [first, .., _last] = [1, 2, 3];
    Ok(add(first).await + const { 1 + 1 } + text.to_bytes()[0])
}

#[locked("t:<a>")]
pub async fn takes_an_async_closure(a: u8, work: impl AsyncFn(u8) -> u8) -> Result<u8, Error> {
    Ok(work(a).await)
}

pub fn main() {}

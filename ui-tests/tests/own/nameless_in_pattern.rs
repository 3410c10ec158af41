// Must list the names that patterns bind, and say which argument has none.
use verrou::{Error, locked};

#[locked("t:<pair>")]
async fn tuple((left, right): (u64, u64)) -> Result<u64, Error> {
    Ok(left + right)
}

#[locked("t:<_>")]
async fn second(first: u64, _: u64) -> Result<u64, Error> {
    Ok(first)
}

#[locked("t:<_>")]
async fn in_tuple((_, right): (u64, u64)) -> Result<u64, Error> {
    Ok(right)
}

fn main() {}

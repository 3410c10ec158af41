//! Beside other attributes that rewrite functions.
#![deny(warnings)]

use verrou::{Error, locked};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // No instance here: the error comes back as from any locked function.
    assert!(matches!(job(3).await, Err(Error::NotInitialized)));
}

#[locked("t:<id>")]
#[cfg_attr(all(), allow(clippy::unused_async))]
#[doc = "A job."]
pub async fn job(id: u8) -> Result<u8, Error> {
    Ok(id)
}

#[locked("test")]
#[tokio::test]
async fn above_a_test() -> Result<(), Error> {
    Ok(())
}

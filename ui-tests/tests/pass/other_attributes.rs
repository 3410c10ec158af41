//! Beside other attributes that rewrite functions.
#![deny(warnings)]

use verrou::{Error, locked};

#[tokio::main(flavor = "current_thread")]
pub async fn main() {
    // No instance here: the error comes back as from any locked function.
    assert!(matches!(job(3).await, Err(Error::NotInitialized)));
}

#[locked("t:<id>")]
#[cfg_attr(all(), allow(clippy::unused_async))]
#[doc = "A job."]
pub async fn job(id: u8) -> Result<u8, Error> {
    Ok(id)
}

/// A test that no other one of its process runs beside.
#[locked("test", verrou = instance()?)]
#[tokio::test]
async fn above_a_test() -> Result<(), Error> {
    Ok(())
}

#[cfg(test)]
fn instance() -> Result<verrou::Verrou, Error> {
    let store = verrou::drivers::MemoryStore::new();
    verrou::Verrou::builder().store("memory", store).build()
}

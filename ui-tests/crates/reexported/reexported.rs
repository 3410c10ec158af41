//! A crate that has the library from another one, which re-exports it.

use facade::infra::locks::drivers::MemoryStore;
use facade::infra::locks::{self, Error, Verrou, key, locked};

#[locked("t:<id>", crate = facade::infra::locks)]
async fn by_the_whole_path(id: u64) -> Result<bool, Error> {
    held(id).await
}

#[locked("t:<id>", crate = locks, wait = "1s", on_busy = Ok(false))]
async fn by_an_import(id: u64) -> Result<bool, Error> {
    held(id).await
}

async fn held(id: u64) -> Result<bool, Error> {
    let key = key!("t:<id>", id, crate = facade::infra::locks)?;
    locks::current()?.create_lock(key).is_locked().await
}

#[tokio::test]
async fn a_reexported_library_locks() -> Result<(), Error> {
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()?;
    assert!(verrou.scope(by_the_whole_path(1)).await?);
    assert!(verrou.scope(by_an_import(2)).await?);
    assert!(!verrou.scope(held(1)).await?);
    Ok(())
}

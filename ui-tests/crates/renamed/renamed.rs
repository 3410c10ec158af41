//! A crate that knows the library under another name, and no `verrou` at all.

use locks::drivers::MemoryStore;
use locks::{Error, Verrou, key, locked};

#[locked("t:<id>", crate = locks, wait = never, on_busy = skip, when = id > 0, on_lost = continue)]
async fn every_path(id: u64) -> Result<Option<bool>, Error> {
    Ok(Some(held(id).await?))
}

#[locked("t:<id>", crate = locks, ttl = "1s", guard = guard, verrou = verrou)]
async fn with_guard(verrou: &Verrou, id: u64) -> Result<bool, Error> {
    guard.check()?;
    verrou.create_lock(guard.key()).is_locked().await
}

async fn held(id: u64) -> Result<bool, Error> {
    let key = key!("t:<id>", id, crate = locks)?;
    locks::current()?.create_lock(key).is_locked().await
}

#[tokio::test]
async fn a_renamed_dependency_locks() -> Result<(), Error> {
    let verrou = Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()?;
    assert_eq!(verrou.scope(every_path(1)).await?, Some(true));
    assert_eq!(verrou.scope(every_path(0)).await?, Some(false));
    assert!(with_guard(&verrou, 1).await?);
    Ok(())
}

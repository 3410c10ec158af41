//! The instance of the whole process: `#[locked]` before it is there, `init` once, and scopes over it. One test, for
//! there is one process.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::time::Duration;

use verrou::drivers::MemoryStore;
use verrou::{Error, FencingToken, LockGuard, LockOptions, Verrou, Wait, key, locked};

#[locked("job:<id>", guard = held)]
async fn job(id: u32) -> Result<(String, FencingToken), Error> {
    held.check()?;
    Ok((held.key().to_owned(), held.token()))
}

#[locked("job:<id>", store = "second", wait = never)]
async fn elsewhere(id: u32) -> Result<bool, Error> {
    Ok(id > 0)
}

#[locked("job:<id>", store = "no such")]
async fn nowhere(id: u32) -> Result<bool, Error> {
    Ok(id > 0)
}

#[locked("job:<id>")]
async fn around(id: u32) -> Result<Result<(String, FencingToken), Error>, Error> {
    Ok(job(id).await)
}

async fn take(lock: &str) -> Result<LockGuard, Error> {
    verrou::current()?
        .create_lock(lock)
        .wait(Wait::Never)
        .acquire()
        .await
}

#[test]
fn one_instance_serves_the_process_and_scopes_go_before_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Nothing is there yet.
        assert!(matches!(verrou::global(), Err(Error::NotInitialized)));
        assert!(matches!(verrou::current(), Err(Error::NotInitialized)));
        assert!(matches!(job(1).await, Err(Error::NotInitialized)));

        // A scope needs no global instance.
        let store = MemoryStore::new();
        let scoped = Verrou::builder()
            .store("only", store.clone())
            .build()
            .unwrap();
        assert_eq!(scoped.scope(job(1)).await.unwrap().0, "job:1");
        assert!(matches!(verrou::current(), Err(Error::NotInitialized)));

        let global = Verrou::builder()
            .store("first", MemoryStore::new())
            .store("second", MemoryStore::new())
            .options(LockOptions::new().wait(Wait::For(Duration::from_secs(5))))
            .build()
            .unwrap();
        assert!(verrou::init(global.clone()).is_ok());
        assert!(matches!(
            verrou::init(scoped.clone()),
            Err(Error::AlreadyInitialized)
        ));

        // The key of the macro is the one that is made by hand.
        assert_eq!(job(7).await.unwrap().0, key!("job:<id>", id = 7).unwrap());
        let guard = global.create_lock("job:7").acquire().await.unwrap();
        assert!(elsewhere(7).await.unwrap(), "another store is another lock");
        let other = global
            .store("second")
            .unwrap()
            .create_lock("job:7")
            .acquire()
            .await
            .unwrap();
        assert!(elsewhere(7).await.unwrap_err().is_busy());
        drop((guard, other));
        match nowhere(7).await {
            Err(Error::UnknownStore { name, known, .. }) => {
                assert_eq!(
                    (name.as_str(), known),
                    ("no such", vec!["first".to_owned(), "second".to_owned()])
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            around(7).await.unwrap(),
            Err(Error::Reentrant { .. })
        ));

        // Scopes: nested, joined, spawned, and entered.
        let held = global.create_lock("k").acquire().await.unwrap();
        assert!(take("k").await.unwrap_err().is_busy());
        let in_scope = scoped.scope(async { take("k").await.unwrap() });
        let (inside, outside) = tokio::join!(in_scope, take("k"));
        assert!(inside.is_held() && outside.unwrap_err().is_busy());
        assert!(global.scope(scoped.scope(take("other"))).await.is_ok());
        assert!(
            tokio::spawn(scoped.scope(take("spawned")))
                .await
                .unwrap()
                .is_ok()
        );
        let entered = scoped.enter();
        drop(inside);
        assert!(
            tokio::spawn(async { take("k").await.map(drop) })
                .await
                .unwrap()
                .is_ok()
        );
        drop(entered);
        assert!(take("k").await.unwrap_err().is_busy());
        drop(held);

        global.shutdown().await.unwrap();
        assert!(matches!(job(1).await, Err(Error::ShutDown)));
        scoped.shutdown().await.unwrap();
        assert!(store.is_empty());
    });
}

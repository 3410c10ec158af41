//! A purge while the fleet runs. Those of the drivers with servers are in their own binaries.

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tests::{Cycling, Folder};
use verrou::LockFactory;
use verrou::drivers::SqliteStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_of_sqlite_disturbs_nobody_and_no_token_falls() {
    let folder = Folder::new();
    let store = SqliteStore::connect(&folder.sqlite()).await.unwrap();
    let locks = LockFactory::new(store.clone());
    let held = locks.create_lock("held").ttl(Duration::from_secs(3600));
    let held = held.acquire().await.unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.file("locks.db"))
        .busy_timeout(Duration::from_secs(30));
    let mut admin = SqliteConnection::connect_with(&options).await.unwrap();
    // Rows that nobody has used for long, between the keys that are in use; and one that is held, however old.
    for old in [
        "INSERT INTO verrou_locks (key, holder, token, boot, granted, expiry) \
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         SELECT CAST(':k' || (i % 10) || '-' || i AS BLOB), '', 1000 + i, '', 0, 0 FROM n",
        "UPDATE verrou_locks SET token = 5 WHERE key = CAST(':held' AS BLOB)",
    ] {
        sqlx::query(old).execute(&mut admin).await.unwrap();
    }
    let cycling = Cycling::on(&store);
    let (started, mut purged) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(30) {
        // So short that it takes the keys in use as well, as soon as they are free.
        purged += store.purge(Duration::from_millis(100)).await.unwrap();
    }
    let cycles = cycling.end().await;
    assert!(cycles > 100, "{cycles} cycles");
    assert!(purged >= 3000, "{purged} rows purged");
    let left = "SELECT count(*) FROM verrou_locks WHERE token < 1000000";
    let left: i64 = sqlx::query_scalar(left)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(left, 1);
    assert!(locks.create_lock("held").is_locked().await.unwrap());
    held.release().await.unwrap();
    admin.close().await.unwrap();
}

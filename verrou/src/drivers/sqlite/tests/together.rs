//! Requests of one moment in one statement: each gets its own answer, whatever becomes of the others.

use std::task::Poll;

use sqlx::SqliteConnection;
use tokio::task::JoinHandle;

use super::*;

/// Lets everything run that can: the runtime of a test has one thread.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

type Asked<T> = JoinHandle<Result<T, StoreError>>;

fn acquiring(store: &SqliteStore, key: &StoredKey, owner: Owner) -> Asked<Acquired> {
    let (store, request) = (store.clone(), acquire(key, owner));
    tokio::spawn(async move { store.acquire(request).await })
}

fn releasing(store: &SqliteStore, key: &StoredKey, owner: Owner) -> Asked<Reply> {
    let (store, request) = (store.clone(), ReleaseRequest::new(key.clone(), owner));
    tokio::spawn(async move { store.release(request).await })
}

/// A process that keeps the file locked could not do it otherwise.
async fn stranger(dir: &Dir) -> Result<SqliteConnection, sqlx::Error> {
    let mut writer = dir.options().connect().await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await?;
    Ok(writer)
}

async fn commit(mut writer: SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("COMMIT").execute(&mut writer).await.map(|_| ())
}

#[tokio::test]
async fn each_member_of_a_batch_has_its_own_answer() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let (me, other) = (Owner::random()?, Owner::random()?);
    let keys: Vec<_> = (0..6)
        .map(|number| key(&number.to_string()))
        .collect::<Result<_, _>>()?;
    let [free, mine, others, released, kept, missing] = &keys[..] else {
        return Err("six keys".into());
    };
    let before = granted(&store, mine, me).await?;
    granted(&store, others, other).await?;
    for key in [released, kept] {
        granted(&store, key, me).await?;
    }
    let holding = store.inspect(InspectRequest::new(kept.clone())).await?;
    let last = holding.ok_or("free")?.token;

    let writer = store.inner.writer().await?;
    let alone = acquiring(&store, &key("alone")?, me);
    settle().await;
    let asked = [free, mine, others].map(|key| acquiring(&store, key, me));
    let keep = ReleaseRequest::new(kept.clone(), me).keep(TTL * 2);
    let keeping = tokio::spawn({
        let store = store.clone();
        async move { store.release(keep).await }
    });
    let freeing = [released, missing].map(|key| releasing(&store, key, me));
    settle().await;
    drop(writer);

    assert!(matches!(alone.await??, Acquired::Granted { .. }));
    let [free, mine, theirs] = asked;
    assert!(matches!(free.await??, Acquired::Granted { .. }));
    assert!(
        matches!(mine.await??, Acquired::Granted { token } if token.get() == before),
        "a repeated acquire has the token of the first time"
    );
    assert!(
        matches!(theirs.await??, Acquired::Held { remaining } if remaining > TTL / 2 && remaining <= TTL)
    );
    let [freed, not_there] = freeing;
    assert_eq!(freed.await??, Reply::Done);
    assert_eq!(not_there.await??, Reply::NotHeld);
    assert_eq!(keeping.await??, Reply::Done);
    let holding = store.inspect(InspectRequest::new(kept.clone())).await?;
    let holding = holding.ok_or("free")?;
    assert!(holding.remaining > TTL && holding.token == last && holding.holder.is_empty());
    for key in [released, missing] {
        assert_eq!(store.inspect(InspectRequest::new(key.clone())).await?, None);
        assert!(matches!(
            store.acquire(acquire(key, other)).await?,
            Acquired::Granted { .. }
        ));
    }
    Ok(())
}

/// One that fails takes no other along, and what the statement had done by then is told as it is.
#[tokio::test]
async fn a_member_that_fails_harms_no_neighbour() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let me = Owner::random()?;
    let (used_up, mine, free) = (key("used up")?, key("mine")?, key("free")?);
    granted(&store, &used_up, me).await?;
    let file = dir.file("locks.db");
    execute(
        &file,
        "UPDATE verrou_locks SET token = 9223372036854775807, expiry = 0",
    )
    .await?;
    granted(&store, &mine, me).await?;

    let writer = store.inner.writer().await?;
    let alone = acquiring(&store, &key("alone")?, me);
    settle().await;
    let (failing, taking) = (
        acquiring(&store, &used_up, me),
        acquiring(&store, &free, me),
    );
    let freeing = releasing(&store, &mine, me);
    settle().await;
    drop(writer);

    alone.await??;
    assert!(failing.await?.is_err(), "it has had its last token");
    assert!(matches!(taking.await??, Acquired::Granted { .. }));
    assert_eq!(freeing.await??, Reply::Done, "the batch had released it");
    Ok(())
}

/// Dropped before the statement goes out it is not in it; dropped later it is, and the others have their answers.
#[tokio::test]
async fn a_member_that_is_dropped_harms_no_neighbour() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let me = Owner::random()?;
    let names = ["stays", "leaves early", "leaves late"];
    let [stays, early, late] = names.map(key);
    let (stays, early, late) = (stays?, early?, late?);

    let writer = store.inner.writer().await?;
    let alone = acquiring(&store, &key("alone")?, me);
    settle().await;
    let staying = acquiring(&store, &stays, me);
    let mut unsent = acquire(&early, me);
    unsent.sent = Sent::tracked();
    let withdrawn = unsent.sent.clone();
    let leaving_early = {
        let store = store.clone();
        tokio::spawn(async move { store.acquire(unsent).await })
    };
    let mut sent = acquire(&late, me);
    sent.sent = Sent::tracked();
    let went_out = sent.sent.clone();
    let mut leaving_late = Box::pin(LockStore::acquire(&store, sent));
    let poll = std::future::poll_fn(|cx| Poll::Ready(leaving_late.as_mut().poll(cx))).await;
    assert!(poll.is_pending());
    settle().await;
    assert!(withdrawn.withdraw(), "it waits for the connection");
    leaving_early.abort();
    alone.abort();
    settle().await;

    // The batch is the first to go out, and waits for the file.
    let stranger = stranger(&dir).await?;
    drop(writer);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !went_out.is_marked() {
        assert!(Instant::now() < deadline, "the batch does not go out");
        tokio::task::yield_now().await;
    }
    drop(leaving_late);
    settle().await;
    commit(stranger).await?;
    assert!(matches!(staying.await??, Acquired::Granted { .. }));
    assert_eq!(store.inspect(InspectRequest::new(early)).await?, None);
    let holding = store.inspect(InspectRequest::new(late)).await?;
    assert!(
        holding.is_some(),
        "what was sent with the others is done with them"
    );
    Ok(())
}

const WORKER: &str = "VERROU_SQLITE_BATCH_WORKER";
const LEASE: Duration = Duration::from_secs(1);

/// Not a test: as many tasks as keys, until it is killed. Prints `key token` for each grant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by `a_process_that_is_killed_amid_a_batch_leaves_whole_leases`"]
#[expect(clippy::print_stdout, reason = "it reports to another process")]
async fn batching_process() -> Tested {
    let Ok(dir) = std::env::var(WORKER) else {
        return Ok(());
    };
    let path = Path::new(&dir).join("locks.db");
    let store = SqliteStore::connect(&path.display().to_string()).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..32 {
        let (store, name) = (store.clone(), format!("k{number}"));
        tasks.spawn(async move {
            let key = key(&name).map_err(|error| error.to_string())?;
            loop {
                let owner = Owner::random().map_err(|error| error.to_string())?;
                let request = AcquireRequest::new(key.clone(), owner, LEASE);
                match store.acquire(request).await {
                    Ok(Acquired::Granted { token }) => println!("\n{name} {token}"),
                    other => return Err(format!("{other:?}")),
                }
                let release = ReleaseRequest::new(key.clone(), owner);
                match store.release(release).await {
                    Ok(Reply::Done) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        let ended: Result<(), String> = ended?;
        ended?;
    }
    Ok(())
}

#[tokio::test]
async fn a_process_that_is_killed_amid_a_batch_leaves_whole_leases() -> Tested {
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let me = Owner::random()?;
    for lines in [1, 40, 333, 1000] {
        let mut killed = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "drivers::sqlite::tests::together::batching_process",
            ])
            .args(["--ignored", "--nocapture"])
            .env(WORKER, &dir.0)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = killed.stdout.take().ok_or("no output")?;
        let mut last: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
        let mut seen = 0;
        for line in std::io::BufReader::new(output).lines() {
            let line = line?;
            // The last line may be cut.
            let Some((name, token)) = line.split_once(' ').filter(|_| line.starts_with('k')) else {
                continue;
            };
            let Ok(token) = token.parse() else { continue };
            let before = last.insert(name.to_owned(), token).unwrap_or(0);
            assert!(before < token || seen >= lines, "tokens rise");
            seen += 1;
            if seen == lines {
                killed.kill()?;
            }
        }
        assert!(seen >= lines, "it ended by itself");
        killed.wait()?;
        let deadline = Instant::now() + LEASE + Duration::from_secs(10);
        for number in 0..32 {
            let name = format!("k{number}");
            let key = key(&name)?;
            let token = loop {
                match store.acquire(acquire(&key, me)).await? {
                    Acquired::Granted { token } => break token,
                    Acquired::Held { remaining } => assert!(
                        remaining <= LEASE && Instant::now() < deadline,
                        "a lease outlives its ttl"
                    ),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            assert!(last.get(&name).is_none_or(|last| token.get() > *last));
            store.release(ReleaseRequest::new(key, me)).await?;
        }
    }
    Ok(())
}

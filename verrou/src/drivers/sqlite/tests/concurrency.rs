//! Several connections, threads and processes on one file; calls that are dropped; hints; what stays open.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqlitePoolOptions;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_set_up_a_fresh_file_at_once() -> Tested {
    for _ in 0..5 {
        let dir = Dir::new()?;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let url = dir.url();
            tasks.spawn(async move { SqliteStore::connect(&url).await });
        }
        while let Some(store) = tasks.join_next().await {
            store??;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_contend_without_an_error_and_with_rising_tokens() -> Tested {
    let dir = Dir::new()?;
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(SqliteStore::connect(&dir.url()).await?);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8_usize {
        let store = stores[number % 4].clone();
        tasks.spawn(async move {
            let mut tokens = Vec::new();
            for cycle in 0..200 {
                let key = key(&format!("k{}", (number + cycle) % 4)).map_err(|e| e.to_string())?;
                let owner = Owner::random().map_err(|e| e.to_string())?;
                let token = loop {
                    match store.acquire(acquire(&key, owner)).await {
                        Ok(Acquired::Granted { token }) => break token,
                        Ok(Acquired::Held { .. }) => tokio::task::yield_now().await,
                        Err(error) => return Err(format!("{:?}", error.cause())),
                    }
                };
                tokens.push((key.clone(), token));
                match store.release(ReleaseRequest::new(key, owner)).await {
                    Ok(Reply::Done) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
            Ok(tokens)
        });
    }
    let mut all: HashMap<StoredKey, Vec<_>> = HashMap::new();
    while let Some(tokens) = tasks.join_next().await {
        let mut last = HashMap::new();
        for (key, token) in tokens?? {
            let before = last.insert(key.clone(), token);
            assert!(before.is_none_or(|before| before < token));
            all.entry(key).or_default().push(token);
        }
    }
    for tokens in all.values_mut() {
        let count = tokens.len();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), count, "a token was given twice");
    }
    assert_eq!(all.values().map(Vec::len).sum::<usize>(), 1600);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_elsewhere_is_hinted() -> Tested {
    let dir = Dir::new()?;
    let (here, there) = (
        SqliteStore::connect(&dir.url()).await?,
        SqliteStore::connect(&dir.url()).await?,
    );
    let (mine, others, me) = (key("k")?, key("other")?, Owner::random()?);
    granted(&there, &others, me).await?;
    let mut quiet = here.watch(&others);
    for _ in 0..20 {
        granted(&there, &mine, me).await?;
        let mut watch = here.watch(&mine);
        assert!(matches!(
            here.acquire(acquire(&mine, Owner::random()?)).await?,
            Acquired::Held { .. }
        ));
        there.release(ReleaseRequest::new(mine.clone(), me)).await?;
        tokio::time::timeout(Duration::from_secs(10), watch.hint()).await?;
    }
    let mut context = Context::from_waker(Waker::noop());
    assert!(
        pin!(quiet.hint()).poll(&mut context).is_pending(),
        "a held key was hinted"
    );
    // In the same process at once, whatever the thread does.
    there
        .force_release(ForceReleaseRequest::new(others.clone()))
        .await?;
    tokio::time::timeout(Duration::from_secs(10), quiet.hint()).await?;
    Ok(())
}

/// Where a watch begins while its key is being freed, no hint is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hint_is_lost_while_the_listener_starts() -> Tested {
    let dir = Dir::new()?;
    let there = SqliteStore::connect(&dir.url()).await?;
    let (key, me) = (key("k")?, Owner::random()?);
    for _ in 0..30 {
        let here = SqliteStore::connect(&dir.url()).await?;
        granted(&there, &key, me).await?;
        let mut watch = here.watch(&key);
        there.release(ReleaseRequest::new(key.clone(), me)).await?;
        tokio::time::timeout(Duration::from_secs(10), watch.hint()).await?;
        drop(watch);
        here.close().await;
        assert!(
            pin!(here.watch(&key).hint())
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }
    Ok(())
}

/// A call that is dropped on a thread without a runtime, before and after it was sent.
#[test]
fn a_call_may_be_dropped_anywhere() -> Tested {
    let dir = Dir::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let pool_dir = Dir::new()?;
    let (own, pooled) = runtime.block_on(async {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(pool_dir.options())
            .await?;
        Ok::<_, Box<dyn std::error::Error>>((
            SqliteStore::builder(&dir.url())
                .max_connections(1)
                .connect()
                .await?,
            SqliteStore::from_pool(pool).connect().await?,
        ))
    })?;
    for store in [own, pooled] {
        let me = Owner::random()?;
        let sent = Sent::tracked();
        let mut request = acquire(&key("k")?, me);
        request.sent = sent.clone();
        for polls in 0..4 {
            // The connection is in use, so this one is never sent.
            let held = runtime.block_on(store.inner.writer())?;
            let waiting = Sent::tracked();
            let mut second = acquire(&key("k")?, me);
            second.sent = waiting.clone();
            let calls = (
                Box::pin(LockStore::acquire(&store, second)),
                Box::pin(LockStore::acquire(&store, request.clone())),
            );
            let (mut waiter, mut call) = calls;
            let mut context = Context::from_waker(Waker::noop());
            {
                let _runtime = runtime.enter();
                for _ in 0..polls {
                    assert!(waiter.as_mut().poll(&mut context).is_pending());
                }
            }
            assert!(!waiting.is_marked());
            std::thread::scope(|scope| scope.spawn(move || drop(waiter)).join())
                .map_err(|_| "the drop of a waiting call panicked")?;
            std::thread::scope(|scope| scope.spawn(move || drop(held)).join())
                .map_err(|_| "the drop of a connection panicked")?;
            runtime.block_on(async {
                // Dropped after each number of polls, and in the last round after it was sent.
                let mut polled = 0;
                while polled < polls || (polls == 3 && !sent.is_marked()) {
                    let poll = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx)));
                    if let Poll::Ready(answer) = poll.await {
                        answer?;
                        call = Box::pin(LockStore::acquire(&store, request.clone()));
                    }
                    polled += 1;
                    tokio::task::yield_now().await;
                }
                Ok::<_, StoreError>(())
            })?;
            std::thread::scope(|scope| scope.spawn(move || drop(call)).join())
                .map_err(|_| "the drop of a sent call panicked")?;
            // The store works on.
            let renewed = runtime.block_on(async {
                granted(&store, &key("k")?, me).await?;
                store.release(ReleaseRequest::new(key("k")?, me)).await?;
                Ok::<_, Box<dyn std::error::Error>>(())
            });
            renewed?;
        }
        assert!(sent.is_marked());
    }
    Ok(())
}

/// A future that is kept but not polled does not keep the only connection for ever.
#[tokio::test]
async fn a_call_that_is_not_polled_stops_nobody_for_long() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::builder(&dir.url())
        .max_connections(1)
        .connect()
        .await?;
    let mut writer = dir.options().connect().await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await?;
    let mut stuck = Box::pin(LockStore::acquire(
        &store,
        acquire(&key("stuck")?, Owner::random()?),
    ));
    let mut context = Context::from_waker(Waker::noop());
    assert!(stuck.as_mut().poll(&mut context).is_pending());
    sqlx::query("COMMIT").execute(&mut writer).await?;
    let (key, me) = (key("k")?, Owner::random()?);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        // As the core does: each call has its bound.
        let call = granted(&store, &key, me);
        if let Ok(token) = tokio::time::timeout(Duration::from_millis(100), call).await {
            token?;
            break;
        }
        assert!(Instant::now() < deadline, "nobody gets a connection");
    }
    stuck.await?;
    Ok(())
}

#[tokio::test]
async fn a_busy_file_is_waited_for() -> Tested {
    let dir = Dir::new()?;
    let store = SqliteStore::connect(&dir.url()).await?;
    let mut writer = dir.options().connect().await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await?;
    let (key, me) = (key("k")?, Owner::random()?);
    let mut call = pin!(granted(&store, &key, me));
    // Longer than SQLite waits at a time.
    let early = tokio::time::timeout(Duration::from_millis(600), call.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    sqlx::query("COMMIT").execute(&mut writer).await?;
    call.await?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn open_files(dir: &Path) -> std::io::Result<usize> {
    let files = std::fs::read_dir("/proc/self/fd")?;
    Ok(files
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.starts_with(dir))
        .count())
}

/// Neither the store nor its listener leaves a file open, whether closed, dropped, or only idle.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_stays_open() -> Tested {
    let dir = Dir::new()?;
    let gone = async |limit: usize, what: &str| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while open_files(&dir.0).is_ok_and(|open| open > limit) {
            assert!(Instant::now() < deadline, "{what}: files stay open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let store = SqliteStore::connect(&dir.url()).await?;
    // The file, its log and its shared memory; and SQLite keeps a descriptor that a closed connection had of the file
    // for the next one, because closing it would drop the locks of the others.
    gone(4, "set-up").await;
    let idle = open_files(&dir.0)?;
    let watch = store.watch(&key("k")?);
    let deadline = Instant::now() + Duration::from_secs(10);
    while open_files(&dir.0)? == idle {
        assert!(Instant::now() < deadline, "nobody listens");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(watch);
    gone(idle, "an idle listener").await;
    let watch = store.watch(&key("k")?);
    store.close().await;
    gone(0, "close").await;
    drop(watch);

    let store = SqliteStore::connect(&dir.url()).await?;
    let watch = store.watch(&key("k")?);
    drop(store);
    gone(0, "drop").await;
    drop(watch);
    Ok(())
}

const WORKER: &str = "VERROU_SQLITE_TEST_WORKER";

/// Not a test: what a process of the next one does. Prints `key token` for each grant.
#[tokio::test]
#[ignore = "started by `processes_share_a_fresh_file_and_one_is_killed`"]
#[expect(clippy::print_stdout, reason = "it reports to another process")]
async fn worker_process() -> Tested {
    let Ok(dir) = std::env::var(WORKER) else {
        return Ok(());
    };
    let dir = Path::new(&dir);
    let store = SqliteStore::connect(&dir.join("locks.db").display().to_string()).await?;
    for cycle in 0..150 {
        let name = format!("k{}", cycle % 4);
        let (key, owner) = (key(&name)?, Owner::random()?);
        let token = loop {
            let request = AcquireRequest::new(key.clone(), owner, Duration::from_secs(5));
            match store.acquire(request).await? {
                Acquired::Granted { token } => break token,
                Acquired::Held { .. } => tokio::task::yield_now().await,
            }
        };
        println!("\n{name} {token}");
        let inside = dir.join(&name);
        std::fs::File::create_new(&inside)?;
        std::fs::remove_file(&inside)?;
        let release = ReleaseRequest::new(key, owner);
        assert_eq!(store.release(release).await?, Reply::Done);
    }
    Ok(())
}

#[test]
fn processes_share_a_fresh_file_and_one_is_killed() -> Tested {
    use std::process::{Command, Stdio};
    let dir = Dir::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "--exact",
            "drivers::sqlite::tests::concurrency::worker_process",
        ])
        .args(["--ignored", "--nocapture"])
        .env(WORKER, &dir.0)
        .stdout(Stdio::piped());
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(command.spawn()?);
    }
    // A holder that dies: its own store holds a key, and its process ends without a word.
    let mut killed = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "drivers::sqlite::tests::concurrency::holder_process",
        ])
        .args(["--ignored", "--nocapture"])
        .env(WORKER, &dir.0)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(killed.stdout.take().ok_or("no output")?);
    while !line.contains("held") {
        line.clear();
        if std::io::BufRead::read_line(&mut reader, &mut line)? == 0 {
            return Err("the holder ended".into());
        }
    }
    killed.kill()?;
    killed.wait()?;

    let mut all: HashMap<String, Vec<u64>> = HashMap::new();
    for worker in workers {
        let output = worker.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        assert!(output.status.success(), "{text}");
        let mut last: HashMap<&str, u64> = HashMap::new();
        for line in text.lines().filter(|line| line.starts_with('k')) {
            let (key, token) = line.split_once(' ').ok_or("no token")?;
            let token = token.parse()?;
            assert!(last.insert(key, token).is_none_or(|before| before < token));
            all.entry(key.to_owned()).or_default().push(token);
        }
    }
    assert_eq!(all.values().map(Vec::len).sum::<usize>(), 600);
    for tokens in all.values_mut() {
        let count = tokens.len();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), count, "a token was given twice");
    }
    Ok(())
}

/// Not a test: takes a key and keeps it until it is killed.
#[tokio::test]
#[ignore = "started by `processes_share_a_fresh_file_and_one_is_killed`"]
#[expect(clippy::print_stdout, reason = "it reports to another process")]
async fn holder_process() -> Tested {
    let Ok(dir) = std::env::var(WORKER) else {
        return Ok(());
    };
    let path = Path::new(&dir).join("locks.db");
    let store = SqliteStore::connect(&path.display().to_string()).await?;
    let (key, owner) = (key("k1")?, Owner::random()?);
    let request = AcquireRequest::new(key, owner, Duration::from_secs(1));
    while !matches!(
        store.acquire(request.clone()).await?,
        Acquired::Granted { .. }
    ) {}
    println!("\nheld");
    std::future::pending().await
}

//! Guards and futures that are dropped in every place that a program has, on a store of any server.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use verrou::{Error, Lock, LockFactory, LockGuard};

use crate::{DEADLINE, soon};

/// A lease that no test waits for: what is free before was released.
const TTL: Duration = Duration::from_secs(120);

/// Fails unless the key of a guard is free soon, wherever the guard or the future was dropped. To be called on a runtime of
/// several threads. `elsewhere` is another store on the same server.
///
/// # Panics
/// If it is not, or if a drop panics.
pub async fn anywhere(locks: LockFactory, elsewhere: LockFactory) {
    let lock = locks.create_lock("dropped").ttl(TTL);
    let other = elsewhere.create_lock("dropped").ttl(TTL);
    let acquire = async || must(soon("the key", lock.acquire()).await);
    let free = async |place: &str| free_again(&other, place).await;

    let guard = acquire().await;
    drop(guard);
    free("in a task").await;

    let guard = acquire().await;
    join(std::thread::spawn(move || drop(guard)));
    free("in a plain thread").await;

    let guard = acquire().await;
    let panicked = std::thread::spawn(move || {
        let _guard = guard;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err(), "it panics");
    free("in the panic of a thread").await;

    let task = tokio::spawn({
        let lock = lock.clone();
        async move {
            let body = lock.run(async |_| panic!("on purpose"));
            must(body.await)
        }
    });
    assert!(task.await.is_err_and(|error| error.is_panic()));
    free("in the panic of a body").await;

    thread_local! {
        static KEPT: RefCell<Option<LockGuard>> = const { RefCell::new(None) };
    }
    let guard = acquire().await;
    join(std::thread::spawn(move || KEPT.set(Some(guard))));
    free("in the destructor of a thread-local").await;

    let task = tokio::spawn({
        let lock = lock.clone();
        async move {
            let _guard = must(lock.acquire().await);
            std::future::pending::<()>().await;
        }
    });
    is_held(&other).await;
    task.abort();
    free("in a task that was aborted").await;

    nested(&lock, &free).await;
    gone(&lock, &other, &free).await;
}

/// Under `block_in_place`, and in a runtime inside of `spawn_blocking`.
async fn nested(lock: &Lock, free: &impl AsyncFn(&str)) {
    let here = lock.clone();
    tokio::task::block_in_place(|| {
        let guard = Handle::current().block_on(here.acquire());
        drop(must(guard));
    });
    free("under block_in_place").await;
    tokio::task::block_in_place(|| {
        let body = here.run(async |guard| guard.is_held());
        assert!(must(Handle::current().block_on(body)));
    });
    free("by a body under block_in_place").await;

    for released in [true, false] {
        let inner = lock.clone();
        let nested = tokio::task::spawn_blocking(move || {
            let runtime = current_thread();
            let guard = must(runtime.block_on(inner.acquire()));
            if released {
                must(runtime.block_on(guard.release()));
                must(runtime.block_on(inner.run(async |_| ())));
            } else {
                drop(guard);
            }
        });
        must_join(nested.await);
        free("in a runtime inside of spawn_blocking").await;
    }
    let inner = lock.clone();
    let outer =
        tokio::task::spawn_blocking(move || must(current_thread().block_on(inner.acquire())));
    let guard = must_join(outer.await);
    must(guard.release().await);
    free("released on another runtime than it was acquired on").await;
}

/// The runtime is dropped first, stands still, or ends in the middle of a body or of a wait.
async fn gone(lock: &Lock, other: &Lock, free: &impl AsyncFn(&str)) {
    let here = lock.clone();
    let guard = join(std::thread::spawn(move || {
        let runtime = current_thread();
        must(runtime.block_on(here.acquire()))
    }));
    assert!(guard.is_held(), "its runtime is gone, the lease is not");
    join(std::thread::spawn(move || drop(guard)));
    free("after its runtime").await;

    let here = lock.clone();
    let (still, guard) = join(std::thread::spawn(move || {
        let runtime = current_thread();
        let guard = must(runtime.block_on(here.acquire()));
        (runtime, guard)
    }));
    join(std::thread::spawn(move || drop(guard)));
    free("while its runtime stands still").await;
    join(std::thread::spawn(move || drop(still)));

    let here = lock.clone();
    join(std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
        let (inside, is_inside) = std::sync::mpsc::channel();
        drop(runtime.spawn(async move {
            let body = here.run(async |_| {
                let _ = inside.send(());
                std::future::pending::<()>().await;
            });
            body.await
        }));
        assert!(is_inside.recv_timeout(DEADLINE).is_ok(), "no body");
        drop(runtime);
    }));
    free("by a body whose runtime ended").await;

    // A wait that was polled on one thread, and is dropped on another that has no runtime.
    let blocker = must(soon("the key", other.acquire()).await);
    let mut waiting: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(lock.acquire());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(100) {
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Pending));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    join(std::thread::spawn(move || drop(waiting)));
    must(blocker.release().await);
    free("by a wait that was dropped in a plain thread").await;
}

fn current_thread() -> Runtime {
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime: {error}"),
    }
}

async fn free_again(other: &Lock, place: &str) {
    let dropped = Instant::now();
    loop {
        if let Some(guard) = must(other.try_acquire().await) {
            return must(guard.release().await);
        }
        let waited = dropped.elapsed();
        assert!(
            waited < DEADLINE / 6,
            "dropped {place}: still held after {waited:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn is_held(other: &Lock) {
    let held = async {
        while !must(other.is_locked().await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a holder", held).await;
}

fn join<T>(thread: std::thread::JoinHandle<T>) -> T {
    match thread.join() {
        Ok(done) => done,
        Err(_) => panic!("the thread panicked"),
    }
}

fn must_join<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(done) => done,
        Err(error) => panic!("{error}"),
    }
}

fn must<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{error}"),
    }
}

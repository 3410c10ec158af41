//! A process that is told to end while it holds locks, and does so in one way.
//!
//! ```text
//! leaver WAY URL NAME     WAY: shutdown, runtime, thread, exit, or signal
//! ```
//!
//! It takes the keys `NAME-guard`, `NAME-body`, `NAME-outside`, with a waiter behind each, says `ready`, and waits for a line (a SIGTERM,
//! if it ends by `signal`). Then it says `left RESULT FREE`: what `shutdown` said, and what a memory store still has. Those
//! who ended without a shutdown live on until their input ends.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to the test over its output"
)]

use std::error::Error;
use std::io::{BufRead as _, stdin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tests::site::register;
use tokio::signal::unix::{SignalKind, signal};
use verrou::drivers::MemoryStore;
use verrou::{LockGuard, Verrou, Wait};

/// No lease ends by itself here.
const TTL: Duration = Duration::from_secs(600);

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, url, name] = arguments.as_slice() else {
        return Err("leaver WAY URL NAME".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let memory = MemoryStore::new();
    let (verrou, guard) = runtime.block_on(async {
        let builder = Verrou::builder();
        let builder = if url == "memory:" {
            builder.store("locks", memory.clone())
        } else {
            register(builder, url).await?
        };
        let verrou = builder.build()?;
        let guard = works(&verrou, name).await?;
        Outcome::Ok((verrou, guard))
    })?;
    let mut lines = stdin().lock().lines();
    let mut told = || {
        lines.next();
    };
    let say_left = |result: Result<(), verrou::Error>| {
        let result = result.map_or_else(|error| format!("{error}"), |()| "well".to_owned());
        println!("left {} {result}", memory.len());
    };
    if way != "signal" {
        println!("ready");
        told();
    }
    match way.as_str() {
        "shutdown" => say_left(runtime.block_on(verrou.shutdown())),
        "runtime" => {
            drop(runtime);
            drop(guard);
            say_left(Ok(()));
            told();
        }
        "thread" => {
            drop(runtime);
            let shutdown = std::thread::spawn(move || block_on(verrou.shutdown()));
            say_left(shutdown.join().map_err(|_| "the thread panicked")?);
            drop(guard);
        }
        "exit" => runtime.block_on(async { std::process::exit(0) }),
        "signal" => runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            println!("ready");
            terminate.recv().await;
            say_left(verrou.shutdown().await);
            Outcome::Ok(())
        })?,
        other => return Err(format!("no way `{other}`").into()),
    }
    Ok(())
}

/// A guard in a task, a body, a guard outside of every task, and one who waits for each.
async fn works(verrou: &Verrou, name: &str) -> Outcome<LockGuard> {
    let lock = |key: &str| verrou.create_lock(format!("{name}-{key}")).ttl(TTL);
    let (kept, body) = (lock("guard").acquire().await?, lock("body"));
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(kept);
    });
    let (begun, begins) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        body.run(async |_| {
            let _ = begun.send(());
            std::future::pending::<()>().await;
        })
        .await
    });
    begins.await?;
    let outside = lock("outside").acquire().await?;
    for key in ["guard", "body", "outside"] {
        let mut waiting = Box::pin(lock(key).wait(Wait::Forever).acquire());
        // It stands in the queue before anybody is told.
        let waits = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        if !waits.await {
            return Err("a key is free that is held".into());
        }
        tokio::spawn(waiting);
    }
    Ok(outside)
}

/// Without any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

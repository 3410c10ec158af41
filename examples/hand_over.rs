//! A web request takes the lock and answers at once; a worker process takes the lock up and finishes.
//!
//! ```text
//! cargo run -p examples --example hand_over
//! curl -i -X POST http://127.0.0.1:PORT/reports/2026     202 Accepted, or 409 while it is being made
//! curl http://127.0.0.1:PORT/reports/2026                who makes it since when, or that it is done
//! ```
//!
//! Between the two nobody else gets the key, and the fencing token stays the same. The text that carries the lock is a bearer
//! secret: it goes through a pipe here, in production through a queue that only the workers read.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{ChildStdin, Command};
use tokio::sync::Mutex;
use verrou::{Error, LockFactory, SerializedLock, drivers::SqliteStore, key};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Tells the worker in which folder the locks and the reports are.
const FOLDER: &str = "VERROU_HAND_OVER_FOLDER";
/// How long a lock may be on its way: renewal stops when it is handed over.
const ON_ITS_WAY: Duration = Duration::from_secs(20);

struct Service {
    locks: LockFactory,
    folder: PathBuf,
    queue: Mutex<ChildStdin>,
}

/// Takes the lock, and leaves it to the worker.
async fn start(State(service): State<Arc<Service>>, UrlPath(id): UrlPath<u32>) -> Response {
    match service.start(id).await {
        Ok(true) => (StatusCode::ACCEPTED, "it is being made\n").into_response(),
        Ok(false) => {
            let retry = [(header::RETRY_AFTER, "1")];
            (StatusCode::CONFLICT, retry, "it is being made already\n").into_response()
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

async fn look(State(service): State<Arc<Service>>, UrlPath(id): UrlPath<u32>) -> Response {
    match service.look(id).await {
        Ok(text) => text.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

impl Service {
    async fn start(&self, id: u32) -> Result<bool, AnyError> {
        let lock = self.locks.create_lock(key!("report:<id>", id = id)?);
        let Some(guard) = lock.ttl(ON_ITS_WAY).try_acquire().await? else {
            return Ok(false);
        };
        // From here on the text has the lock. If it is lost, the key is free after the ttl.
        let text = guard.into_serialized()?.expose();
        let line = format!("{id} {text}\n");
        self.queue.lock().await.write_all(line.as_bytes()).await?;
        Ok(true)
    }

    async fn look(&self, id: u32) -> Result<String, Error> {
        let lock = self.locks.create_lock(key!("report:<id>", id = id)?);
        Ok(match lock.inspect().await? {
            Some(holder) => format!("made by {}, token {}\n", holder.holder, holder.token),
            None => match std::fs::read_to_string(report(&self.folder, id)) {
                Ok(text) => text,
                Err(_) => "there is none\n".to_owned(),
            },
        })
    }
}

fn report(folder: &Path, id: u32) -> PathBuf {
    folder.join(format!("report-{id}.txt"))
}

/// The worker: takes up each lock that comes, and makes the report under it.
async fn worker(folder: &Path) -> Result<(), AnyError> {
    let locks = locks(folder).await?;
    let mut jobs = BufReader::new(tokio::io::stdin()).lines();
    while let Some(job) = jobs.next_line().await? {
        let (id, text) = job.split_once(' ').ok_or("no job")?;
        let id: u32 = id.parse()?;
        let serialized: SerializedLock = text.parse()?;
        // `NotHeld` if it was too long on its way, or was taken up before: then the job is not ours.
        let guard = match locks.restore_lock(&serialized).await {
            Ok(guard) => guard,
            Err(Error::NotHeld { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        guard.check()?;
        let text = format!("report {id}, written with token {}\n", guard.token());
        std::fs::write(report(folder, id), text)?;
        guard.release().await?;
    }
    Ok(())
}

async fn locks(folder: &Path) -> Result<LockFactory, AnyError> {
    let url = format!("sqlite:{}", folder.join("locks.db").display());
    Ok(LockFactory::new(SqliteStore::connect(&url).await?))
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return worker(Path::new(&folder)).await;
    }
    let folder = std::env::temp_dir().join(format!("verrou-hand-over-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let mut child = Command::new(std::env::current_exe()?)
        .env(FOLDER, &folder)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let service = Arc::new(Service {
        locks: locks(&folder).await?,
        queue: Mutex::new(child.stdin.take().ok_or("the worker has no input")?),
        folder: folder.clone(),
    });
    let routes = Router::new()
        .route("/reports/{id}", post(start).get(look))
        .with_state(service);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("worker {}", child.id().unwrap_or_default());
    println!("listening on http://{}", listener.local_addr()?);
    let ended = tokio::select! {
        served = axum::serve(listener, routes) => served.map_err(AnyError::from),
        ended = child.wait() => Err(format!("the worker ended: {ended:?}").into()),
        asked = tokio::signal::ctrl_c() => asked.map_err(AnyError::from),
    };
    let _ = std::fs::remove_dir_all(&folder);
    ended
}

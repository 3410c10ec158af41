//! How the machine does: a plain write to the store's server every now and then, past the library and past the faults.
//!
//! Where that takes long, a bound that was missed says nothing about the library. What is safe has to hold all the same:
//! only bounds of time are excused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use sqlx::{Connection as _, MySqlConnection, PgConnection};
use tokio::task::JoinHandle;

use super::stand::Stand;
use crate::Folder;
use crate::history::attempts::Stall;
use crate::history::{boot_nanos, nanos};

const BEAT: Duration = Duration::from_millis(50);
/// A write that takes longer.
const LONG: Duration = Duration::from_millis(100);
/// The first statement of each connection.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS pulse (n BIGINT)";
const WRITE: &str = "UPDATE pulse SET n = n + 1";

/// It beats until it is ended or dropped.
#[derive(Debug)]
pub(super) struct Pulse {
    task: JoinHandle<()>,
    stalls: Arc<Mutex<Vec<Stall>>>,
}

/// What is written to.
enum Patient {
    Disk(Folder),
    Redis(String),
    Postgres(String),
    MySql(String),
}

enum Line {
    Redis(MultiplexedConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

impl Pulse {
    /// Of the server of `stand`; of the disk, if there is none.
    pub(super) fn of(stand: &Stand) -> Self {
        let patient = match stand {
            Stand::Memory | Stand::Sqlite(..) => Patient::Disk(Folder::new()),
            Stand::Redis(server) => Patient::Redis(server.url()),
            Stand::Postgres(server) => Patient::Postgres(server.url()),
            Stand::MariaDb(server) => Patient::MySql(server.url("verrou")),
        };
        let stalls = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(beat(patient, Arc::clone(&stalls)));
        Self { task, stalls }
    }

    /// When it was slow.
    pub(super) fn end(self) -> Vec<Stall> {
        std::mem::take(&mut *self.stalls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(patient: Patient, stalls: Arc<Mutex<Vec<Stall>>>) {
    let mut line = None;
    loop {
        let from = boot_nanos();
        if let Patient::Disk(folder) = &patient {
            let path = folder.file("pulse");
            let _ = tokio::task::spawn_blocking(move || {
                let file = std::fs::File::create(path)?;
                file.set_len(8)?;
                file.sync_data()
            })
            .await;
        } else if !written(&patient, &mut line).await {
            line = None;
        }
        let to = boot_nanos();
        if to - from > nanos(LONG) {
            let stall = Stall {
                process: None,
                from,
                to,
            };
            stalls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(stall);
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Whether one write has worked.
async fn written(patient: &Patient, line: &mut Option<Line>) -> bool {
    if line.is_none() {
        *line = connected(patient).await;
    }
    match line {
        Some(Line::Redis(connection)) => {
            let set: redis::RedisResult<()> = redis::cmd("SET")
                .arg("pulse")
                .arg(1)
                .query_async(connection)
                .await;
            set.is_ok()
        }
        Some(Line::Postgres(connection)) => sqlx::raw_sql(WRITE).execute(connection).await.is_ok(),
        Some(Line::MySql(connection)) => sqlx::raw_sql(WRITE).execute(connection).await.is_ok(),
        None => false,
    }
}

async fn connected(patient: &Patient) -> Option<Line> {
    match patient {
        Patient::Disk(_) => None,
        Patient::Redis(url) => {
            let client = redis::Client::open(url.as_str()).ok()?;
            Some(Line::Redis(
                client.get_multiplexed_async_connection().await.ok()?,
            ))
        }
        Patient::Postgres(url) => {
            let mut connection = PgConnection::connect(url).await.ok()?;
            sqlx::raw_sql(TABLE).execute(&mut connection).await.ok()?;
            Some(Line::Postgres(connection))
        }
        Patient::MySql(url) => {
            let mut connection = MySqlConnection::connect(url).await.ok()?;
            sqlx::raw_sql(TABLE).execute(&mut connection).await.ok()?;
            Some(Line::MySql(connection))
        }
    }
}

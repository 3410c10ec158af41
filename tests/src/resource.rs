//! What a lock protects: a row that accepts a write only with a token no smaller than the last one's.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use verrou::FencingToken;

/// A resource in an SQLite file that many processes write to.
#[derive(Debug)]
pub struct Resource {
    pool: SqlitePool,
}

impl Resource {
    /// Opens it, and makes it if it is not there.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn open(path: &str) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::from_str("sqlite:")?
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        let create = "CREATE TABLE IF NOT EXISTS resource (id INTEGER PRIMARY KEY, writes INTEGER, fence INTEGER)";
        sqlx::query(create).execute(&pool).await?;
        sqlx::query("INSERT OR IGNORE INTO resource VALUES (1, 0, 0)")
            .execute(&pool)
            .await?;
        Ok(Self { pool })
    }

    /// A guarded write, as the documentation shows it; whether it was accepted.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn write(&self, token: FencingToken) -> Result<bool, sqlx::Error> {
        let update =
            "UPDATE resource SET writes = writes + 1, fence = ?1 WHERE id = 1 AND fence <= ?1";
        let done = sqlx::query(update)
            .bind(token.as_i64())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

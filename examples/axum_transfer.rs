//! The bank as a web service: a lock that is busy is 409 with `Retry-After`, a store that is down is 503.
//!
//! ```text
//! cargo run -p examples --example axum_transfer -- FOLDER
//! curl -i http://127.0.0.1:PORT/transfers -H 'content-type: application/json' -d '{"from":1,"to":2,"amount":5}'
//! curl http://127.0.0.1:PORT/total
//! ```
//!
//! Start it twice with the same folder: both processes share the accounts, and the locks in an SQLite file beside them.

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use tokio::net::TcpListener;
use verrou::{Verrou, drivers::SqliteStore, locked};

const ACCOUNTS: i64 = 10;
const OPENING_BALANCE: i64 = 1_000;

#[derive(Deserialize)]
struct Transfer {
    from: i64,
    to: i64,
    amount: i64,
}

#[derive(Serialize)]
struct Done {
    left: i64,
}

/// Both accounts are locked before the body begins. A request waits for two seconds, then its client is asked to come back.
#[locked("account:<order.from>", "account:<order.to>", wait = "2s")]
async fn transfer(bank: &Bank, order: &Transfer) -> Result<Done, BankError> {
    let (giver, taker) = (bank.read(order.from).await?, bank.read(order.to).await?);
    if giver < order.amount {
        return Err(BankError::TooLittle(giver));
    }
    // Between reading and writing anything may happen: here is where money got lost without the lock.
    tokio::task::yield_now().await;
    bank.write(order.from, giver - order.amount).await?;
    bank.write(order.to, taker + order.amount).await?;
    Ok(Done {
        left: giver - order.amount,
    })
}

async fn post_transfer(
    State(bank): State<Arc<Bank>>,
    Json(order): Json<Transfer>,
) -> Result<Json<Done>, BankError> {
    if order.from == order.to || order.amount <= 0 {
        return Err(BankError::Nonsense);
    }
    transfer(&bank, &order).await.map(Json)
}

async fn get_total(State(bank): State<Arc<Bank>>) -> Result<String, BankError> {
    Ok(bank.total().await?.to_string())
}

enum BankError {
    Lock(verrou::Error),
    Database(sqlx::Error),
    TooLittle(i64),
    Nonsense,
}

impl IntoResponse for BankError {
    fn into_response(self) -> Response {
        match self {
            // Somebody else has one of the accounts: nothing was done, and the same request may be sent again.
            Self::Lock(error) if error.is_busy() => {
                let retry = [(header::RETRY_AFTER, "1")];
                (StatusCode::CONFLICT, retry, error.to_string()).into_response()
            }
            // The store of the locks did not answer, or the lock was lost on the way. `is_store`, `is_lost`.
            Self::Lock(error) => {
                (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response()
            }
            Self::Database(error) => {
                println!("the bank's file failed: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
            Self::TooLittle(left) => {
                let text = format!("there are only {left} on the account");
                (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
            }
            Self::Nonsense => {
                let text = "two accounts, and an amount above zero";
                (StatusCode::UNPROCESSABLE_ENTITY, text).into_response()
            }
        }
    }
}

impl From<verrou::Error> for BankError {
    fn from(error: verrou::Error) -> Self {
        Self::Lock(error)
    }
}

impl From<sqlx::Error> for BankError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Accounts in an SQLite file. No transactions: the locks are what keeps the coins.
struct Bank(SqlitePool);

impl Bank {
    async fn open(folder: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(folder.join("accounts.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(Duration::from_secs(20));
        let accounts = SqlitePoolOptions::new().connect_with(options).await?;
        let create =
            "CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)";
        sqlx::query(create).execute(&accounts).await?;
        for id in 0..ACCOUNTS {
            let open = "INSERT OR IGNORE INTO account (id, balance) VALUES (?, ?)";
            let open = sqlx::query(open).bind(id).bind(OPENING_BALANCE);
            open.execute(&accounts).await?;
        }
        Ok(Self(accounts))
    }

    async fn read(&self, id: i64) -> Result<i64, sqlx::Error> {
        let select = sqlx::query_scalar("SELECT balance FROM account WHERE id = ?");
        select.bind(id).fetch_one(&self.0).await
    }

    async fn write(&self, id: i64, balance: i64) -> Result<(), sqlx::Error> {
        let update = sqlx::query("UPDATE account SET balance = ? WHERE id = ?");
        update.bind(balance).bind(id).execute(&self.0).await?;
        Ok(())
    }

    async fn total(&self) -> Result<i64, sqlx::Error> {
        let select = sqlx::query_scalar("SELECT SUM(balance) FROM account");
        select.fetch_one(&self.0).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("give a folder")?;
    let folder = Path::new(&folder);
    let locks = format!("sqlite:{}", folder.join("locks.db").display());
    let verrou = Verrou::builder()
        .store("locks", SqliteStore::connect(&locks).await?)
        .build()?;
    verrou::init(verrou)?;
    let bank = Arc::new(Bank::open(folder).await?);
    let routes = Router::new()
        .route("/transfers", post(post_transfer))
        .route("/total", get(get_total))
        .with_state(bank);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

//! How many statements a server was sent, as the server itself tells.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, Row as _};
use tests::matrix::Stand;

use crate::must::must;

/// Counts from its start to its end.
#[derive(Debug)]
pub(crate) enum Counted {
    /// What MONITOR shows of clients; the counters of INFO take in what scripts call.
    Redis(TcpStream, JoinHandle<u64>),
    /// The statement log, from here on; the statistics of a session come late.
    Postgres {
        log: PathBuf,
        from: u64,
        url: String,
    },
    /// `Questions`, asked for over a connection of its own.
    MariaDb(Box<MySqlConnection>, u64),
}

impl Counted {
    /// `None` where there is no server to ask.
    pub(crate) async fn start(stand: &Stand) -> Option<Self> {
        match stand {
            Stand::Memory | Stand::Sqlite(..) => None,
            Stand::Redis(server) => Some(monitor(server.port())),
            Stand::Postgres(server) => {
                let url = server.url();
                log_statements(&url, true).await;
                let from = std::fs::metadata(server.log()).map_or(0, |log| log.len());
                let log = server.log();
                Some(Self::Postgres { log, from, url })
            }
            Stand::MariaDb(server) => {
                let url = server.url("verrou");
                let mut connection = must(MySqlConnection::connect(&url).await, "mariadb");
                let before = questions(&mut connection).await;
                Some(Self::MariaDb(Box::new(connection), before))
            }
        }
    }

    /// The statements that clients have sent since the start.
    pub(crate) async fn end(self) -> u64 {
        match self {
            Self::Redis(socket, counting) => {
                // Its last lines are on their way.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = socket.shutdown(Shutdown::Both);
                counting.join().unwrap_or(0)
            }
            Self::Postgres { log, from, url } => {
                let text = must(std::fs::read(&log), "the log of postgres");
                log_statements(&url, false).await;
                let new = text.get(usize::try_from(from).unwrap_or(0)..);
                let new = String::from_utf8_lossy(new.unwrap_or_default());
                let sent = new.lines().filter(|line| {
                    line.contains("|LOG:  execute ") || line.contains("|LOG:  statement: ")
                });
                sent.count() as u64
            }
            // The second question counts itself.
            Self::MariaDb(mut connection, before) => {
                let asked = questions(&mut connection).await;
                must(connection.close().await, "mariadb");
                asked.saturating_sub(before + 1)
            }
        }
    }
}

fn monitor(port: u16) -> Counted {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let mut socket = must(socket, "MONITOR");
    must(socket.write_all(b"MONITOR\r\n"), "MONITOR");
    let mut lines = BufReader::new(must(socket.try_clone(), "MONITOR"));
    // `+OK`: from here on it tells.
    must(lines.read_line(&mut String::new()), "MONITOR");
    let counting = std::thread::spawn(move || {
        let told = lines.lines().map_while(Result::ok);
        told.filter(|line| !line.contains(" lua] ")).count() as u64
    });
    Counted::Redis(socket, counting)
}

/// For sessions that are there already as well, which hear of it with their next statement.
async fn log_statements(url: &str, on: bool) {
    let mut connection = must(PgConnection::connect(url).await, "postgres");
    let what = if on { "all" } else { "none" };
    let change = AssertSqlSafe(format!("ALTER SYSTEM SET log_statement = '{what}'"));
    must(
        sqlx::raw_sql(change).execute(&mut connection).await,
        "ALTER SYSTEM",
    );
    let reload = sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut connection);
    must(reload.await, "pg_reload_conf");
    let shown = || sqlx::query_scalar::<_, String>("SHOW log_statement");
    while must(shown().fetch_one(&mut connection).await, "SHOW") != what {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    must(connection.close().await, "postgres");
    // The other sessions get the same signal, later if they are busy.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn questions(connection: &mut MySqlConnection) -> u64 {
    let ask = sqlx::raw_sql("SHOW GLOBAL STATUS LIKE 'Questions'");
    let row = must(ask.fetch_one(connection).await, "SHOW STATUS");
    let value: String = must(row.try_get(1), "Questions");
    must(value.parse(), "Questions")
}

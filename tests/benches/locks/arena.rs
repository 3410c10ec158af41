//! Where it happens: a driver's private server, as durable as an installation that nobody has tuned.

use tests::matrix::Stand;
use tests::{Driver, servers};
use tokio::runtime::{Builder, Runtime};

use sqlx::{MySqlConnection, PgConnection, SqliteConnection};

use crate::floors::sql::fill;
use crate::must::must;

/// A driver with its server.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) driver: Driver,
    pub(crate) stand: Stand,
    pub(crate) url: String,
}

impl Arena {
    /// Starts it; `None` if the environment says that it is to be left out.
    pub(crate) async fn start(driver: Driver) -> Option<Self> {
        if servers::is_skipped(driver.name()) {
            return None;
        }
        let stand = Stand::untuned(driver).await;
        let url = stand.url();
        match driver {
            Driver::Memory | Driver::Redis => {}
            Driver::Sqlite => fill::<SqliteConnection>(&url).await,
            Driver::Postgres => fill::<PgConnection>(&url).await,
            Driver::MySql => fill::<MySqlConnection>(&url).await,
        }
        Some(Self { driver, stand, url })
    }
}

/// The runtime of a small service.
pub(crate) fn two_threads() -> Runtime {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    must(runtime, "no runtime")
}

/// The runtime of one core.
pub(crate) fn one_thread() -> Runtime {
    must(
        Builder::new_current_thread().enable_all().build(),
        "no runtime",
    )
}

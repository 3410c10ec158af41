//! Who takes part, for each driver.

use std::sync::Arc;

use sqlx::{MySqlConnection, PgConnection, SqliteConnection};
use tests::Driver;

use crate::contender::{Entrant, Entry, Role};
use crate::floors::memory::Map;
use crate::floors::redis::{Pings, SetNx, connection};
use crate::floors::sql::{Bare, Twice, Work};
use crate::floors::{COMMITS, MAP, ONE_COMMITTER, PINGS, SELECTS, SET_NX};
use crate::ours::{OURS, Ours};
use crate::peers;

/// As many connections as the bare commits of many tasks go through; more than the drivers have, which is harder for us.
const MANY: usize = 16;

pub(crate) type Field = Vec<Arc<dyn Entrant>>;

/// verrou itself.
pub(crate) async fn ours(driver: Driver, url: &str) -> Arc<dyn Entrant> {
    Entry::shared(OURS, Role::Ours, Ours::on(driver, url).await)
}

/// What one task cannot be faster than.
pub(crate) async fn floors(driver: Driver, url: &str) -> Field {
    match driver {
        Driver::Memory => vec![Entry::shared(MAP, Role::Floor, Map::default())],
        Driver::Redis => {
            let connection = connection(url).await;
            vec![
                Entry::shared(PINGS, Role::Floor, Pings(connection.clone())),
                Entry::shared(SET_NX, Role::Floor, SetNx::on(connection)),
            ]
        }
        Driver::Postgres => of_sql::<PgConnection>(url, 1).await,
        Driver::MySql => of_sql::<MySqlConnection>(url, 1).await,
        Driver::Sqlite => of_sql::<SqliteConnection>(url, 1).await,
    }
}

/// What many tasks together cannot be faster than.
pub(crate) async fn floors_of_many(driver: Driver, url: &str) -> Field {
    match driver {
        Driver::Memory | Driver::Redis => floors(driver, url).await,
        Driver::Postgres => of_sql::<PgConnection>(url, MANY).await,
        Driver::MySql => of_sql::<MySqlConnection>(url, MANY).await,
        Driver::Sqlite => {
            let mut field = of_sql::<SqliteConnection>(url, MANY).await;
            // The file has one writer at a time: sixteen are in each other's way.
            let one = Twice::<SqliteConnection>::on(url, 1, Work::Commit).await;
            field.push(Entry::shared(ONE_COMMITTER, Role::Floor, one));
            field
        }
    }
}

async fn of_sql<C: Bare>(url: &str, connections: usize) -> Field {
    let selects = Twice::<C>::on(url, connections, Work::Select).await;
    let commits = Twice::<C>::on(url, connections, Work::Commit).await;
    vec![
        Entry::shared(SELECTS, Role::Floor, selects),
        Entry::shared(COMMITS, Role::Floor, commits),
    ]
}

/// Who else does the job.
pub(crate) async fn peers(driver: Driver, url: &str, all: bool) -> Field {
    let mut field = peers::always(driver);
    if all {
        field.extend(peers::crates(driver, url).await);
    }
    field
}

/// The lock of that name, for another process.
pub(crate) async fn by_name(driver: Driver, url: &str, name: &str) -> Arc<dyn Entrant> {
    if name == OURS {
        return ours(driver, url).await;
    }
    let peers = peers(driver, url, true).await;
    match peers.into_iter().find(|peer| peer.name() == name) {
        Some(peer) => peer,
        None => panic!("no lock is called {name}"),
    }
}

//! What else does the same job.

#[cfg(feature = "peers")]
mod distributed_lock;
#[cfg(feature = "peers")]
mod lockable;
#[cfg(feature = "peers")]
mod rslock;
pub(crate) mod scripts;
mod tidy_dashmap;

use tests::Driver;

use crate::contender::{Entry, Role};
use crate::field::Field;

use self::tidy_dashmap::TidyDashmap;

pub(crate) const TIDY_DASHMAP: &str = "dashmap + tokio Mutex with clean-up";

/// The one that the targets of the memory driver are about.
pub(crate) fn always(driver: Driver) -> Field {
    if driver == Driver::Memory {
        vec![Entry::shared(
            TIDY_DASHMAP,
            Role::Peer,
            TidyDashmap::default(),
        )]
    } else {
        Field::new()
    }
}

/// Other crates.
#[cfg(feature = "peers")]
pub(crate) async fn crates(driver: Driver, url: &str) -> Field {
    match driver {
        Driver::Memory => vec![Entry::shared("lockable", Role::Peer, lockable::Pool::new())],
        Driver::Redis => {
            let distributed = distributed_lock::DistributedLock::on(url).await;
            vec![
                Entry::shared("rslock", Role::Peer, rslock::Rslock::on(url)),
                Entry::shared("distributed-lock", Role::Peer, distributed),
            ]
        }
        Driver::Sqlite | Driver::Postgres | Driver::MySql => Field::new(),
    }
}

/// None of them was built in.
#[cfg(not(feature = "peers"))]
pub(crate) async fn crates(_: Driver, _: &str) -> Field {
    Field::new()
}

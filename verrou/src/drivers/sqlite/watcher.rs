//! Tells waiters of the commits of other processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;

use super::connections::{Checkout, Connections, is_busy};
use super::doorbell::{Doorbell, Look};
use super::statements::{KEYS, Now, Statements};
use crate::drivers::sql::{Duty, Lookout};

/// The pause after the file could not be opened or read.
const RETRY: Duration = Duration::from_millis(100);

/// The file that is looked at, and how.
pub(super) struct Watched {
    pub(super) connections: Connections,
    pub(super) statements: Arc<Statements>,
    pub(super) boot: Arc<str>,
    pub(super) file: PathBuf,
}

impl Watched {
    /// Looks at it while somebody waits.
    pub(super) fn watcher(self) -> Lookout {
        Lookout::new("verrou-sqlite-watch", move |duty| self.listen(duty))
    }

    fn listen(&self, duty: &Duty) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        // Without a runtime there are no hints, and waiters poll.
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                let sibling = self.connections.sibling();
                while duty.is_wanted().await {
                    // What happened before the connection was up is made up for by its first look.
                    match self.rounds(duty, &sibling).await {
                        Ok(()) => break,
                        Err(_) => tokio::time::sleep(RETRY).await,
                    }
                }
                sibling.close().await;
            });
        }
    }

    /// Looks for changes until nobody watches.
    async fn rounds(&self, duty: &Duty, connections: &Connections) -> Result<(), sqlx::Error> {
        let mut connection = connections.reader().await?;
        let mut seen = version(&mut connection).await?;
        let mut doorbell = Doorbell::new(&self.file);
        let mut first = true;
        while duty.is_wanted().await {
            let version = version(&mut connection).await?;
            let mut look = Look::Nothing;
            // The version is read before the keys: a commit after it is found in the next round.
            if version.is_some() && (first || seen != version) {
                match self.tell(duty, &mut connection).await {
                    Ok(found) => {
                        look = found;
                        seen = version;
                        first = false;
                    }
                    Err(error) if is_busy(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            doorbell.wait(look).await;
        }
        Ok(())
    }

    /// Hints the waiters of keys that are free.
    async fn tell(&self, duty: &Duty, connection: &mut Checkout) -> Result<Look, sqlx::Error> {
        let mut look = Look::Commit;
        for keys in duty.keys().chunks(KEYS) {
            let query = self.statements.held(keys, &self.boot, Now::read());
            let held = connection.run(query).await?.rows;
            let held = held
                .iter()
                .map(|row| row.try_get(0))
                .collect::<Result<Vec<Vec<u8>>, _>>()?;
            for key in keys {
                if !held.iter().any(|held| held == key.as_bytes()) {
                    duty.hint(key);
                    look = Look::Hint;
                }
            }
        }
        Ok(look)
    }
}

/// A number that changes with every commit of another connection; `None` while the file is locked.
async fn version(connection: &mut Checkout) -> Result<Option<i64>, sqlx::Error> {
    match connection.run(sqlx::query("PRAGMA data_version")).await {
        Ok(answer) => answer.rows.first().map(|row| row.try_get(0)).transpose(),
        Err(error) if is_busy(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

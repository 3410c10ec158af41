//! Looks whether watched keys are free, since the engine cannot tell.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;

use super::connections::{Checkout, Connections};
use super::statements::{LOOKS, Statements};
use crate::clock::{Moment, sleep_until, until};
use crate::drivers::sql::{Duty, Lookout};
use crate::store::StoredKey;

/// The pause between the first looks after a change; each is longer than the last.
const SHORTEST: Duration = Duration::from_millis(2);

/// The longest pause between two looks: what a release costs its waiter at most, and how much the server has to do for it.
const LONGEST: Duration = Duration::from_millis(10);

/// The pause after the server could not be reached.
const RETRY: Duration = Duration::from_millis(200);

/// A look that takes longer is one at a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks out over a connection like those of `connections`.
pub(super) fn watcher(connections: &Connections, statements: &Arc<Statements>) -> Lookout {
    let (connections, statements) = (connections.clone(), statements.clone());
    Lookout::new("verrou-mysql-watch", move |duty| {
        look_out(duty, &statements, &connections)
    })
}

fn look_out(duty: &Duty, statements: &Statements, connections: &Connections) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a runtime there are no hints, and waiters poll.
    if let Ok(runtime) = runtime {
        runtime.block_on(async {
            let sibling = connections.sibling();
            while duty.is_wanted().await {
                let mut looks = pin!(rounds(duty, statements, &sibling));
                match looks.as_mut().await {
                    Ok(()) => break,
                    Err(Unreachable) => sleep_until(Moment::now().after(RETRY)).await,
                }
            }
            sibling.close().await;
        });
    }
}

/// The server gave no answer. Waiters poll, and hear from it what is wrong.
struct Unreachable;

/// Looks until nobody watches: often after something has changed, and less and less so while nothing does.
async fn rounds(
    duty: &Duty,
    statements: &Statements,
    connections: &Connections,
) -> Result<(), Unreachable> {
    let mut pause = SHORTEST;
    while duty.is_wanted().await {
        let hinted = {
            let mut look = pin!(look(duty, statements, connections));
            let limit = Moment::now().after(PATIENCE);
            until(limit, &mut look).await.unwrap_or(Err(Unreachable))?
        };
        if hinted {
            pause = SHORTEST;
        }
        let mut changed = pin!(duty.changed());
        if until(Moment::now().after(pause), &mut changed)
            .await
            .is_ok()
        {
            // Somebody new: their key may be free soon.
            sleep_until(Moment::now().after(SHORTEST)).await;
            pause = SHORTEST;
        } else {
            pause = (pause * 6 / 5).min(LONGEST);
        }
    }
    Ok(())
}

/// Hints the waiters of keys that are free; whether there were any.
async fn look(
    duty: &Duty,
    statements: &Statements,
    connections: &Connections,
) -> Result<bool, Unreachable> {
    let mut connection = connections.checkout().await.map_err(|_| Unreachable)?;
    let mut hinted = false;
    for keys in duty.keys().chunks(LOOKS) {
        let held = held(statements, &mut connection, keys).await?;
        for key in keys {
            if !held.iter().any(|held| held == key.as_bytes()) {
                duty.hint(key);
                hinted = true;
            }
        }
    }
    Ok(hinted)
}

async fn held(
    statements: &Statements,
    connection: &mut Checkout,
    keys: &[StoredKey],
) -> Result<Vec<Vec<u8>>, Unreachable> {
    let answer = connection.settle(|| statements.held(keys)).await;
    let rows = answer.map_err(|_| Unreachable)?.rows;
    rows.iter()
        .map(|row| row.try_get(0).map_err(|_| Unreachable))
        .collect()
}

//! Looks whether watched keys are free, since the engine cannot tell.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Row as _;

use super::connections::{Checkout, Connections};
use super::statements::{LOOKS, Statements};
use crate::clock::{Moment, sleep_until, until};
use crate::drivers::sql::{self, Duty, Lookout};
use crate::store::StoredKey;

/// The pause before the next look at a key is this part of the time that it is held already: so much longer a release takes to be
/// seen, at most, and half of it on the average.
const PART: u32 = 20;

/// The shortest pause: before the first look, and while a key changes hands.
const SHORTEST: Duration = Duration::from_millis(2);

/// The longest pause.
const LONGEST: Duration = Duration::from_millis(500);

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

/// Looks until nobody watches: at each key the less often the longer it is held.
async fn rounds(
    duty: &Duty,
    statements: &Statements,
    connections: &Connections,
) -> Result<(), Unreachable> {
    let mut looks: HashMap<StoredKey, Next> = HashMap::new();
    while duty.is_wanted().await {
        let now = Moment::now();
        let keys = duty.keys().into_iter();
        looks = keys
            .map(|key| {
                // A new one may be free soon.
                let next = looks.remove(&key).unwrap_or(Next::after(SHORTEST));
                (key, next)
            })
            .collect();
        let first = looks.values().map(|next| next.at).min();
        let first = first.unwrap_or(Moment::NEVER);
        if first > now {
            let mut changed = pin!(duty.changed());
            let _ = until(first, &mut changed).await;
            continue;
        }
        // Those that are nearly due come along, so that many keys are few statements.
        let due: Vec<_> = looks
            .iter()
            .filter(|(_, next)| next.at <= now.after(next.pause / 4))
            .map(|(key, _)| key.clone())
            .collect();
        let mut look = pin!(look(duty, statements, connections, due));
        let limit = Moment::now().after(PATIENCE);
        looks.extend(until(limit, &mut look).await.unwrap_or(Err(Unreachable))?);
    }
    Ok(())
}

/// When a key is looked at next.
struct Next {
    at: Moment,
    pause: Duration,
}

impl Next {
    fn after(pause: Duration) -> Self {
        Self {
            at: Moment::now().after(pause),
            pause,
        }
    }
}

/// Looks at these keys, and hints the waiters of those that are free.
async fn look(
    duty: &Duty,
    statements: &Statements,
    connections: &Connections,
    keys: Vec<StoredKey>,
) -> Result<Vec<(StoredKey, Next)>, Unreachable> {
    let mut connection = connections.checkout().await.map_err(|_| Unreachable)?;
    let mut looks = Vec::with_capacity(keys.len());
    for keys in keys.chunks(LOOKS) {
        let held = held(statements, &mut connection, keys).await?;
        for key in keys {
            let pause = match held.get(key.as_bytes()) {
                Some(held_for) => (*held_for / PART).clamp(SHORTEST, LONGEST),
                None => {
                    duty.hint(key);
                    SHORTEST
                }
            };
            looks.push((key.clone(), Next::after(pause)));
        }
    }
    Ok(looks)
}

/// Those of `keys` that are held, and for how long already.
async fn held(
    statements: &Statements,
    connection: &mut Checkout,
    keys: &[StoredKey],
) -> Result<HashMap<Vec<u8>, Duration>, Unreachable> {
    let answer = connection.settle(|| statements.held(keys)).await;
    let rows = answer.map_err(|_| Unreachable)?.rows;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, sql::between(0, row.try_get(1)?))))
        .collect::<Result<_, sqlx::Error>>()
        .map_err(|_| Unreachable)
}

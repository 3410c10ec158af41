//! Looks whether watched keys are free, since the engine cannot tell: one thread for a store, alive only while somebody waits.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::{Notify, watch};

use super::connections::{Checkout, Connections};
use super::statements::{LOOKS, Statements};
use crate::clock::{Moment, sleep_until, until};
use crate::store::{StoredKey, Watch};

/// The pause between the first looks after a change; each is longer than the last.
const SHORTEST: Duration = Duration::from_millis(2);

/// The longest pause between two looks: what a release costs its waiter at most, and how much the server has to do for it.
const LONGEST: Duration = Duration::from_millis(10);

/// How long the thread and its connection outlive the last waiter.
const LINGER: Duration = Duration::from_millis(500);

/// The pause after the server could not be reached.
const RETRY: Duration = Duration::from_millis(200);

/// A look that takes longer is one at a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The watcher of a store; ends when it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    connections: Connections,
}

struct Shared {
    statements: Arc<Statements>,
    /// `Notify` keeps a wake-up that comes before the thread waits for it.
    changed: Notify,
    watched: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    keys: HashMap<StoredKey, watch::Sender<u64>>,
    closed: bool,
    /// The thread that looks out, by its number; one that has made up its mind to end is none any more.
    lookout: Option<u64>,
    started: u64,
    /// How many threads have not ended yet.
    threads: watch::Sender<usize>,
}

impl Watcher {
    pub(super) fn new(connections: &Connections, statements: &Arc<Statements>) -> Self {
        Self {
            shared: Arc::new(Shared {
                statements: statements.clone(),
                changed: Notify::new(),
                watched: AtomicUsize::new(0),
                state: Mutex::new(State {
                    keys: HashMap::new(),
                    closed: false,
                    lookout: None,
                    started: 0,
                    threads: watch::Sender::new(0),
                }),
            }),
            connections: connections.clone(),
        }
    }

    /// Subscribes to a key, and starts the thread if it does not run.
    pub(super) fn watch(&self, key: &StoredKey) -> Watch {
        let mut state = self.shared.state();
        if state.closed {
            return Watch::none();
        }
        if state.lookout.is_none() && self.start(&mut state).is_err() {
            // No room for a thread: the waiter polls.
            return Watch::none();
        }
        let hints = match state.keys.get(key) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(0);
                state.keys.insert(key.clone(), sender);
                receiver
            }
        };
        self.shared.count(&state);
        drop(state);
        self.shared.changed.notify_one();
        Watch::new(
            hints,
            Subscription {
                shared: self.shared.clone(),
                key: key.clone(),
            },
        )
    }

    fn start(&self, state: &mut State) -> std::io::Result<()> {
        let number = state.started.wrapping_add(1);
        let shared = self.shared.clone();
        let connections = self.connections.clone();
        std::thread::Builder::new()
            .name("verrou-mysql-watch".to_owned())
            .spawn(move || {
                let end = End { shared, number };
                look_out(&end, &connections);
            })?;
        // The thread looks at the state only after we have let go of it.
        state.started = number;
        state.lookout = Some(number);
        state.threads.send_modify(|threads| *threads += 1);
        Ok(())
    }

    /// Tells the waiters of this process at once. Nearly free if there are none.
    pub(super) fn released(&self, key: &StoredKey) {
        if self.shared.watched.load(Ordering::Acquire) > 0 {
            self.shared.state().hint(key);
        }
    }

    /// Ends the thread and waits until its connection is closed.
    pub(super) async fn close(&self) {
        let mut threads = self.shared.close();
        // It cannot fail: the sender lives as long as we do.
        let _ = threads.wait_for(|threads| *threads == 0).await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State) {
        self.watched.store(state.keys.len(), Ordering::Release);
    }

    fn close(&self) -> watch::Receiver<usize> {
        let mut state = self.state();
        state.closed = true;
        // The waiters hear no more, and poll.
        state.keys.clear();
        self.count(&state);
        let threads = state.threads.subscribe();
        drop(state);
        self.changed.notify_one();
        threads
    }

    fn keys(&self) -> Vec<StoredKey> {
        self.state().keys.keys().cloned().collect()
    }
}

impl State {
    fn hint(&self, key: &StoredKey) {
        if let Some(waiters) = self.keys.get(key) {
            waiters.send_modify(|hint| *hint = hint.wrapping_add(1));
        }
    }

    fn retire(&mut self, number: u64) {
        if self.lookout == Some(number) {
            self.lookout = None;
        }
    }
}

/// Ends the subscription of one waiter; the last one takes the entry away.
struct Subscription {
    shared: Arc<Shared>,
    key: StoredKey,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        // A watch drops its receiver before its subscription, so the last one finds none left.
        if state
            .keys
            .get(&self.key)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            state.keys.remove(&self.key);
            self.shared.count(&state);
        }
    }
}

/// A running thread; however it ends, the next waiter starts another.
struct End {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.retire(self.number);
        state
            .threads
            .send_modify(|threads| *threads = threads.saturating_sub(1));
    }
}

impl End {
    /// Waits for somebody to watch; false if nobody does for some time, and the thread is to end.
    async fn is_wanted(&self) -> bool {
        let linger = Moment::now().after(LINGER);
        loop {
            {
                let state = self.shared.state();
                if state.closed {
                    return false;
                }
                if !state.keys.is_empty() {
                    return true;
                }
            }
            let mut changed = pin!(self.shared.changed.notified());
            if until(linger, &mut changed).await.is_err() {
                let mut state = self.shared.state();
                if state.keys.is_empty() {
                    // Under the lock: who comes later finds no thread, and starts one.
                    state.retire(self.number);
                    return false;
                }
            }
        }
    }
}

fn look_out(me: &End, connections: &Connections) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a runtime there are no hints, and waiters poll.
    if let Ok(runtime) = runtime {
        runtime.block_on(async {
            let sibling = connections.sibling();
            while me.is_wanted().await {
                let mut looks = pin!(rounds(me, &sibling));
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
async fn rounds(me: &End, connections: &Connections) -> Result<(), Unreachable> {
    let mut pause = SHORTEST;
    while me.is_wanted().await {
        let hinted = {
            let mut look = pin!(look(&me.shared, connections));
            let limit = Moment::now().after(PATIENCE);
            until(limit, &mut look).await.unwrap_or(Err(Unreachable))?
        };
        if hinted {
            pause = SHORTEST;
        }
        let mut changed = pin!(me.shared.changed.notified());
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
async fn look(shared: &Shared, connections: &Connections) -> Result<bool, Unreachable> {
    let mut connection = connections.checkout().await.map_err(|_| Unreachable)?;
    let mut hinted = false;
    for keys in shared.keys().chunks(LOOKS) {
        let held = held(shared, &mut connection, keys).await?;
        let state = shared.state();
        for key in keys {
            if !held.iter().any(|held| held == key.as_bytes()) {
                state.hint(key);
                hinted = true;
            }
        }
    }
    Ok(hinted)
}

async fn held(
    shared: &Shared,
    connection: &mut Checkout,
    keys: &[StoredKey],
) -> Result<Vec<Vec<u8>>, Unreachable> {
    let answer = connection.settle(|| shared.statements.held(keys)).await;
    let rows = answer.map_err(|_| Unreachable)?.rows;
    rows.iter()
        .map(|row| row.try_get(0).map_err(|_| Unreachable))
        .collect()
}

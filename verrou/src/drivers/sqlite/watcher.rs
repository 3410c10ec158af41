//! Tells waiters of the commits of other processes: one thread for a store, alive only while somebody waits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::{Notify, watch};

use super::connections::{Checkout, Connections, is_busy};
use super::doorbell::{Doorbell, Look};
use super::statements::{KEYS, Now, Statements};
use crate::store::{StoredKey, Watch};

/// How long the thread and its connection outlive the last waiter.
const LINGER: Duration = Duration::from_millis(500);

/// The pause after the file could not be opened or read.
const RETRY: Duration = Duration::from_millis(100);

/// The listener of a store; ends when it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    connections: Connections,
}

struct Shared {
    statements: Arc<Statements>,
    boot: Arc<str>,
    file: PathBuf,
    /// `Notify` keeps a wake-up that comes before the thread waits for it.
    changed: Notify,
    watched: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    keys: HashMap<StoredKey, watch::Sender<u64>>,
    closed: bool,
    /// The thread that listens, by its number; one that has made up its mind to end is none any more.
    listener: Option<u64>,
    started: u64,
    /// How many threads have not ended yet.
    threads: watch::Sender<usize>,
}

impl Watcher {
    pub(super) fn new(
        connections: &Connections,
        statements: &Arc<Statements>,
        boot: &Arc<str>,
        file: PathBuf,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                statements: statements.clone(),
                boot: boot.clone(),
                file,
                changed: Notify::new(),
                watched: AtomicUsize::new(0),
                state: Mutex::new(State {
                    keys: HashMap::new(),
                    closed: false,
                    listener: None,
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
        if state.listener.is_none() && self.start(&mut state).is_err() {
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
            .name("verrou-sqlite-watch".to_owned())
            .spawn(move || {
                let end = End { shared, number };
                listen(&end, &connections);
            })?;
        // The thread looks at the state only after we have let go of it.
        state.started = number;
        state.listener = Some(number);
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

fn listen(me: &End, connections: &Connections) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    // Without a runtime there are no hints, and waiters poll.
    if let Ok(runtime) = runtime {
        runtime.block_on(async {
            let sibling = connections.sibling();
            while me.is_wanted().await {
                // What happened before the connection was up is made up for by its first look.
                match rounds(me, &sibling).await {
                    Ok(()) => break,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            }
            sibling.close().await;
        });
    }
}

impl State {
    fn retire(&mut self, number: u64) {
        if self.listener == Some(number) {
            self.listener = None;
        }
    }
}

impl End {
    /// Waits for somebody to watch; false if nobody does for some time, and the thread is to end.
    async fn is_wanted(&self) -> bool {
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
            if tokio::time::timeout(LINGER, self.shared.changed.notified())
                .await
                .is_err()
            {
                let mut state = self.shared.state();
                if state.keys.is_empty() {
                    // Under the lock: who comes later finds no listener, and starts one.
                    state.retire(self.number);
                    return false;
                }
            }
        }
    }
}

/// Looks for changes until nobody watches.
async fn rounds(me: &End, connections: &Connections) -> Result<(), sqlx::Error> {
    let mut connection = connections.checkout().await?;
    let mut seen = version(&mut connection).await?;
    let mut doorbell = Doorbell::new(&me.shared.file);
    let mut first = true;
    while me.is_wanted().await {
        let version = version(&mut connection).await?;
        let mut look = Look::Nothing;
        // The version is read before the keys: a commit after it is found in the next round.
        if version.is_some() && (first || seen != version) {
            match tell(&me.shared, &mut connection).await {
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

/// A number that changes with every commit of another connection; `None` while the file is locked.
async fn version(connection: &mut Checkout) -> Result<Option<i64>, sqlx::Error> {
    match connection.run(sqlx::query("PRAGMA data_version")).await {
        Ok(answer) => answer.rows.first().map(|row| row.try_get(0)).transpose(),
        Err(error) if is_busy(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hints the waiters of keys that are free.
async fn tell(shared: &Shared, connection: &mut Checkout) -> Result<Look, sqlx::Error> {
    let mut look = Look::Commit;
    for keys in shared.keys().chunks(KEYS) {
        let query = shared.statements.held(keys, &shared.boot, Now::read());
        let held = connection.run(query).await?.rows;
        let held = held
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<Vec<Vec<u8>>, _>>()?;
        let state = shared.state();
        for key in keys {
            if !held.iter().any(|held| held == key.as_bytes()) {
                state.hint(key);
                look = Look::Hint;
            }
        }
    }
    Ok(look)
}

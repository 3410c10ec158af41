//! Tells waiters of releases: one thread and one LISTEN for a store, alive only while somebody waits.
//!
//! Decision 7 has the protocol: a waiter marks the row, a release notifies only a marked one and takes the mark away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::Row as _;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::connections::{self, Connections, Protocol};
use super::failure::is_transient;
use super::statements::{MARKS, Statements, unhex};
use crate::drivers::sql::micros;
use crate::store::{StoredKey, Watch};

/// How long the thread and its connection outlive the last waiter.
const LINGER: Duration = Duration::from_secs(5);

/// How long a mark stands for a waiter, if nobody takes it away.
const MARK: Duration = Duration::from_secs(10);

/// How often the mark of who still waits is set anew; it also finds out that the connection is dead.
const REFRESH: Duration = Duration::from_secs(4);

/// How long after a notification those who still wait mark the row again: by then the one who got the key waits no more.
const REMARK: Duration = Duration::from_millis(2);

/// How long the server has for one thing before the connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the server has to hear that the connection ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// The pause after the connection was lost; it doubles up to [`SLOWEST_RETRY`].
const RETRY: Duration = Duration::from_millis(50);
const SLOWEST_RETRY: Duration = Duration::from_secs(2);

/// The listener of a store; ends when it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    connections: Connections,
    protocol: Protocol,
}

struct Shared {
    statements: Arc<Statements>,
    /// `Notify` keeps a wake-up that comes before the thread waits for it.
    changed: Notify,
    watched: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    keys: HashMap<StoredKey, Watched>,
    closed: bool,
    /// The thread that listens, by its number; one that has made up its mind to end is none any more.
    listener: Option<u64>,
    started: u64,
    /// How many threads have not ended yet.
    threads: watch::Sender<usize>,
}

struct Watched {
    hints: watch::Sender<u64>,
    /// When the row is to be marked next; `None`: at once.
    mark_at: Option<Instant>,
}

impl Watcher {
    /// Listens on a connection like those of `connections`.
    pub(super) fn new(
        connections: &Connections,
        protocol: Protocol,
        statements: &Arc<Statements>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                statements: statements.clone(),
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
            protocol,
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
        let hints = match state.keys.get_mut(key) {
            Some(watched) => {
                // The one before may have been told already what this one waits for.
                watched.mark_at = None;
                watched.hints.subscribe()
            }
            None => {
                let (hints, receiver) = watch::channel(0);
                let watched = Watched {
                    hints,
                    mark_at: None,
                };
                state.keys.insert(key.clone(), watched);
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
        let (connections, protocol) = (self.connections.clone(), self.protocol);
        std::thread::Builder::new()
            .name("verrou-pg-watch".to_owned())
            .spawn(move || {
                let end = End { shared, number };
                listen(&end, &connections, protocol);
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
}

impl State {
    fn hint(&self, key: &StoredKey) {
        if let Some(watched) = self.keys.get(key) {
            watched
                .hints
                .send_modify(|hint| *hint = hint.wrapping_add(1));
        }
    }

    fn mark_at(&mut self, key: &StoredKey, at: Instant) {
        if let Some(watched) = self.keys.get_mut(key) {
            watched.mark_at = Some(at);
        }
    }

    fn retire(&mut self, number: u64) {
        if self.listener == Some(number) {
            self.listener = None;
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
            .is_some_and(|watched| watched.hints.receiver_count() == 0)
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

fn listen(me: &End, connections: &Connections, protocol: Protocol) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // Without a runtime there are no hints, and waiters poll.
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let mut pause = RETRY;
        while me.is_wanted().await {
            // A pool for each attempt: the connection of the one before may hang in it for as long as the network does.
            let pool = connections.pool_of_one();
            // What happened before the connection was up is made up for by the first marks.
            let ended = rounds(me, &pool, protocol, &mut pause).await;
            // A server that does not answer is not waited for.
            let _ = timeout(GOODBYE, pool.close()).await;
            if ended.is_ok() {
                break;
            }
            let _ = timeout(pause, me.is_closed()).await;
            pause = (pause * 2).min(SLOWEST_RETRY);
        }
    });
    // Nor is a look-up of its name.
    runtime.shutdown_background();
}

/// What the thread is to do next.
enum Next {
    Mark(Vec<StoredKey>),
    /// Nothing before this moment.
    Wait(Instant),
    End,
}

impl End {
    /// Waits for somebody to watch; false if the store is closed first, or nobody does for some time.
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
            if timeout(LINGER, self.shared.changed.notified())
                .await
                .is_err()
                && self.retires()
            {
                return false;
            }
        }
    }

    /// Ends this thread's time if nobody watches. Under the lock: who comes later finds no listener, and starts one.
    fn retires(&self) -> bool {
        let mut state = self.shared.state();
        let idle = state.keys.is_empty();
        if idle {
            state.retire(self.number);
        }
        idle
    }

    async fn is_closed(&self) {
        while !self.shared.state().closed {
            self.shared.changed.notified().await;
        }
    }

    fn next(&self, now: Instant, idle_since: &mut Option<Instant>) -> Next {
        let state = self.shared.state();
        if state.closed {
            return Next::End;
        }
        if state.keys.is_empty() {
            drop(state);
            let until = *idle_since.get_or_insert(now) + LINGER;
            return if now >= until && self.retires() {
                Next::End
            } else {
                Next::Wait(until)
            };
        }
        *idle_since = None;
        let due: Vec<_> = state
            .keys
            .iter()
            .filter(|(_, watched)| watched.mark_at.is_none_or(|at| at <= now))
            .map(|(key, _)| key.clone())
            .take(MARKS)
            .collect();
        if !due.is_empty() {
            return Next::Mark(due);
        }
        let next = state.keys.values().filter_map(|watched| watched.mark_at);
        Next::Wait(next.min().unwrap_or(now + REFRESH))
    }
}

/// Listens until the store is closed or nobody has watched for some time.
async fn rounds(
    me: &End,
    pool: &PgPool,
    protocol: Protocol,
    pause: &mut Duration,
) -> Result<(), sqlx::Error> {
    let channel = me.shared.statements.channel();
    let mut listener = within(PgListener::connect_with(pool)).await?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    within(listener.listen(channel)).await?;
    *pause = RETRY;
    // What was marked over another connection may have been notified while there was none.
    for watched in me.shared.state().keys.values_mut() {
        watched.mark_at = None;
    }
    let mut idle_since = None;
    loop {
        match me.next(Instant::now(), &mut idle_since) {
            Next::End => return Ok(()),
            Next::Mark(keys) => mark(me, &mut listener, protocol, &keys).await?,
            Next::Wait(until) => {
                tokio::select! {
                    told = listener.try_recv() => {
                        let Some(told) = told? else {
                            return Err(sqlx::Error::WorkerCrashed);
                        };
                        let key = unhex(told.payload()).and_then(|key| StoredKey::from_bytes(&key));
                        if let Some(key) = key {
                            let mut state = me.shared.state();
                            state.hint(&key);
                            state.mark_at(&key, Instant::now() + REMARK);
                        }
                    }
                    () = me.shared.changed.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
        }
    }
}

/// Marks the rows of `keys`, and hints those that are free already.
async fn mark(
    me: &End,
    listener: &mut PgListener,
    protocol: Protocol,
    keys: &[StoredKey],
) -> Result<(), sqlx::Error> {
    // Before the statement: who subscribes meanwhile has it done once more.
    {
        let mut state = me.shared.state();
        for key in keys {
            state.mark_at(key, Instant::now() + REFRESH);
        }
    }
    let statement = me.shared.statements.mark(keys, micros(MARK));
    let connection = within(sqlx::Acquire::acquire(&mut *listener)).await?;
    let answer = loop {
        match within(connections::run(connection, &statement, protocol)).await {
            Ok(answer) => break answer,
            Err(error) if is_transient(&error) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    };
    let held = answer
        .rows
        .iter()
        .map(|row| Ok((row.try_get::<String, _>(0)?, row.try_get::<bool, _>(1)?)))
        .collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
    let state = me.shared.state();
    for key in keys {
        let key_in_hex = super::statements::hex(key.as_bytes());
        if held.get(&key_in_hex) != Some(&true) {
            state.hint(key);
        }
    }
    Ok(())
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

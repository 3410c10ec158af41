//! Tells waiters of releases: one connection for a store, alive only while somebody waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use redis::{Cmd, PushInfo, PushKind, Value};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::connections::{Connections, Listening, PATIENCE};
use super::scripts::{Names, WAITER_KNOWN, channel_of};
use crate::store::{StoreError, StoredKey, Watch};

/// How long the connection outlives the last waiter.
const LINGER: Duration = Duration::from_millis(500);

/// After how long a waiter is made known that has not tried to take the key: one that tried is known.
const UNKNOWN: Duration = Duration::from_millis(100);

/// The pause after the connection was lost or could not be made; it doubles up to [`SLOWEST`].
const RETRY: Duration = Duration::from_millis(20);
const SLOWEST: Duration = Duration::from_secs(1);

/// How often a silent connection is asked whether it is alive.
const PING: Duration = Duration::from_secs(10);

/// The listener of a store; ends when it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
}

struct Shared {
    connections: Connections,
    names: Arc<Names>,
    /// Keeps a wake-up that comes before the task waits for it.
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the name of the lock, which is what a release tells.
    locks: HashMap<Vec<u8>, Watched>,
    closed: bool,
    /// The task that listens, by its number; one that has made up its mind to end is none any more.
    listener: Option<u64>,
    started: u64,
}

struct Watched {
    hints: watch::Sender<u64>,
    channel: u32,
    /// When its waiters have to be made known to those who release.
    due: Instant,
}

impl Watcher {
    pub(super) fn new(connections: Connections, names: &Arc<Names>) -> Self {
        Self {
            shared: Arc::new(Shared {
                connections,
                names: names.clone(),
                changed: Notify::new(),
                state: Mutex::default(),
            }),
        }
    }

    /// Subscribes to a key, and starts the task if it does not run.
    pub(super) fn watch(&self, key: &StoredKey) -> Watch {
        let Ok(runtime) = Handle::try_current() else {
            return Watch::none();
        };
        let mut state = self.shared.state();
        if state.closed {
            return Watch::none();
        }
        let lock = self.shared.names.lock(key);
        let hints = match state.locks.get(&lock) {
            Some(watched) => watched.hints.subscribe(),
            None => {
                let (sender, receiver) = watch::channel(0);
                let watched = Watched {
                    hints: sender,
                    channel: channel_of(&lock),
                    due: Instant::now() + UNKNOWN,
                };
                state.locks.insert(lock.clone(), watched);
                receiver
            }
        };
        let started = state.listener.is_none().then(|| {
            let number = state.started.wrapping_add(1);
            state.started = number;
            state.listener = Some(number);
            Listener {
                shared: Arc::downgrade(&self.shared),
                number,
            }
        });
        drop(state);
        if let Some(listener) = started {
            // A runtime that shuts down drops the task at once: not under the lock.
            drop(runtime.spawn(async move { listener.listen().await }));
        }
        self.shared.changed.notify_one();
        let shared = self.shared.clone();
        Watch::new(hints, Subscription { shared, lock })
    }

    /// The waiters hear no more, and poll.
    pub(super) fn close(&self) {
        let mut state = self.shared.state();
        state.closed = true;
        let gone = std::mem::take(&mut state.locks);
        drop(state);
        drop(gone);
        self.shared.changed.notify_one();
        self.shared.connections.close();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hint(&self, which: impl Fn(&[u8], &Watched) -> bool) {
        for (lock, watched) in &self.state().locks {
            if which(lock, watched) {
                watched
                    .hints
                    .send_modify(|hint| *hint = hint.wrapping_add(1));
            }
        }
    }

    fn hint_lock(&self, lock: &[u8]) {
        if let Some(watched) = self.state().locks.get(lock) {
            watched
                .hints
                .send_modify(|hint| *hint = hint.wrapping_add(1));
        }
    }

    /// The channels of the keys that are watched.
    fn channels(&self) -> BTreeSet<u32> {
        self.state()
            .locks
            .values()
            .map(|watched| watched.channel)
            .collect()
    }

    /// The locks whose waiters are to be made known now, and when the next are.
    fn due(&self, now: Instant) -> (Vec<Vec<u8>>, Instant) {
        let mut due = Vec::new();
        let mut next = now + PING;
        for (lock, watched) in &mut self.state().locks {
            if watched.due <= now {
                watched.due = now + WAITER_KNOWN / 2;
                due.push(lock.clone());
            }
            next = next.min(watched.due);
        }
        (due, next)
    }
}

/// Ends the subscription of one waiter; the last one takes the entry away.
struct Subscription {
    shared: Arc<Shared>,
    lock: Vec<u8>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        // A watch drops its receiver before its subscription, so the last one finds none left.
        if state
            .locks
            .get(&self.lock)
            .is_some_and(|watched| watched.hints.receiver_count() == 0)
        {
            state.locks.remove(&self.lock);
        }
    }
}

/// A running task; however it ends, the next waiter starts another.
struct Listener {
    shared: Weak<Shared>,
    number: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut state = shared.state();
            if state.listener == Some(self.number) {
                state.listener = None;
            }
        }
    }
}

/// Nobody waits any more.
struct Idle;

impl Listener {
    async fn listen(&self) {
        let mut pause = RETRY;
        while let Some(shared) = self.wanted().await {
            let begun = Instant::now();
            if let Ok(Idle) = self.rounds(shared).await {
                break;
            }
            if begun.elapsed() > SLOWEST {
                pause = RETRY;
            }
            sleep(pause).await;
            pause = (pause * 2).min(SLOWEST);
        }
    }

    /// Waits for somebody to watch; `None` if nobody does for some time, and the task is to end.
    ///
    /// The watcher is held between waits only by those who watch, so that it can go.
    async fn wanted(&self) -> Option<Arc<Shared>> {
        loop {
            let shared = self.shared.upgrade()?;
            {
                let state = shared.state();
                if state.closed {
                    return None;
                }
                if !state.locks.is_empty() {
                    drop(state);
                    return Some(shared);
                }
            }
            if timeout(LINGER, shared.changed.notified()).await.is_err() {
                let mut state = shared.state();
                if state.locks.is_empty() {
                    // Under the lock: who comes later finds no listener, and starts one.
                    if state.listener == Some(self.number) {
                        state.listener = None;
                    }
                    return None;
                }
            }
        }
    }

    /// Passes on what is told, on one connection, until nobody watches.
    async fn rounds(&self, mut shared: Arc<Shared>) -> Result<Idle, StoreError> {
        let (pushes, mut pushed) = unbounded_channel();
        let mut connection = shared.connections.listen(pushes).await?;
        let mut subscribed = BTreeSet::new();
        let mut heard = Instant::now();
        loop {
            subscribe(&shared, &mut connection, &mut subscribed).await?;
            let (due, next) = shared.due(Instant::now());
            if !due.is_empty() {
                let marks = due.iter().map(|lock| shared.names.mark_waiter(lock));
                run(&mut connection, marks.collect()).await?;
            }
            match timeout(next - Instant::now(), news(&shared, &mut pushed)).await {
                Ok(News::Pushed(push)) => {
                    heard = Instant::now();
                    pass_on(&shared, push)?;
                    while let Ok(push) = pushed.try_recv() {
                        pass_on(&shared, push)?;
                    }
                }
                Ok(News::Changed) => {}
                Ok(News::Cut) => return Err(cut()),
                Err(_) if heard.elapsed() >= PING => {
                    run(&mut connection, vec![redis::cmd("PING")]).await?;
                    heard = Instant::now();
                }
                Err(_) => {}
            }
            drop(shared);
            shared = match self.wanted().await {
                Some(shared) => shared,
                None => return Ok(Idle),
            };
        }
    }
}

enum News {
    Pushed(PushInfo),
    Changed,
    Cut,
}

/// What comes first: a message, or a change of what is watched.
async fn news(shared: &Shared, pushed: &mut UnboundedReceiver<PushInfo>) -> News {
    let mut changed = std::pin::pin!(shared.changed.notified());
    std::future::poll_fn(|cx| {
        if let std::task::Poll::Ready(push) = pushed.poll_recv(cx) {
            return std::task::Poll::Ready(push.map_or(News::Cut, News::Pushed));
        }
        changed.as_mut().poll(cx).map(|()| News::Changed)
    })
    .await
}

/// Hears of every key that is watched from now on; what was released before is made up for by a hint.
async fn subscribe(
    shared: &Shared,
    connection: &mut Listening,
    subscribed: &mut BTreeSet<u32>,
) -> Result<(), StoreError> {
    for channel in shared.channels() {
        if subscribed.contains(&channel) {
            continue;
        }
        let name = shared.names.channel(channel);
        match timeout(PATIENCE, connection.subscribe(&name)).await {
            Ok(Ok(())) => subscribed.insert(channel),
            _ => return Err(cut()),
        };
        shared.hint(|_, watched| watched.channel == channel);
    }
    Ok(())
}

fn pass_on(shared: &Shared, push: PushInfo) -> Result<(), StoreError> {
    match (push.kind, push.data.into_iter().nth(1)) {
        (PushKind::Message, Some(Value::BulkString(lock))) => shared.hint_lock(&lock),
        // A cluster's connection makes itself anew; what was told meanwhile is lost.
        (PushKind::Disconnection, _) if shared.connections.is_cluster() => shared.hint(|_, _| true),
        (PushKind::Disconnection, _) => return Err(cut()),
        _ => {}
    }
    Ok(())
}

/// Sends what needs no answer, over a connection that has to be alive.
async fn run(connection: &mut Listening, commands: Vec<Cmd>) -> Result<(), StoreError> {
    match timeout(PATIENCE, connection.run(commands)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(cut()),
    }
}

fn cut() -> StoreError {
    StoreError::not_applied("the connection was cut")
}

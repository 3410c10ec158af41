//! The thread of a store that looks out for its waiters, and those who wait for what it sees. Alive only while somebody does.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::{Moment, until};
use crate::store::{StoredKey, Watch};

/// How long the thread and its connection outlive the last waiter.
const LINGER: Duration = Duration::from_millis(500);

/// The waiters of a store, and the thread that looks out for them; it ends when this is dropped.
pub(crate) struct Lookout {
    shared: Arc<Shared>,
    /// The name of the thread.
    name: &'static str,
    /// What the thread does.
    look_out: Arc<dyn Fn(&Duty) + Send + Sync>,
}

/// What the thread is told by, and tells.
pub(crate) struct Duty {
    shared: Arc<Shared>,
    /// However the thread ends, the next waiter starts another.
    number: u64,
}

struct Shared {
    /// `Notify` keeps a wake-up that comes before the thread waits for it.
    changed: Notify,
    watched: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    keys: HashMap<StoredKey, watch::Sender<u64>>,
    closed: bool,
    /// The thread that looks out, by its number; one that has made up its mind to end is none any more.
    on_duty: Option<u64>,
    started: u64,
    /// How many threads have not ended yet.
    threads: watch::Sender<usize>,
}

impl Lookout {
    /// `look_out` runs on a thread of this name for as long as its [`Duty`] is wanted.
    pub(crate) fn new(
        name: &'static str,
        look_out: impl Fn(&Duty) + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            keys: HashMap::new(),
            closed: false,
            on_duty: None,
            started: 0,
            threads: watch::Sender::new(0),
        };
        let shared = Shared {
            changed: Notify::new(),
            watched: AtomicUsize::new(0),
            state: Mutex::new(state),
        };
        Self {
            shared: Arc::new(shared),
            name,
            look_out: Arc::new(look_out),
        }
    }

    /// Subscribes to a key, and starts the thread if it does not run.
    pub(crate) fn watch(&self, key: &StoredKey) -> Watch {
        let mut state = self.shared.state();
        if state.closed {
            return Watch::none();
        }
        if state.on_duty.is_none() && self.start(&mut state).is_err() {
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
        let (shared, look_out) = (self.shared.clone(), self.look_out.clone());
        std::thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || {
                let duty = Duty { shared, number };
                look_out(&duty);
            })?;
        // The thread looks at the state only after we have let go of it.
        state.started = number;
        state.on_duty = Some(number);
        state.threads.send_modify(|threads| *threads += 1);
        Ok(())
    }

    /// Tells the waiters of this process at once. Nearly free if there are none.
    pub(crate) fn released(&self, key: &StoredKey) {
        if self.shared.watched.load(Ordering::Acquire) > 0 {
            self.shared.hint(key);
        }
    }

    /// Ends the thread and waits until its connection is closed.
    pub(crate) async fn close(&self) {
        let mut threads = self.shared.close();
        // It cannot fail: the sender lives as long as we do.
        let _ = threads.wait_for(|threads| *threads == 0).await;
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Duty {
    /// Waits for somebody to watch; false if nobody does for some time, and the thread is to end.
    pub(crate) async fn is_wanted(&self) -> bool {
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

    /// Waits until somebody new watches, or the store is closed.
    #[cfg(feature = "mysql")]
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The keys that are watched.
    pub(crate) fn keys(&self) -> Vec<StoredKey> {
        self.shared.state().keys.keys().cloned().collect()
    }

    /// Hints the waiters of `key`: it may be free.
    pub(crate) fn hint(&self, key: &StoredKey) {
        self.shared.hint(key);
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.retire(self.number);
        state
            .threads
            .send_modify(|threads| *threads = threads.saturating_sub(1));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State) {
        self.watched.store(state.keys.len(), Ordering::Release);
    }

    fn hint(&self, key: &StoredKey) {
        // A waker is foreign code: it must not run under the mutex.
        let waiters = self.state().keys.get(key).cloned();
        if let Some(waiters) = waiters {
            waiters.send_modify(|hint| *hint = hint.wrapping_add(1));
        }
    }

    fn close(&self) -> watch::Receiver<usize> {
        let mut state = self.state();
        state.closed = true;
        // The waiters hear no more, and poll.
        let keys = std::mem::take(&mut state.keys);
        self.count(&state);
        let threads = state.threads.subscribe();
        drop(state);
        drop(keys);
        self.changed.notify_one();
        threads
    }
}

impl State {
    fn retire(&mut self, number: u64) {
        if self.on_duty == Some(number) {
            self.on_duty = None;
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

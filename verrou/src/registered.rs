//! One store as an instance has it: the driver, and what all its locks share.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::error::Error;
use crate::hold::Hold;
use crate::keeper;
use crate::key::StoredKey;
use crate::observe;
use crate::options::LockOptions;
use crate::store::LockStore;
use crate::store::erased::AnyStore;
use crate::turnstile::Turnstile;

/// One store call, all in it, unless the builder says otherwise.
pub(crate) const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A store and what its locks share. Guards, waiters and the keeper's jobs hold it; the last one lets it go.
pub(crate) struct Registered {
    /// Tells stores apart where the keeper batches; never reused.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) store: AnyStore,
    /// The store does I/O: the keeper uses a sibling with connections of its own.
    pub(crate) has_io: bool,
    pub(crate) options: LockOptions,
    pub(crate) holder: Arc<str>,
    pub(crate) request_timeout: Duration,
    pub(crate) turnstile: Turnstile,
    /// The keeper has a sibling of this store, which ends when this is dropped.
    pub(crate) attended: AtomicBool,
    /// The first late release that failed since the last shutdown.
    failed: Mutex<Option<Error>>,
}

impl Registered {
    pub(crate) fn new(name: String, store: impl LockStore) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let has_io = store.for_keeper().is_some();
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            namespace: String::new(),
            store: Arc::new(store),
            has_io,
            options: LockOptions::new(),
            holder: host_and_pid().into(),
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            turnstile: Turnstile::default(),
            attended: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    pub(crate) fn driver(&self) -> &'static str {
        self.store.capabilities().driver
    }

    /// The stored form of `key`; no I/O.
    pub(crate) fn stored_key(&self, key: &str) -> Result<StoredKey, Error> {
        StoredKey::checked(&self.namespace, key)
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.turnstile.is_closed() {
            Err(Error::ShutDown)
        } else {
            Ok(())
        }
    }

    /// Remembers that a release could not be finished, for the one who shuts down.
    pub(crate) fn note_failure(&self, error: Error) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }

    /// Refuses newcomers, sends waiters away, ends every lease of this store, and then the store.
    ///
    /// Bodies and guards get one request timeout to stop before their keys are released under them.
    pub(crate) async fn shut_down(&self) -> Result<(), Error> {
        self.turnstile.close();
        // Out of the keeper's book: it would release at once what is lost, under a body that still runs.
        let holds = keeper::take_holds_of(self);
        for hold in &holds {
            hold.lose();
        }
        let grace = Moment::now().after(self.request_timeout);
        let _ = self.turnstile.emptied(grace).await;
        for hold in holds {
            Hold::release_late(&hold);
        }
        let limit = Moment::now()
            .after(self.request_timeout)
            .after(self.request_timeout);
        let emptied = self.turnstile.emptied(limit).await;
        keeper::dismiss(self);
        self.store.clone().close().await;
        observe::shut_down(self, emptied);
        match self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        keeper::dismiss(self);
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name)
            .field("driver", &self.driver())
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// What `inspect` shows of a holder that does not say otherwise.
fn host_and_pid() -> String {
    format!("{}:{}", host(), std::process::id())
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "host".to_owned())
}

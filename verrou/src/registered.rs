//! One store as an instance has it: the driver, and what all its locks share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::store_error;
use crate::clock::{self, Moment};
use crate::error::Error;
use crate::keeper;
use crate::key::StoredKey;
use crate::last_tokens::LastTokens;
use crate::observe::{self, Meters};
use crate::options::LockOptions;
use crate::store::erased::AnyStore;
use crate::store::{LockStore, StoreError};
use crate::turnstile::Turnstile;

/// One store call, all in it, unless the builder says otherwise.
pub(crate) const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// What a shutdown gives to bodies and guards to stop by themselves, to the store for the next release, and to the driver for
/// its end; each at most one request timeout. Together less than two seconds, so that a process that is told to end does
/// so, whatever its store does.
const BODIES: Duration = Duration::from_millis(600);
const RELEASES: Duration = Duration::from_millis(800);
const DRIVER: Duration = Duration::from_millis(300);

/// A store and what its locks share. Guards, waiters and the keeper's jobs hold it; the last one lets it go.
pub(crate) struct Registered {
    /// Tells stores apart where the keeper batches; never reused.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) store: AnyStore,
    /// The store does I/O: the keeper uses a sibling with connections of its own.
    pub(crate) has_io: bool,
    /// A release can be the next grant.
    pub(crate) passes: bool,
    pub(crate) options: LockOptions,
    pub(crate) holder: Arc<str>,
    pub(crate) request_timeout: Duration,
    pub(crate) turnstile: Turnstile,
    pub(crate) last_tokens: LastTokens,
    /// The keeper comes by soon, to look after those who hold then.
    pub(crate) expects_keeper: AtomicBool,
    pub(crate) meters: Meters,
    /// The keeper has a sibling of this store, which ends when this is dropped.
    pub(crate) attended: AtomicBool,
    /// The late releases that have failed so far, for the one who shuts down.
    unreleased: Mutex<BTreeMap<StoredKey, Error>>,
}

impl Registered {
    pub(crate) fn new(name: String, store: impl LockStore) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let has_io = store.for_keeper().is_some();
        let passes = store.capabilities().pass;
        for doubt in store.doubts() {
            observe::doubted(&name, &doubt);
        }
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            store: observe::metered(&name, Arc::new(store)),
            name,
            passes,
            namespace: String::new(),
            has_io,
            options: LockOptions::new(),
            holder: host_and_pid().into(),
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            turnstile: Turnstile::default(),
            last_tokens: LastTokens::default(),
            expects_keeper: AtomicBool::new(false),
            meters: Meters::default(),
            attended: AtomicBool::new(false),
            unreleased: Mutex::default(),
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

    /// A late release of `key` has failed; it may be tried again.
    pub(crate) fn release_failed(&self, key: &StoredKey, error: Error) {
        self.unreleased().insert(key.clone(), error);
    }

    /// A late release of `key` is done.
    pub(crate) fn release_done(&self, key: &StoredKey) {
        self.unreleased().remove(key);
    }

    fn unreleased(&self) -> MutexGuard<'_, BTreeMap<StoredKey, Error>> {
        self.unreleased
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses newcomers, sends waiters away, and ends every lease; releases nothing yet, so that bodies can stop first.
    pub(crate) fn begin_shutdown(&self) {
        self.turnstile.close();
        for hold in self.turnstile.holders() {
            hold.lose();
        }
    }

    /// Releases all that is held, and ends the store: in less than two seconds after the store has last released something.
    ///
    /// It needs no runtime, and bears one that has ended.
    ///
    /// Cancel safe: nothing is remembered here, so it may be begun again.
    pub(crate) async fn finish_shutdown(&self) -> Result<(), Error> {
        let within = |share: Duration| Moment::now().after(share.min(self.request_timeout));
        let mut emptied = self.emptied(within(BODIES)).await;
        if !emptied {
            for hold in self.turnstile.holders() {
                hold.release_late();
            }
            // A store that goes on to answer is given the time for all that there is.
            let mut left = usize::MAX;
            while !emptied && self.turnstile.len() < left {
                left = self.turnstile.len();
                emptied = self.emptied(within(RELEASES)).await;
            }
        }
        keeper::dismiss(self);
        let mut close = self.store.clone().close();
        let closed = clock::until_anywhere(within(DRIVER), &mut close).await;
        observe::shut_down(self, emptied && closed.is_ok());
        if let Some((_, error)) = std::mem::take(&mut *self.unreleased()).pop_first() {
            return Err(error);
        }
        match self.turnstile.some_key() {
            Some(key) if !emptied => {
                let source = StoreError::unknown("it was not done within the time of the shutdown");
                Err(store_error(self, &key, "release", &source))
            }
            _ => Ok(()),
        }
    }

    /// Whether nobody waits, holds or releases any more; waits for it until `deadline`.
    async fn emptied(&self, deadline: Moment) -> bool {
        let mut emptied = std::pin::pin!(self.turnstile.emptied());
        clock::until_anywhere(deadline, &mut emptied).await.is_ok()
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

//! The registry: named stores, a default, and what all locks have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::guard::LockGuard;
use crate::key::{Shown, check_namespace};
use crate::lock::{Lock, LockFactory};
use crate::options::LockOptions;
use crate::registered::{DEFAULT_REQUEST_TIMEOUT, Registered};
use crate::serialized::SerializedLock;
use crate::store::{LockStore, all};

/// The longest description of a holder, in bytes.
const MAX_HOLDER: usize = 255;

/// The stores of an application under their names. Built once at start-up; cheap to clone.
///
/// Give it to [`init`](crate::init), and `#[locked]` uses it everywhere; or keep it, and make locks by hand.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), verrou::Error> {
/// use verrou::{Verrou, drivers::MemoryStore};
///
/// let verrou = Verrou::builder().store("memory", MemoryStore::new()).namespace("shop").build()?;
/// let guard = verrou.create_lock("stock:42").acquire().await?;
/// assert!(guard.is_held());
/// guard.release().await?;
/// verrou.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Verrou {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// In the order in which they were registered; never empty.
    stores: Vec<LockFactory>,
    default: usize,
}

impl Verrou {
    /// Begins a new instance.
    pub fn builder() -> VerrouBuilder {
        VerrouBuilder {
            stores: Vec::new(),
            default: None,
            namespace: String::new(),
            options: LockOptions::new(),
            holder: None,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
        }
    }

    /// Describes the lock of `key` on the default store; no I/O. A key that cannot be one is the error of the first use.
    pub fn create_lock(&self, key: impl AsRef<str>) -> Lock {
        self.default_store().create_lock(key)
    }

    /// Describes one lock of several keys on the default store; see [`LockFactory::create_lock_all`].
    pub fn create_lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Lock {
        self.default_store().create_lock_all(keys)
    }

    /// The factory of the store registered as `name`.
    ///
    /// # Errors
    /// [`Error::UnknownStore`], which lists the known names.
    pub fn store(&self, name: &str) -> Result<LockFactory, Error> {
        let known = || {
            self.inner
                .stores
                .iter()
                .map(|store| store.name().to_owned())
                .collect()
        };
        let found = self.inner.stores.iter().find(|store| store.name() == name);
        found.cloned().ok_or_else(|| Error::UnknownStore {
            name: name.to_owned(),
            known: known(),
        })
    }

    pub(crate) fn default_store(&self) -> &LockFactory {
        &self.inner.stores[self.inner.default]
    }

    /// Takes up a lock that another guard has handed over; see [`LockFactory::restore_lock`].
    ///
    /// # Errors
    /// As [`LockFactory::restore_lock`]; [`Error::InvalidSerialized`] if its store is not registered here.
    ///
    /// # Cancel safety
    /// As [`LockFactory::restore_lock`].
    pub async fn restore_lock(&self, serialized: &SerializedLock) -> Result<LockGuard, Error> {
        let Ok(store) = self.store(&serialized.store) else {
            return Err(Error::invalid_serialized(format!(
                "it belongs to store `{}`, which is not registered here",
                Shown(&serialized.store)
            )));
        };
        store.restore_lock(serialized).await
    }

    /// Ends this instance: new acquires are refused, waiters get [`Error::ShutDown`], what is held is lost, so that bodies
    /// stop, and then released.
    ///
    /// Call it before the process ends: the end of the process is no release. Bodies and guards have 600 ms to stop by
    /// themselves before their keys are released under them, or one request timeout if that is less. A store that goes on to
    /// answer is given the time for all that is held; one that does not is left after two seconds. It needs no runtime.
    ///
    /// # Errors
    /// [`Error::Store`] for the first release that could not be finished; its key is blocked until the lease ends.
    ///
    /// # Cancel safety
    /// What has begun stays; calling it again goes on with the rest.
    pub async fn shutdown(&self) -> Result<(), Error> {
        for store in &self.inner.stores {
            store.registered.begin_shutdown();
        }
        let stores = self
            .inner
            .stores
            .iter()
            .map(|store| store.registered.finish_shutdown());
        all(stores).await.into_iter().collect()
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

/// Collects stores and defaults for a [`Verrou`]; made by [`Verrou::builder`].
#[derive(Debug)]
#[must_use = "nothing is built before `build`"]
pub struct VerrouBuilder {
    stores: Vec<Registered>,
    default: Option<String>,
    namespace: String,
    options: LockOptions,
    holder: Option<String>,
    request_timeout: Duration,
}

impl VerrouBuilder {
    /// Registers `store` under `name`. The first one is the default unless told otherwise.
    pub fn store(mut self, name: impl Into<String>, store: impl LockStore) -> Self {
        self.stores.push(Registered::new(name.into(), store));
        self
    }

    /// The store of locks that name none.
    pub fn default_store(mut self, name: impl Into<String>) -> Self {
        self.default = Some(name.into());
        self
    }

    /// Stands in front of every key, so that applications may share a store: at most 64 of `A-Z a-z 0-9 . _ -`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The defaults of every lock.
    pub fn options(mut self, options: LockOptions) -> Self {
        self.options = options;
        self
    }

    /// What `inspect` shows of a holder: at most 255 bytes; host and pid by default.
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// How long one store call may take, all in it: checking a connection out, connecting, repeating; at least
    /// 1 ms, 2 s by default.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Checks everything and builds the instance; no I/O.
    ///
    /// # Errors
    /// [`Error::Config`] for no store, two of one name, an empty name, or a default that is not registered;
    /// [`Error::InvalidOption`] for a namespace, holder, request timeout or lock option that cannot work.
    pub fn build(self) -> Result<Verrou, Error> {
        let Self {
            stores,
            default,
            namespace,
            options,
            holder,
            request_timeout,
        } = self;
        check_namespace(&namespace)?;
        options.resolve()?;
        if request_timeout < Duration::from_millis(1) {
            return Err(Error::invalid_option(
                "request_timeout",
                "no store answers in less than 1 ms",
            ));
        }
        if holder
            .as_ref()
            .is_some_and(|holder| holder.len() > MAX_HOLDER || holder.contains('\0'))
        {
            return Err(Error::invalid_option(
                "holder",
                "it is longer than 255 bytes, or contains a NUL",
            ));
        }
        if stores.is_empty() {
            return Err(Error::config(
                "it has no store; register one with `.store(\"name\", store)`",
            ));
        }
        for (index, store) in stores.iter().enumerate() {
            if store.name.is_empty() {
                return Err(Error::config("the name of a store cannot be empty"));
            }
            if stores[..index]
                .iter()
                .any(|earlier| earlier.name == store.name)
            {
                return Err(Error::config(format!(
                    "two stores are registered as `{}`; rename one",
                    store.name
                )));
            }
        }
        let default = match default {
            None => 0,
            Some(name) => stores
                .iter()
                .position(|store| store.name == name)
                .ok_or_else(|| {
                    let known: Vec<_> = stores
                        .iter()
                        .map(|store| format!("`{}`", store.name))
                        .collect();
                    Error::config(format!(
                        "the default store `{name}` is not registered; known: {}",
                        known.join(", ")
                    ))
                })?,
        };
        let holder: Option<Arc<str>> = holder.map(Into::into);
        let finish = |mut registered: Registered| {
            registered.namespace.clone_from(&namespace);
            registered.options = options;
            registered.request_timeout = request_timeout;
            if let Some(holder) = &holder {
                registered.holder = Arc::clone(holder);
            }
            LockFactory {
                registered: Arc::new(registered),
            }
        };
        Ok(Verrou {
            inner: Arc::new(Inner {
                stores: stores.into_iter().map(finish).collect(),
                default,
            }),
        })
    }
}

//! A lock that may be taken, and the factory that makes it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::body::Body;
use crate::call::{self, Call, store_error};
use crate::clock::Moment;
use crate::error::{Error, Outcome};
use crate::guard::LockGuard;
use crate::hold::{Grant, Hold, Loss};
use crate::holder::Holder;
use crate::keeper::{self, Unclaimed};
use crate::key::{Shown, StoredKey};
use crate::observe;
use crate::options::{LockOptions, OnLost, Retry, Wait};
use crate::reentry::Chain;
use crate::registered::Registered;
use crate::serialized::SerializedLock;
use crate::store::erased::{AnyStore, Boxed};
use crate::store::{
    AdoptRequest, Adopted, Cursor, ForceReleaseRequest, Holding, InspectRequest, ListRequest,
    LockStore, Owner, Sent, StoreError,
};
use crate::wait::Acquisition;

/// Makes locks of one store.
///
/// [`Verrou::store`](crate::Verrou::store) gives the factory of a registered store; [`LockFactory::new`] makes one
/// without a registry, for a library that must not need one. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), verrou::Error> {
/// use verrou::{LockFactory, drivers::MemoryStore};
///
/// let locks = LockFactory::new(MemoryStore::new());
/// let total = locks.create_lock("report").run(async |_guard| 1 + 1).await?;
/// assert_eq!(total, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LockFactory {
    pub(crate) registered: Arc<Registered>,
}

impl LockFactory {
    /// A factory for `store`, named after its driver, with the defaults of an instance.
    #[must_use]
    pub fn new(store: impl LockStore) -> Self {
        let driver = store.capabilities().driver;
        Self {
            registered: Arc::new(Registered::new(driver.to_owned(), store)),
        }
    }

    /// The name under which the store is registered.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.registered.name
    }

    /// Describes the lock of `key`; no I/O. A key that cannot be one is the error of the first use.
    pub fn create_lock(&self, key: impl AsRef<str>) -> Lock {
        self.describe(
            self.registered
                .stored_key(key.as_ref())
                .map(|key| Arc::from([key])),
        )
    }

    /// Describes one lock of several keys, taken all or none; no I/O.
    ///
    /// They are taken in the order of their bytes, whatever the order here, so two such locks cannot wait for each other;
    /// equal keys count once.
    pub fn create_lock_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Lock {
        let keys: Result<Vec<_>, _> = keys
            .into_iter()
            .map(|key| self.registered.stored_key(key.as_ref()))
            .collect();
        self.describe(keys.and_then(|mut keys| {
            keys.sort_unstable();
            keys.dedup();
            if keys.is_empty() {
                return Err(Error::invalid_key(
                    "",
                    "a lock of several keys needs at least one",
                ));
            }
            Ok(keys.into())
        }))
    }

    fn describe(&self, keys: Result<Arc<[StoredKey]>, Error>) -> Lock {
        Lock {
            registered: Arc::clone(&self.registered),
            keys,
            options: LockOptions::new(),
        }
    }

    /// Takes up a lock that another guard has handed over. The token stays; the text is of no more use.
    ///
    /// # Errors
    /// [`Error::InvalidSerialized`] for a lock of another store or namespace; [`Error::NotHeld`] if its lease has ended or it was
    /// taken up before; [`Error::Store`], after which the text may be tried again if the outcome is `NotApplied`, and is of
    /// no more use if it is `Unknown`: the lock is released then; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropped in flight, the lock is released if it was taken up, and the text is of no more use then.
    pub fn restore_lock(
        &self,
        serialized: &SerializedLock,
    ) -> impl Future<Output = Result<LockGuard, Error>> + Send + use<> {
        restore(Arc::clone(&self.registered), serialized.clone())
    }

    /// The keys that begin with `prefix` and are held now, by anybody, in the order of their bytes.
    ///
    /// It asks for [one page](Self::list_pages) after the other; of a key that was taken or released meanwhile it may or may
    /// not know.
    ///
    /// # Errors
    /// [`Error::Store`], also from a driver that cannot list; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, Holder)>, Error> {
        let mut pages = self.list_pages(prefix);
        // A page has no order, and a key may come twice.
        let mut all = BTreeMap::new();
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all.into_iter().collect())
    }

    /// The same a page at a time, for who has more keys than fit, or must go easy on the store; no I/O yet.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), verrou::Error> {
    /// # let locks = verrou::LockFactory::new(verrou::drivers::MemoryStore::new());
    /// let mut pages = locks.list_pages("order:");
    /// while let Some(page) = pages.next().await? {
    ///     for (key, holder) in page {
    ///         println!("{key} is held by {}", holder.holder);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list_pages(&self, prefix: &str) -> Pages {
        Pages {
            registered: Arc::clone(&self.registered),
            prefix: prefix.to_owned(),
            next: Some(None),
        }
    }

    /// Shuts this store down: refuses new acquires, sends waiters away, ends and releases all that is held, in the time that
    /// [`Verrou::shutdown`](crate::Verrou::shutdown) says.
    ///
    /// # Errors
    /// [`Error::Store`] for the first release that could not be finished.
    ///
    /// # Cancel safety
    /// What has begun stays; calling it again goes on with the rest.
    pub async fn close(&self) -> Result<(), Error> {
        self.registered.begin_shutdown();
        self.registered.finish_shutdown().await
    }
}

/// The held keys, a page at a time; made by [`LockFactory::list_pages`].
#[derive(Clone, Debug)]
#[must_use = "no page is asked for before `next`"]
pub struct Pages {
    registered: Arc<Registered>,
    prefix: String,
    /// Where the next page begins, at first at the beginning; `None` after the last one.
    next: Option<Option<Cursor>>,
}

impl Pages {
    /// The next page, in one call to the store that looks at about a thousand keys; `None` after the last one.
    ///
    /// A page has no order, a key may come twice, and an empty page is not the last one.
    ///
    /// # Errors
    /// As [`LockFactory::list`]; the same page may be asked for again.
    ///
    /// # Cancel safety
    /// Dropped in flight, the same page comes next.
    pub async fn next(&mut self) -> Result<Option<Vec<(String, Holder)>>, Error> {
        let Some(after) = &self.next else {
            return Ok(None);
        };
        self.registered.check_open()?;
        let mut request =
            ListRequest::new(format!("{}:{}", self.registered.namespace, self.prefix));
        request.after.clone_from(after);
        let page = ask(&self.registered, |store, sent| {
            request.sent = sent;
            store.list(request)
        })
        .await;
        let page = page.map_err(|error| Error::Store {
            attempted: "list",
            store: self.registered.name.clone(),
            key: format!("{}*", self.prefix),
            outcome: error.outcome(),
            source: Arc::clone(error.cause()),
        })?;
        self.next = page.next.map(Some);
        let listed = page.listed.into_iter();
        let named = listed.map(|one| (one.key.key().to_owned(), Holder::from(one.holding)));
        Ok(Some(named.collect()))
    }

    /// Whether there is another page.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.next.is_some()
    }
}

/// A lock that may be taken: a key or several, a store, options. Holds nothing, does no I/O until it is used; cheap to
/// clone.
#[derive(Clone, Debug)]
#[must_use = "a lock does nothing until it is acquired"]
pub struct Lock {
    registered: Arc<Registered>,
    keys: Result<Arc<[StoredKey]>, Error>,
    options: LockOptions,
}

impl Lock {
    /// See [`LockOptions::ttl`].
    pub fn ttl(self, ttl: Duration) -> Self {
        self.with(|options| options.ttl(ttl))
    }

    /// See [`LockOptions::wait`].
    pub fn wait(self, wait: Wait) -> Self {
        self.with(|options| options.wait(wait))
    }

    /// See [`LockOptions::retry`].
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|options| options.retry(retry))
    }

    /// See [`LockOptions::renew`].
    pub fn renew(self, renew: bool) -> Self {
        self.with(|options| options.renew(renew))
    }

    /// See [`LockOptions::max_hold`].
    pub fn max_hold(self, max_hold: Duration) -> Self {
        self.with(|options| options.max_hold(max_hold))
    }

    /// See [`LockOptions::min_hold`].
    pub fn min_hold(self, min_hold: Duration) -> Self {
        self.with(|options| options.min_hold(min_hold))
    }

    /// See [`LockOptions::on_lost`].
    pub fn on_lost(self, on_lost: OnLost) -> Self {
        self.with(|options| options.on_lost(on_lost))
    }

    /// See [`LockOptions::label`].
    pub fn label(self, label: &'static str) -> Self {
        self.with(|options| options.label(label))
    }

    /// Sets what is set in `options`, and leaves the rest as it is.
    pub fn options(self, options: LockOptions) -> Self {
        self.with(|before| options.or(before))
    }

    fn with(mut self, set: impl FnOnce(LockOptions) -> LockOptions) -> Self {
        self.options = set(self.options);
        self
    }

    /// Takes the lock, waiting as [`Wait`] tells.
    ///
    /// Tasks of this process get it in the order in which they asked; only the first of them talks to the store.
    ///
    /// # Errors
    /// [`Error::Timeout`] or, with [`Wait::Never`], [`Error::Busy`] if somebody else holds a key;
    /// [`Error::Reentrant`] if the body that waits holds it; [`Error::Store`] as soon as the store fails, for everybody in
    /// the queue; [`Error::InvalidKey`] and [`Error::InvalidOption`] before any I/O; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// May be dropped at any point: the place in the queue goes to the next one, and what the store grants to a call that
    /// was in flight is released.
    pub fn acquire(&self) -> impl Future<Output = Result<LockGuard, Error>> + Send + use<> {
        let acquisition = self.acquisition();
        async move { acquisition?.acquire().await }
    }

    /// Takes the lock if it is free now; `None` if somebody holds it.
    ///
    /// Asks the store unless a guard of this process holds the key.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), without those of waiting.
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub fn try_acquire(
        &self,
    ) -> impl Future<Output = Result<Option<LockGuard>, Error>> + Send + use<> {
        let acquisition = self.acquisition();
        async move { acquisition?.try_acquire().await }
    }

    /// Takes the lock, runs `body`, releases it, and returns what the body returned.
    ///
    /// Write the body as `async |guard| ..`. If the lock is lost meanwhile, the body is dropped at its next await and
    /// [`Error::Lost`] comes back, unless [`OnLost::Continue`] is set. A body that ended has its value returned, even if the
    /// lock was lost just then or the release failed; one that must know ends with `guard.check()?`.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); [`Error::Lost`].
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire); the body is dropped with it, and the lock released.
    pub fn run<'a, T, F>(
        &'a self,
        body: F,
    ) -> impl Future<Output = Result<T, Error>> + use<'a, T, F>
    where
        F: AsyncFnOnce(&LockGuard) -> T,
    {
        let acquiring = self.acquire();
        async move {
            let guard = acquiring.await?;
            let output = Body::new(Some(&guard), body(&guard)).await;
            guard.finish().await;
            output
        }
    }

    /// [`run`](Self::run) if the lock is free now; `None` if somebody holds it.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire); [`Error::Lost`].
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub fn try_run<'a, T, F>(
        &'a self,
        body: F,
    ) -> impl Future<Output = Result<Option<T>, Error>> + use<'a, T, F>
    where
        F: AsyncFnOnce(&LockGuard) -> T,
    {
        let trying = self.try_acquire();
        async move {
            let Some(guard) = trying.await? else {
                return Ok(None);
            };
            let output = Body::new(Some(&guard), body(&guard)).await;
            guard.finish().await;
            output.map(Some)
        }
    }

    /// Whether anybody holds the lock, ourselves included, when the store looked.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::InvalidKey`]; [`Error::InvalidOption`] for several keys; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// It changes nothing but what it was asked for, which may have been done when it is dropped in flight.
    pub async fn is_locked(&self) -> Result<bool, Error> {
        Ok(self.holding("is_locked").await?.is_some())
    }

    /// Who holds the lock, when the store looked; `None` if it is free.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::InvalidKey`]; [`Error::InvalidOption`] for several keys; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// It changes nothing but what it was asked for, which may have been done when it is dropped in flight.
    pub async fn inspect(&self) -> Result<Option<Holder>, Error> {
        Ok(self.holding("inspect").await?.map(Holder::from))
    }

    /// Frees the lock whoever holds it; whether somebody did. For the operator whose holder is known to be dead.
    ///
    /// The old holder hears of it at its next renewal, and may work on until then: the tokens of later grants are greater.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::InvalidKey`]; [`Error::InvalidOption`] for several keys; [`Error::ShutDown`].
    ///
    /// # Cancel safety
    /// It changes nothing but what it was asked for, which may have been done when it is dropped in flight.
    pub async fn force_release(&self) -> Result<bool, Error> {
        let key = self.single_key("force_release")?;
        let request = |sent| ForceReleaseRequest {
            key: key.clone(),
            sent,
        };
        let freed = ask(&self.registered, |store, sent| {
            store.force_release(request(sent))
        })
        .await;
        freed.map_err(|error| store_error(&self.registered, key, "force-release", &error))
    }

    async fn holding(&self, option: &'static str) -> Result<Option<Holding>, Error> {
        let key = self.single_key(option)?;
        let request = |sent| InspectRequest {
            key: key.clone(),
            sent,
        };
        let holding = ask(&self.registered, |store, sent| store.inspect(request(sent))).await;
        holding.map_err(|error| store_error(&self.registered, key, "inspect", &error))
    }

    fn single_key(&self, option: &'static str) -> Result<&StoredKey, Error> {
        self.registered.check_open()?;
        match &**self.keys.as_ref().map_err(Clone::clone)? {
            [key] => Ok(key),
            _ => Err(Error::invalid_option(
                option,
                "it works on one key; ask for each key by itself",
            )),
        }
    }

    /// What an acquire needs, checked; reads in which bodies it begins.
    fn acquisition(&self) -> Result<Acquisition, Error> {
        let terms = self.options.or(self.registered.options).resolve()?;
        let keys = self.keys.clone()?;
        Ok(Acquisition {
            registered: Arc::clone(&self.registered),
            keys,
            terms,
            chain: Chain::here(),
            asked: AtomicU32::new(0),
        })
    }
}

/// One call whose answer changes nothing of ours.
async fn ask<T: Send + 'static>(
    registered: &Arc<Registered>,
    call: impl FnOnce(AnyStore, Sent) -> Boxed<Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let sent = call::mark(registered);
    let future = call(registered.store.clone(), sent.clone());
    let abandon = |call: Option<_>| {
        if let Some(call) = call {
            keeper::finish(registered, call);
        }
    };
    match Call::new(future, sent, abandon)
        .answer(Moment::now().after(registered.request_timeout))
        .await
    {
        Ok(answer) => answer,
        Err(unanswered) => Err(unanswered.into_store_error(registered)),
    }
}

async fn restore(
    registered: Arc<Registered>,
    serialized: SerializedLock,
) -> Result<LockGuard, Error> {
    let (max_hold, min_hold) = (serialized.max_hold_left(), serialized.min_hold_left());
    let SerializedLock {
        store,
        key,
        owner: from,
        ttl,
        renew,
        ..
    } = serialized;
    if store != registered.name || key.namespace() != registered.namespace {
        return Err(Error::invalid_serialized(format!(
            "it belongs to store `{}` and namespace `{}`; this is store `{}` and namespace `{}`",
            Shown(&store),
            key.namespace(),
            registered.name,
            registered.namespace
        )));
    }
    let options = LockOptions::new().ttl(ttl).renew(renew).min_hold(min_hold);
    // The giver's `max_hold` goes on, and no other.
    let mut terms = options
        .or(registered.options.without_max_hold())
        .resolve()?;
    terms.max_hold = max_hold;
    let visit = registered.turnstile.enter(&key)?;
    let owner = Owner::random()
        .map_err(|error| Error::config(format!("the system's random source failed: {error}")))?;
    let started = Moment::now();
    let mut request = AdoptRequest::new(key.clone(), from, owner, ttl);
    request.holder = Arc::clone(&registered.holder);
    request.sent = call::mark(&registered);
    let mark = request.sent.clone();
    let unclaimed = || Unclaimed {
        registered: Arc::clone(&registered),
        key: key.clone(),
        owner,
        ttl,
        sent: started,
        label: terms.label,
    };
    let abandon = |call: Option<_>| {
        if let Some(call) = call {
            keeper::adopt_acquire(unclaimed(), None, call);
        }
    };
    let call = Call::new(registered.store.clone().adopt(request), mark, abandon);
    let answer = match call.answer(started.after(registered.request_timeout)).await {
        Ok(answer) => answer,
        Err(unanswered) => Err(unanswered.into_store_error(&registered)),
    };
    let token = match answer {
        Ok(Adopted::Adopted { token }) => token,
        Ok(Adopted::NotHeld) => {
            return Err(Error::NotHeld {
                store: registered.name.clone(),
                key: key.key().to_owned(),
            });
        }
        Err(error) => {
            if error.outcome() == Outcome::Unknown {
                // If it was taken up, it is nobody's: the text has the old owner.
                keeper::release_unclaimed(unclaimed(), None);
            }
            return Err(store_error(&registered, &key, "restore", &error));
        }
    };
    let loss = Arc::<Loss>::default();
    let grant = Grant {
        key: key.clone(),
        owner,
        token,
        sent: started,
    };
    let hold = Hold::new(
        Arc::clone(&registered),
        grant,
        &terms,
        Arc::clone(&loss),
        visit,
        Moment::now(),
    );
    let guard = LockGuard::new(vec![hold], loss);
    registered.check_open()?;
    guard.check()?;
    observe::restored(&guard, started);
    Ok(guard)
}

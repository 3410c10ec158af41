//! STAND-IN for the core, to be deleted when it lands: enough of `Verrou` and `LockGuard` to run `ui-tests`.
//!
//! One process, one namespace for each instance, no store behind it. `max_hold`, and `ttl` with `renew(false)`, end a
//! lease, so that losing one can be tried out.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::__private::Key;
use crate::FencingToken;
use crate::error::Error;
use crate::options::{LockOptions, OnLost, Wait};

type Keys = Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>;

/// An instance.
#[derive(Clone, Debug, Default)]
pub struct Verrou {
    stores: Vec<String>,
    keys: Keys,
}

/// Makes an instance.
#[derive(Debug, Default)]
pub struct VerrouBuilder(Verrou);

impl Verrou {
    /// A builder.
    #[must_use]
    pub fn builder() -> VerrouBuilder {
        VerrouBuilder::default()
    }
}

impl VerrouBuilder {
    /// Adds a store.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)]
    pub fn store(mut self, name: &str, _store: impl crate::LockStore) -> Self {
        self.0.stores.push(name.to_owned());
        self
    }

    /// The instance.
    ///
    /// # Errors
    /// None.
    pub fn build(self) -> Result<Verrou, Error> {
        Ok(self.0)
    }
}

/// The lock is held while it lives.
#[derive(Debug)]
pub struct LockGuard {
    keys: Vec<String>,
    _held: Vec<OwnedMutexGuard<()>>,
    lost_at: Option<Instant>,
    on_lost: OnLost,
}

impl LockGuard {
    /// The first key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.keys[0]
    }

    /// A token.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        FencingToken::MAX
    }

    /// Whether it is held.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.lost_at.is_none_or(|at| Instant::now() < at)
    }

    /// # Errors
    /// Lost.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_held() {
            return Ok(());
        }
        Err(Error::Lost {
            store: "stub".into(),
            key: self.keys[0].clone(),
        })
    }
}

#[allow(missing_docs, clippy::missing_errors_doc)]
pub fn given(verrou: &Verrou) -> Result<Verrou, Error> {
    Ok(verrou.clone())
}

#[allow(missing_docs, clippy::missing_errors_doc)]
pub fn current() -> Result<Verrou, Error> {
    Err(Error::NotInitialized)
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::manual_async_fn)]
pub fn acquire<const N: usize>(
    verrou: Result<Verrou, Error>,
    store: Option<&'static str>,
    options: LockOptions,
    keys: [Key; N],
) -> impl Future<Output = Result<LockGuard, Error>> + Send {
    async move {
        let verrou = verrou?;
        let mut sorted = BTreeSet::new();
        for key in keys {
            sorted.insert(key.finish()?);
        }
        let store = match store {
            Some(name) if !verrou.stores.iter().any(|known| known == name) => {
                return Err(Error::UnknownStore {
                    name: name.to_owned(),
                    known: verrou.stores,
                });
            }
            Some(name) => name.to_owned(),
            None => verrou.stores.first().cloned().unwrap_or_default(),
        };
        let terms = options.resolve()?;
        let limit = match terms.wait {
            Wait::Never => Duration::ZERO,
            Wait::For(limit) => limit,
            Wait::Forever => Duration::from_secs(86400),
        };
        let mut held = Vec::new();
        for key in &sorted {
            let mutex = {
                let mut keys = verrou.keys.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(keys.entry(format!("{store} {key}")).or_default())
            };
            let busy = Error::Busy {
                store: store.clone(),
                key: key.clone(),
            };
            match tokio::time::timeout(limit, mutex.lock_owned()).await {
                Ok(guard) => held.push(guard),
                Err(_) => return Err(busy),
            }
        }
        let life = terms.max_hold.or((!terms.renew).then_some(terms.ttl));
        Ok(LockGuard {
            keys: sorted.into_iter().collect(),
            _held: held,
            lost_at: life.map(|life| Instant::now() + life),
            on_lost: terms.on_lost,
        })
    }
}

pin_project_lite::pin_project! {
    #[allow(missing_docs, missing_debug_implementations)]
    pub struct Hold<'g, F> {
        guard: Option<&'g LockGuard>,
        #[pin]
        body: F,
    }
}

#[allow(missing_docs)]
pub fn hold<F: Future>(guard: Option<&LockGuard>, body: F) -> Hold<'_, F> {
    Hold { guard, body }
}

impl<F: Future> Future for Hold<'_, F> {
    type Output = Result<F::Output, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(guard) = this.guard
            && guard.on_lost == OnLost::Cancel
        {
            guard.check()?;
            if let Some(at) = guard.lost_at {
                // Wakes this task at the end of the lease; one short-lived task for each poll is fine for a stand-in.
                let waker = cx.waker().clone();
                tokio::spawn(async move {
                    pin!(tokio::time::sleep_until(at)).await;
                    waker.wake();
                });
            }
        }
        this.body.poll(cx).map(Ok)
    }
}

#[allow(missing_docs)]
#[allow(clippy::unused_async)]
pub async fn release(guard: Option<LockGuard>) {
    drop(guard);
}

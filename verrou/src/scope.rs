//! Which instance `#[locked]` uses: that of the scope, else the global one.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use once_cell::sync::OnceCell;
use pin_project_lite::pin_project;

use crate::error::Error;
use crate::registry::Verrou;

static GLOBAL: OnceCell<Verrou> = OnceCell::new();

thread_local! {
    /// The scopes that are being polled or were entered on this thread, outermost first.
    static SCOPES: RefCell<Vec<Verrou>> = const { RefCell::new(Vec::new()) };
}

/// Registers `verrou` for the whole process. Once, at start-up.
///
/// # Errors
/// [`Error::AlreadyInitialized`] the second time; the first instance stays.
pub fn init(verrou: Verrou) -> Result<&'static Verrou, Error> {
    GLOBAL
        .try_insert(verrou)
        .map_err(|_| Error::AlreadyInitialized)
}

/// The instance that [`init`] registered, whatever scope this runs in.
///
/// # Errors
/// [`Error::NotInitialized`].
pub fn global() -> Result<Verrou, Error> {
    GLOBAL.get().cloned().ok_or(Error::NotInitialized)
}

/// The instance that `#[locked]` uses here: that of the innermost scope, else the global one.
///
/// # Errors
/// [`Error::NotInitialized`].
pub fn current() -> Result<Verrou, Error> {
    match SCOPES.with_borrow(|scopes| scopes.last().cloned()) {
        Some(verrou) => Ok(verrou),
        None => global(),
    }
}

impl Verrou {
    /// Runs `future` with this instance as [`current`]. For tests: production code runs on it unchanged.
    ///
    /// A task that the future spawns is outside of the scope: wrap it as well, `tokio::spawn(verrou.scope(task))`.
    ///
    /// # Cancel safety
    /// As `future` itself.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        Scope {
            verrou: self.clone(),
            future,
        }
    }

    /// Makes this instance [`current`] on this thread until the guard is dropped.
    ///
    /// For a test that owns its thread, spawned tasks of a current-thread runtime included. Two futures of one thread that
    /// both keep such a guard over an await see each other's: prefer [`scope`](Self::scope).
    pub fn enter(&self) -> ScopeGuard {
        SCOPES.with_borrow_mut(|scopes| scopes.push(self.clone()));
        ScopeGuard {
            verrou: self.clone(),
            _thread: PhantomData,
        }
    }
}

/// Keeps an instance [`current`] on its thread until dropped; made by [`Verrou::enter`].
#[derive(Debug)]
#[must_use = "if unused, the scope ends at once"]
pub struct ScopeGuard {
    verrou: Verrou,
    /// Belongs to the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        let entered = SCOPES.with_borrow_mut(|scopes| {
            let innermost = scopes.iter().rposition(|scope| scope.is(&self.verrou));
            innermost.map(|index| scopes.remove(index))
        });
        // Outside of the borrow: the last reference ends the instance's stores.
        drop(entered);
    }
}

pin_project! {
    struct Scope<F> {
        verrou: Verrou,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.verrou.enter();
        this.future.poll(cx)
    }
}

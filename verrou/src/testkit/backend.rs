//! Where the stores under test come from.

use std::future::Future;

use crate::store::LockStore;

/// A way to open stores on one shared place: a file, a server, a table in memory.
///
/// Two stores that one backend opened see each other's locks. Implemented for every closure that makes a future of a
/// store, and by [`Shared`] for a store whose clones share their locks.
///
/// # Examples
/// A closure that opens a store each time it is called:
/// ```
/// # use std::path::PathBuf;
/// # use verrou::drivers::MemoryStore;
/// # async fn open_store(_: PathBuf) -> std::io::Result<MemoryStore> { Ok(MemoryStore::new()) }
/// use verrou::testkit::Backend;
///
/// fn locks_in(file: PathBuf) -> impl Backend {
///     move || {
///         let file = file.clone();
///         async move { open_store(file).await.expect("the file can be opened") }
///     }
/// }
/// # locks_in("locks.db".into());
/// ```
pub trait Backend: Send + Sync + 'static {
    /// The driver under test.
    type Store: LockStore;

    /// Opens a store.
    ///
    /// # Panics
    /// When it cannot: then the test has failed.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;
}

impl<F, Opening> Backend for F
where
    F: Fn() -> Opening + Send + Sync + 'static,
    Opening: Future + Send,
    Opening::Output: LockStore,
{
    type Store = Opening::Output;

    fn open(&self) -> impl Future<Output = Self::Store> + Send {
        self()
    }
}

/// A backend for a store whose clones share their locks: each opening is a clone.
#[derive(Clone, Debug)]
pub struct Shared<S> {
    store: S,
}

impl<S: LockStore + Clone> Shared<S> {
    /// Opens clones of `store`.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self { store }
    }
}

impl<S: LockStore + Clone> Backend for Shared<S> {
    type Store = S;

    async fn open(&self) -> S {
        self.store.clone()
    }
}

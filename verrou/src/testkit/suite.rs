//! The list of cases, and how one is run.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::Backend;
use super::bench::Bench;

/// How long a case may take: a store that hangs fails it.
const LIMIT: Duration = Duration::from_secs(60);

/// One promise of the contract, as a test that any backend can be put to.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    theme: &'static str,
    threads: usize,
    start: Start,
}

pub(crate) type Start = for<'a> fn(&'a Bench) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Every case of the contract, in the order of the list.
#[must_use]
pub fn cases() -> Vec<Case> {
    crate::__contract_cases! { __contract_registry }
}

impl Case {
    pub(crate) const fn new(
        theme: &'static str,
        name: &'static str,
        threads: usize,
        start: Start,
    ) -> Self {
        Self {
            name,
            theme,
            threads,
            start,
        }
    }

    /// The case of this name.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn named(name: &str) -> Self {
        cases()
            .into_iter()
            .find(|case| case.name == name)
            .unwrap_or_else(|| panic!("the contract has no case `{name}`"))
    }

    /// The promise it defends, as an identifier.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The part of the contract it belongs to: `exclusion`, `leases`, ...
    #[must_use]
    pub fn theme(&self) -> &'static str {
        self.theme
    }

    /// Runs the case against `backend`, on a thread and a tokio runtime of its own.
    ///
    /// # Panics
    /// When the backend breaks the promise, with a sentence that names it, or has not ended after 60 s.
    pub fn run(&self, backend: impl Backend) {
        let Self { name, start, .. } = *self;
        let threads = self.threads;
        let (ended, end) = channel();
        // Its own thread: a store that blocks the thread for ever must not take the deadline along.
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime(threads).block_on(start(&Bench::new(backend)));
                // After the runtime: its end may hang as well.
                let _ = ended.send(());
            })
            .expect("a thread can be started");
        match end.recv_timeout(LIMIT) {
            Err(RecvTimeoutError::Timeout) => {
                panic!(
                    "every call ends, but `{name}` did not within {LIMIT:?}: the store hangs or blocks its thread"
                )
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if let Err(failure) = thread.join() {
                    resume_unwind(failure);
                }
            }
        }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("theme", &self.theme)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One thread unless a case needs calls that run at the same time.
fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let mut builder = if threads > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder
        .enable_all()
        .build()
        .expect("a tokio runtime can be built")
}

/// Makes a module of tests, one for each promise of the store contract.
///
/// The second argument is an expression for a [`Backend`](crate::testkit::Backend). It is evaluated in each test, so a
/// test has a place of its own if the expression makes a new one, and shares one if it names one: the cases use random
/// keys and stand leftovers. The tests run side by side.
///
/// # Examples
/// ```
/// use verrou::drivers::MemoryStore;
/// use verrou::testkit::{Shared, contract_suite};
///
/// contract_suite!(memory, Shared::new(MemoryStore::new()));
/// # fn main() {}
/// ```
/// makes `memory::grants_a_free_key`, `memory::a_lease_expires_after_its_ttl`, and so on.
#[macro_export]
macro_rules! contract_suite {
    ($name:ident, $backend:expr $(,)?) => {
        $crate::__contract_cases! { __contract_tests $name, $backend }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __contract_tests {
    ([$name:ident, $backend:expr] $($theme:ident { $($case:ident,)* })*) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $($(
                #[test]
                fn $case() {
                    $crate::testkit::Case::named(stringify!($case)).run($backend);
                }
            )*)*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __contract_registry {
    ([] $($theme:ident { $($case:ident,)* })*) => {
        vec![$($(
            $crate::testkit::Case::new(
                stringify!($theme),
                stringify!($case),
                $crate::testkit::cases::$theme::THREADS,
                |bench| Box::pin($crate::testkit::cases::$theme::$case(bench)),
            ),
        )*)*]
    };
}

//! What a function under `#[locked]` does when it runs.
//!
//! Every test makes its own instance, and gives it with `verrou = ..` or as a scope, so that none needs the global one.

mod holding;
mod injective;
mod keys;
mod options;
mod shapes;

use std::sync::{Arc, Mutex, PoisonError};

use verrou::drivers::MemoryStore;
use verrou::{Error, Verrou, locked};

type Result<T, E = Error> = std::result::Result<T, E>;

fn instance() -> Result<Verrou> {
    Verrou::builder()
        .store("memory", MemoryStore::new())
        .build()
}

/// Whether somebody holds the key `t:<id>`. Asks from a thread of its own, so that it can be used anywhere.
fn is_held(verrou: &Verrou, id: u64) -> bool {
    #[locked("t:<id>", wait = never, verrou = verrou)]
    async fn probe(verrou: &Verrou, id: u64) -> Result<()> {
        Ok(())
    }
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(probe(verrou, id))
        });
        asking.join().expect("no panic")
    });
    match answer {
        Ok(()) => false,
        Err(error) if error.is_busy() => true,
        Err(error) => panic!("{error}"),
    }
}

/// Remembers in which order things happen.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry.into());
    }

    fn entries(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Notes at its drop whether `t:1` was held then.
struct Watched {
    name: &'static str,
    verrou: Verrou,
    journal: Journal,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let state = if is_held(&self.verrou, 1) {
            "held"
        } else {
            "free"
        };
        self.journal.note(format!("{}: {state}", self.name));
    }
}

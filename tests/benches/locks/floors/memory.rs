//! A set of names behind one mutex: nothing waits, nothing expires.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::contender::Contender;

#[derive(Debug, Default)]
pub(crate) struct Map {
    held: Mutex<HashSet<String>>,
}

impl Map {
    fn held(&self) -> MutexGuard<'_, HashSet<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contender for Map {
    type Key = String;
    type Held = String;

    fn key(&self, name: &str) -> String {
        name.to_owned()
    }

    async fn acquire(&self, key: &String) -> String {
        assert!(self.held().insert(key.clone()), "nobody else has it");
        key.clone()
    }

    async fn release(&self, held: String) {
        self.held().remove(&held);
    }
}

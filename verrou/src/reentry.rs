//! Which bodies the running task is inside of, so that a wait for one's own lock is found at once.
//!
//! A thread-local stack, pushed and popped around each poll of a body. A task id alone would accuse siblings of a
//! `join!`, the stack alone local tasks that are polled inside a body: so both must agree, and the wait must have begun
//! inside the body. See decision 2 in `docs`.

use std::cell::RefCell;

use tokio::task::Id;

thread_local! {
    /// The holds whose bodies are being polled on this thread, outermost first, with the task that polls.
    static POLLED: RefCell<Vec<(u64, Option<Id>)>> = const { RefCell::new(Vec::new()) };
}

/// The holds whose bodies a wait began in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    holds: Vec<u64>,
    task: Option<Id>,
}

impl Chain {
    /// The bodies of this task that are being polled now. Allocates only inside of one.
    pub(crate) fn here() -> Self {
        let task = tokio::task::try_id();
        let holds = POLLED.with_borrow(|polled| {
            polled
                .iter()
                .filter(|(_, polling)| *polling == task)
                .map(|(hold, _)| *hold)
                .collect()
        });
        Self { holds, task }
    }

    /// Whether the wait began outside of every body.
    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Whether hold `id` is one of them, and this is still the task in which the wait began.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.holds.contains(&id) && self.task == tokio::task::try_id()
    }
}

/// Enters the body of some holds for one poll; leaves when dropped, also in a panic.
pub(crate) struct Inside {
    depth: usize,
}

impl Inside {
    pub(crate) fn of(holds: impl Iterator<Item = u64>) -> Self {
        let task = tokio::task::try_id();
        POLLED.with_borrow_mut(|polled| {
            let depth = polled.len();
            polled.extend(holds.map(|hold| (hold, task)));
            Self { depth }
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        POLLED.with_borrow_mut(|polled| polled.truncate(self.depth));
    }
}

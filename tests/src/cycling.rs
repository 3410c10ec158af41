//! Tasks that take and release locks for as long as a test lets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use verrou::store::LockStore;
use verrou::{LockFactory, Verrou, Wait};

use crate::soon;

/// 8 tasks on 4 keys, each a process of its own to the store; no call fails, and no token that a task sees falls.
#[derive(Debug)]
pub struct Cycling {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<u64>,
}

impl Cycling {
    /// Starts them.
    #[must_use]
    pub fn on<S: LockStore + Clone>(store: &S) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            let (locks, stop) = (factory(store.clone()), stop.clone());
            tasks.spawn(async move {
                let mut last = [0; 4];
                let mut cycles = 0;
                while !stop.load(Ordering::Relaxed) {
                    for (place, last) in last.iter_mut().enumerate() {
                        let place = (place + task) % 4;
                        cycle(&locks, place, last).await;
                        cycles += 1;
                    }
                }
                cycles
            });
        }
        Self { stop, tasks }
    }

    /// Ends them, and says how many cycles there were.
    ///
    /// # Panics
    /// If a call has failed or a token has fallen.
    pub async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut cycles = 0;
        while let Some(done) = soon("a task that cycles", self.tasks.join_next()).await {
            match done {
                Ok(of_task) => cycles += of_task,
                Err(error) => panic!("a task failed: {error}"),
            }
        }
        cycles
    }
}

/// With more patience than by default: what is tested is that nothing fails, not that the disk of a busy machine never
/// stalls.
fn factory<S: LockStore>(store: S) -> LockFactory {
    let patience = Duration::from_secs(20);
    let verrou = Verrou::builder()
        .store("cycled", store)
        .request_timeout(patience)
        .build();
    match verrou.and_then(|verrou| verrou.store("cycled")) {
        Ok(locks) => locks,
        Err(error) => panic!("no instance: {error}"),
    }
}

async fn cycle(locks: &LockFactory, place: usize, last: &mut u64) {
    let lock = locks.create_lock(format!("k{place}")).wait(Wait::Forever);
    let guard = match lock.acquire().await {
        Ok(guard) => guard,
        Err(error) => panic!("no lock: {error:?}"),
    };
    let token = guard.token().get();
    assert!(token > *last, "a token fell: {token} after {last}");
    *last = token;
    if let Err(error) = guard.release().await {
        panic!("no release: {error:?}");
    }
}

//! Spawned: the future is `'static` and `Send` when the arguments are.
#![deny(warnings)]

use std::sync::Arc;

use verrou::{Error, Verrou, locked};

#[locked("t:<id>", verrou = verrou, guard = guard)]
pub async fn job(verrou: Arc<Verrou>, id: u64) -> Result<u64, Error> {
    tokio::task::yield_now().await;
    guard.check()?;
    Ok(id)
}

pub struct Worker {
    verrou: Verrou,
}

impl Worker {
    #[locked("worker", verrou = self.verrou)]
    pub async fn run(self: Arc<Self>) -> Result<(), Error> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
pub async fn main() -> Result<(), Error> {
    let store = verrou::drivers::MemoryStore::new();
    let verrou = Verrou::builder().store("memory", store).build()?;
    let tasks = (0..3).map(|id| tokio::spawn(job(Arc::new(verrou.clone()), id)));
    for (id, task) in tasks.enumerate() {
        assert!(matches!(task.await, Ok(Ok(done)) if done == id as u64));
    }
    let worker = Arc::new(Worker { verrou });
    assert!(matches!(tokio::spawn(worker.run()).await, Ok(Ok(()))));
    Ok(())
}

//! A few connections that many tasks share, at no more than that costs.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The connections; whoever wants one while all are out waits in line.
#[derive(Debug)]
pub(crate) struct Lanes<C> {
    permits: Semaphore,
    idle: Mutex<Vec<C>>,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Lane<'a, C> {
    connection: Option<C>,
    lanes: &'a Lanes<C>,
    _permit: SemaphorePermit<'a>,
}

impl<C> Lanes<C> {
    pub(crate) fn new(connections: Vec<C>) -> Self {
        Self {
            permits: Semaphore::new(connections.len()),
            idle: Mutex::new(connections),
        }
    }

    pub(crate) async fn take(&self) -> Lane<'_, C> {
        let Ok(permit) = self.permits.acquire().await else {
            panic!("nobody closes it")
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        Lane {
            connection: idle.pop(),
            lanes: self,
            _permit: permit,
        }
    }
}

impl<C> Lane<'_, C> {
    pub(crate) fn connection(&mut self) -> &mut C {
        match &mut self.connection {
            Some(connection) => connection,
            None => panic!("as many connections as permits"),
        }
    }
}

impl<C> Drop for Lane<'_, C> {
    fn drop(&mut self) {
        let mut idle = self
            .lanes
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.connection.take());
    }
}

//! `#[instrument]` in between, in an `#[async_trait]` impl: the block of `#[async_trait]` is wrapped once more.
#![deny(warnings)]

use async_trait::async_trait;
use tracing::instrument;
use verrou::{Error, locked};

#[derive(Debug)]
pub struct Service {
    id: u64,
}

#[async_trait]
pub trait Jobs {
    async fn above(&self, pair: (u64, u64)) -> Result<u64, Error>;
    async fn below(&self, pair: (u64, u64)) -> Result<u64, Error>;
}

#[async_trait]
impl Jobs for Service {
    #[instrument]
    #[locked("t:<self.id>:<b>", when = self.id > 0)]
    async fn above(&self, (a, b): (u64, u64)) -> Result<u64, Error> {
        if a == 0 {
            return Ok(0);
        }
        Ok(self.id + a + b)
    }

    #[locked("t:<self.id>:<b>")]
    #[instrument(err)]
    async fn below(&self, (a, b): (u64, u64)) -> Result<u64, Error> {
        Ok(self.id + a + b)
    }
}

pub fn main() {}

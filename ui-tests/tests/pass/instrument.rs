//! With `#[instrument]` above and below, on functions and methods.
#![deny(warnings)]

use tracing::instrument;
use verrou::{Error, locked};

#[instrument]
#[locked("t:<id>")]
pub async fn above(id: u64, mut text: String) -> Result<String, Error> {
    text.clear();
    Ok(text)
}

#[locked("t:<id>")]
#[instrument(skip(text), err, ret)]
pub async fn below(id: u64, mut text: String) -> Result<String, Error> {
    text.clear();
    Ok(text)
}

#[derive(Debug)]
pub struct Service {
    id: u64,
}

impl Service {
    #[instrument(fields(id = self.id))]
    #[locked("t:<self.id>", guard = guard)]
    pub async fn method(&self) -> Result<u64, Error> {
        guard.check()?;
        Ok(self.id)
    }

    #[locked("t:<self.id>:<b>")]
    #[instrument(skip_all)]
    pub async fn pattern(&mut self, (a, b): (u64, u64)) -> Result<&mut u64, Error> {
        self.id += a + b;
        Ok(&mut self.id)
    }
}

pub fn main() {}

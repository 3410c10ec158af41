//! Below `#[async_trait]`: the function is already a boxed future.
#![deny(warnings)]

use async_trait::async_trait;
use verrou::{Error, locked};

#[async_trait]
pub trait Jobs: Sync {
    async fn run(&self, id: u64, (a, b): (u8, u8)) -> Result<Vec<u8>, Error>;

    #[locked("d:<id>")]
    async fn by_default(&self, mut id: u64) -> Result<Box<dyn Send>, Error> {
        id += 1;
        Ok(Box::new(id))
    }

    #[locked("assoc:<text>")]
    async fn without_self(text: &str) -> Result<usize, Error>
    where
        Self: Sized,
    {
        Ok(text.len())
    }
}

pub struct Mail<T> {
    tenant: T,
}

#[async_trait]
impl<T: std::fmt::Display + Send + Sync> Jobs for Mail<T> {
    #[locked("m:<self.tenant>:<id>:<b>", guard = guard)]
    async fn run(&self, id: u64, (a, b): (u8, u8)) -> Result<Vec<u8>, Error> {
        guard.check()?;
        if id == 0 {
            return Ok(vec![]);
        }
        let closure = || self.tenant.to_string();
        Ok(vec![a, b, u8::from(closure().is_empty())])
    }
}

const WAIT: std::time::Duration = std::time::Duration::from_secs(1);

#[async_trait]
pub trait Paths: Sync {
    /// `self` is the module here, and the receiver there.
    #[locked("p", wait = self::WAIT, when = self.is_open() && self::Mail { tenant: 1 }.tenant > 0)]
    async fn run(&self) -> Result<(), Error> {
        Ok(())
    }

    fn is_open(&self) -> bool {
        true
    }
}

#[async_trait(?Send)]
pub trait Local {
    #[locked("l")]
    async fn run(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

pub fn main() {}

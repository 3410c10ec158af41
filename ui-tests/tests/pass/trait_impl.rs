//! Native async methods of traits: implemented, default, with associated types, and the `Send` way to write them.
#![allow(clippy::manual_async_fn, reason = "the case")]

use std::future::Future;

use verrou::{Error, locked};

trait Jobs {
    type Id: std::fmt::Display;
    type Out: From<u8>;

    async fn run(&self, id: Self::Id) -> Result<Self::Out, Error>;

    #[locked("default:<id>")]
    async fn by_default(&self, id: Self::Id) -> Result<Self::Out, Error> {
        self.run(id).await
    }

    fn sendable(&self, id: u64) -> impl Future<Output = Result<u64, Error>> + Send;
}

struct Mail(String);

impl Jobs for Mail {
    type Id = u64;
    type Out = u16;

    #[locked("mail:<self.0>:<id>")]
    async fn run(&self, id: Self::Id) -> Result<Self::Out, Error> {
        let _: u64 = id;
        Ok(u16::from(self.0.is_empty()))
    }

    #[locked("mail:<id>")]
    fn sendable(&self, id: u64) -> impl Future<Output = Result<u64, Error>> + Send {
        async move { Ok(id + self.0.len() as u64) }
    }
}

pub fn main() {}

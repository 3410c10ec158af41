//! Native async methods of traits: implemented, default, with associated types, and the `Send` way to write them.

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
        let _ = id;
        Ok(self.0.len() as u16)
    }

    #[locked("mail:<id>")]
    fn sendable(&self, id: u64) -> impl Future<Output = Result<u64, Error>> + Send {
        async move { Ok(id + self.0.len() as u64) }
    }
}

fn main() {}

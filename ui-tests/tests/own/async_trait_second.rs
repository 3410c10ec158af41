// Must refuse the second `#[locked]` and the guard with the name of an argument, also below `#[async_trait]`.
use verrou::locked as exclusive;
use verrou::{Error, locked};

pub struct Service;

#[async_trait::async_trait]
pub trait Jobs {
    async fn two(&self) -> Result<(), Error>;
    async fn guard(&self, id: u64) -> Result<u64, Error>;
    async fn renamed(&self, pair: (u8, u8)) -> Result<u8, Error>;
}

#[async_trait::async_trait]
impl Jobs for Service {
    #[locked("a")]
    #[locked("b")]
    async fn two(&self) -> Result<(), Error> {
        Ok(())
    }

    #[locked("a", guard = id)]
    async fn guard(&self, id: u64) -> Result<u64, Error> {
        Ok(id)
    }

    #[locked("a")]
    #[exclusive("b:<left>")]
    async fn renamed(&self, (left, right): (u8, u8)) -> Result<u8, Error> {
        Ok(left + right)
    }
}

fn main() {}

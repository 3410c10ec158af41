//! The return type is found by trait: aliases, associated types, a type of the user's own.
#![deny(warnings)]

use verrou::{Error, locked};

type Fallible<T = ()> = Result<T, Failure>;
type Done = Fallible;

#[derive(Debug)]
pub enum Failure {
    Lock(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

#[locked("t", on_busy = skip)]
pub async fn alias() -> Done {
    Ok(())
}

#[locked("t", on_busy = skip)]
pub async fn alias_with_argument() -> Fallible<Option<u8>> {
    Ok(None)
}

pub trait Service {
    type Answer;
}
pub struct Mine;
impl Service for Mine {
    type Answer = Result<u8, Failure>;
}
impl Mine {
    #[locked("t")]
    pub async fn associated(&self) -> <Self as Service>::Answer {
        Ok(1)
    }
}

/// A glob in the body must not change what the return type means.
mod other {
    #[allow(dead_code)]
    pub struct Fallible;
}

#[locked("t")]
pub async fn shadowed() -> Fallible<u8> {
    #[allow(unused_imports)]
    use other::*;
    Ok(1)
}

pub fn main() {}

//! Errors of users: boxes, enums, and one that takes every error, as `anyhow` has it.
#![deny(warnings)]

use std::error::Error as StdError;
use std::fmt;

use verrou::{Error, locked};

pub struct Anything(Box<dyn StdError + Send + Sync>);

impl fmt::Debug for Anything {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Anything {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    Lock(Error),
    Number(std::num::ParseIntError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl From<std::num::ParseIntError> for Failure {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::Number(error)
    }
}

#[locked("t:<text>")]
pub async fn anything(text: &str) -> Result<u8, Anything> {
    Ok(text.parse()?)
}

#[locked("t:<text>")]
pub async fn an_enum(text: &str) -> Result<u8, Failure> {
    let inner = an_enum_inside(text).await?;
    Ok(inner + text.parse::<u8>()?)
}

#[locked("u:<text>", on_busy = Err(Failure::Lock(Error::NotInitialized)))]
async fn an_enum_inside(text: &str) -> Result<u8, Failure> {
    Ok(text.parse()?)
}

#[locked("t")]
pub async fn a_box() -> Result<(), Box<dyn StdError>> {
    Err("text")?;
    Ok(())
}

#[locked("t")]
pub async fn a_result_in_an_option() -> Result<Option<Result<u8, Failure>>, Failure> {
    Ok(Some(Err(Failure::Lock(Error::NotInitialized))))
}

pub fn main() {}

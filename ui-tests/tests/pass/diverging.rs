//! Bodies that do not come to their end, and one-line bodies.
#![deny(warnings)]
#![allow(clippy::unwrap_used, reason = "the case")]

use verrou::{Error, locked};

#[locked("t")]
pub async fn panics() -> Result<u8, Error> {
    panic!("on purpose")
}

#[locked("t")]
pub async fn returns() -> Result<u8, Error> {
    #[allow(clippy::needless_return, reason = "as without the attribute")]
    return Ok(1);
}

#[locked("t")]
pub async fn loops() -> Result<u8, Error> {
    loop {
        std::future::pending::<()>().await;
    }
}

#[locked("t")]
pub async fn fails() -> Result<u8, Error> {
    #[allow(clippy::needless_return)]
    return Err(returns().await.unwrap_err());
}

#[locked("t")]
pub async fn one_line() -> Result<u8, Error> { Ok(1) }

#[locked("t")]
pub async fn unit() -> Result<(), Error> { Ok(()) }

pub fn main() {}

//! Behind `cfg` and `cfg_attr`.
#![deny(warnings)]
#![allow(clippy::non_minimal_cfg, reason = "the case")]

use verrou::{Error, locked};

#[cfg_attr(all(), locked("t:<id>"))]
pub async fn with(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[cfg_attr(any(), locked("t:<nothing>"))]
pub async fn without(id: u64) -> Result<u64, Error> {
    Ok(id)
}

#[cfg(all())]
#[locked("t")]
#[cfg_attr(all(), doc = "Has documentation.")]
pub async fn there() -> Result<(), Error> {
    Ok(())
}

#[cfg(any())]
#[locked("t:<nothing>")]
pub async fn not_there() -> Result<(), Error> {}

#[locked("t:<id>")]
pub async fn statements(id: u64) -> Result<u64, Error> {
    #[cfg(any())]
    let id = nothing;
    #[cfg(all())]
    let id = id + 1;
    Ok(id)
}

pub fn main() {}

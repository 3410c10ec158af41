//! `#[must_use]`, `#[track_caller]`-like and documentation attributes stay on the function.
#![deny(warnings, missing_docs, unused_must_use)]

//! Has documentation.

use verrou::{Error, locked};

/// Documented.
#[locked("t")]
#[must_use = "the number matters"]
#[doc(alias = "count")]
pub async fn number() -> Result<u8, Error> {
    Ok(1)
}

/// Old.
#[deprecated(note = "use `number`")]
#[locked("t")]
pub async fn old() -> Result<u8, Error> {
    Ok(1)
}

#[locked("t")]
#[cold]
#[inline(never)]
async fn cold() -> Result<u8, Error> {
    Ok(1)
}

pub fn main() {
    #[allow(deprecated)]
    drop(old());
    drop(number());
    drop(cold());
}

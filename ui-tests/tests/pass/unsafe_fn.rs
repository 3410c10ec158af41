//! Qualifiers, attributes, `#[cfg]` on parameters, inner attributes, documentation.
#![deny(warnings, missing_docs)]
#![allow(clippy::non_minimal_cfg, clippy::mixed_attributes_style, clippy::redundant_pub_crate, reason = "the case")]
#![allow(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]

//! A crate with documentation.

use verrou::{Error, locked};

/// Reads.
///
/// # Safety
/// `pointer` must be valid.
#[locked("t")]
#[must_use = "reads for nothing otherwise"]
#[inline]
pub async unsafe fn read(pointer: &*const u8) -> Result<u8, Error> {
    Ok(unsafe { **pointer })
}

/// Has attributes inside.
#[locked("t:<id>")]
pub(crate) async fn inner_attributes(id: u8) -> Result<u8, Error> {
    #![allow(unused_variables)]
    //! More documentation.
    let unused = 1;
    Ok(id)
}

/// Has parameters that are not there.
#[locked("t:<id>")]
pub async fn conditional(#[allow(unused_mut)] mut id: u8, #[cfg(any())] gone: u8, #[cfg(all())] here: u8) -> Result<u8, Error> {
    #[cfg(any())]
    let id = id + gone;
    Ok(id + here)
}

pub fn main() {
    drop(inner_attributes(1));
}

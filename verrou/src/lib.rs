//! Named locks for async Rust.

// `#[locked]` expands to paths into `::verrou`, also in this crate's own tests and examples.
#[allow(unused_extern_crates)]
extern crate self as verrou;

mod clock;
pub mod drivers;
mod error;
mod key;
mod options;
mod owner;
pub mod store;
mod token;

pub use error::{Cause, ConnectKind, Error, Outcome};
pub use options::{LockOptions, OnLost, Retry, Wait};
pub use store::LockStore;
pub use token::FencingToken;
#[cfg(feature = "macros")]
pub use verrou_macros::{key, locked};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

// Stand-in until the core is here.
mod private_stub;
pub use private_stub::{LockGuard, Verrou, VerrouBuilder};

//! Named locks for async Rust.

// `#[locked]` expands to paths into `::verrou`, also in this crate's own tests and examples.
extern crate self as verrou;

mod clock;
pub mod drivers;
mod error;
mod key;
mod options;
mod owner;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
mod token;

pub use error::{Cause, ConnectKind, Error, Outcome};
pub use options::{LockOptions, OnLost, Retry, Wait};
pub use store::LockStore;
pub use token::FencingToken;

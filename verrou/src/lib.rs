#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// `#[locked]` expands to paths into `::verrou`, also in this crate's own tests and examples.
#[allow(unused_extern_crates)]
extern crate self as verrou;

mod body;
mod call;
mod clock;
pub mod docs;
pub mod drivers;
mod error;
mod guard;
mod hold;
mod holder;
mod keeper;
mod key;
mod last_tokens;
mod lock;
mod observe;
mod options;
mod owner;
mod pass;
mod reentry;
mod registered;
// The crate's own name is taken by the `extern crate` above.
#[path = "verrou.rs"]
mod registry;
mod sabotage;
mod scope;
mod serialized;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;
mod token;
mod turnstile;
mod wait;
mod who;

pub use error::{Cause, ConnectKind, Error, Outcome};
pub use guard::LockGuard;
pub use holder::Holder;
pub use lock::{Lock, LockFactory, Pages};
pub use options::{LockOptions, OnLost, Retry, Wait};
pub use registry::{Verrou, VerrouBuilder};
pub use scope::{ScopeGuard, current, global, init};
pub use serialized::SerializedLock;
pub use store::LockStore;
pub use token::FencingToken;
#[cfg(feature = "macros")]
pub use verrou_macros::{key, locked};

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

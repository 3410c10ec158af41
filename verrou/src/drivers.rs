//! The stores that verrou brings. Each has one file that implements the contract, and a folder of its own beside it if it
//! needs more; [`MemoryStore`] is the one to read first.

mod memory;
#[cfg(feature = "sqlite")]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteBuilder, SqliteStore};

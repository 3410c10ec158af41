//! The stores that verrou brings. Each is one file; [`MemoryStore`] is the one to read first.

mod memory;

pub use memory::MemoryStore;

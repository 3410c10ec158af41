//! Tests for drivers, and stores that fail on purpose.
//!
//! - [`contract_suite!`] runs every promise of [`store`](crate::store) against a driver, one named test for each.
//! - [`FaultStore`] stands between verrou and a store, and delays, fails or hangs the calls it is told to.
//! - [`clock::advance`] moves the time of leases by hand.
//!
//! All of it may panic: a panic is how a test fails.

mod backend;
mod bench;
mod cases;
pub mod clock;
mod fault_store;
mod faults;
mod suite;

pub use crate::contract_suite;
pub use backend::{Backend, Shared};
pub use fault_store::FaultStore;
pub use faults::{Op, Rule};
pub use suite::{Case, cases};

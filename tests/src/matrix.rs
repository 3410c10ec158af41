//! The fault matrix: real processes take locks in every way there is, while something is done to them or to their store,
//! and the history of what they saw is checked.
//!
//! A *cell* is one fault on one driver, once. What happens when follows from a seed; what the processes make of it does
//! not, for they are real.

mod cell;
mod fault;
pub mod order;
mod pulse;
pub mod report;
pub mod sabotage;

mod stand;
mod workers;

pub use cell::{Cell, Run};
pub use fault::Fault;
pub use stand::{Driver, Stand};

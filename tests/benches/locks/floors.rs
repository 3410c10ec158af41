//! The bare work that a lock cannot be faster than, by the same client crates with the same settings as the drivers.

pub(crate) mod memory;
pub(crate) mod redis;
pub(crate) mod sql;

/// The names of the floors in the report.
pub(crate) const PINGS: &str = "`PING` x2";
pub(crate) const SET_NX: &str = "`SET NX PX` + scripted delete";
pub(crate) const SELECTS: &str = "`SELECT 1` x2";
pub(crate) const COMMITS: &str = "two bare commits";
pub(crate) const ONE_COMMITTER: &str = "two bare commits, one connection";
pub(crate) const MAP: &str = "one `std::sync::Mutex` map";

//! The promises of verrou, each by a test that is named after it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod bad_input;
mod cancellation;
mod edges;
mod faults;
mod guard;
mod links;
mod passing;
mod processes;
mod purging;
mod reentry;
mod send_sync;
mod tidy;
mod waiting;
mod who;

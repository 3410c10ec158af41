//! The promises of verrou, each by a test that is named after it.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod guard;
mod waiting;

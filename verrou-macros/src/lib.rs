//! The attribute `#[locked]` of the `verrou` crate.

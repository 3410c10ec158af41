//! What goes wrong ends the bench, with what it was.

/// The value.
///
/// # Panics
/// If it is an error: a figure beside one would mean nothing.
pub(crate) fn must<T, E: std::fmt::Display>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(done) => done,
        Err(error) => panic!("{what}: {error}"),
    }
}

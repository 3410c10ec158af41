//! What the tests of verrou share: how to wait for a condition, and the processes that they start.

use std::time::{Duration, Instant};

/// No condition of a test takes longer; a test that reaches it has found a hang.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` is true, looking every few milliseconds.
///
/// # Panics
/// After [`DEADLINE`], with what was waited for.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The result of `future`, within [`DEADLINE`].
///
/// # Panics
/// After [`DEADLINE`], with what was waited for.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

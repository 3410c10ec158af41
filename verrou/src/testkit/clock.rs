//! The clock of leases, moved by hand.

use std::time::Duration;

/// Moves the boot-time clock of this process forward by `by`, and wakes what sleeps on it.
///
/// Leases, deadlines and waits of every verrou instance in the process see the jump, and so do the leases of a
/// [`MemoryStore`](crate::drivers::MemoryStore) and of an SQLite file as this process judges them: do not share such a file
/// with other processes meanwhile. A server does not see it: its clock is its own, and to its eyes this process has lost
/// its leases too early, which is safe.
///
/// There is one such clock in a process and no way back: call it only in a test that has its process to itself, as under
/// `cargo nextest`, in a test binary with one test, or in a documentation example.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use verrou::drivers::MemoryStore;
/// use verrou::store::{AcquireRequest, Acquired, InspectRequest, LockStore, Owner, StoredKey};
/// use verrou::testkit::clock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryStore::new();
/// let key = StoredKey::new("", "report")?;
/// let request = AcquireRequest::new(key.clone(), Owner::random()?, Duration::from_secs(3600));
/// assert!(matches!(store.acquire(request).await?, Acquired::Granted { .. }));
///
/// clock::advance(Duration::from_secs(3601));
/// assert_eq!(store.inspect(InspectRequest::new(key)).await?, None);
/// # Ok(())
/// # }
/// ```
pub fn advance(by: Duration) {
    crate::clock::advance(by);
}

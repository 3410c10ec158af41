//! What the tests of verrou share: waiting for a condition, processes of their own, servers that freeze and links that break, and
//! a resource that compares tokens.

#[cfg(target_os = "linux")]
pub mod clock_shim;
pub mod company;
mod cycling;
pub mod dropping;
pub mod example;
pub mod handover;
pub mod history;
#[cfg(target_os = "linux")]
pub mod matrix;
mod process;
pub mod proxy;
mod resource;
pub mod secrets;
pub mod servers;
pub mod several;
pub mod site;
pub mod unknown;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use cycling::Cycling;
pub use matrix::Driver;
pub use process::Process;
pub use proxy::{Link, Proxy};
pub use resource::Resource;
pub use site::Site;

/// No condition of a test takes longer; a test that reaches it has found a hang.
pub const DEADLINE: Duration = Duration::from_secs(60);

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

/// Microseconds of the wall clock, which the processes of one machine share.
#[must_use]
pub fn wall_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A folder of one test, removed with all that is in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    ///
    /// # Panics
    /// If the system's folder for temporary files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!(
            "verrou-test-{}-{}-{number}",
            std::process::id(),
            wall_micros()
        );
        let folder = std::env::temp_dir().join(name);
        if let Err(error) = std::fs::create_dir(&folder) {
            panic!("cannot make {}: {error}", folder.display());
        }
        Self(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it, as text.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The URL of an SQLite store in it.
    #[must_use]
    pub fn sqlite(&self) -> String {
        format!("sqlite:{}", self.file("locks.db"))
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! When the listener looks at the file again.

use std::path::Path;
use std::time::Duration;

/// The pause between two looks where nothing rings.
const POLL: Duration = Duration::from_millis(1);

/// The longest pause where the log rings. A ring may be missed; this keeps a hint within 5 ms all the same.
#[cfg(target_os = "linux")]
const POLL_RUNG: Duration = Duration::from_millis(3);

/// A writer rings with its first write, before its commit can be seen; the looks that follow come after these pauses.
#[cfg(target_os = "linux")]
const LOOKS: [Duration; 6] = [
    Duration::from_micros(30),
    Duration::from_micros(60),
    Duration::from_micros(120),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_micros(1000),
];

/// After how many commits in a row that concerned nobody the pause is the longest.
#[cfg(target_os = "linux")]
const IDLE_COMMITS: u32 = 4;

/// What the last look found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Nothing,
    /// A commit, and nobody waited for what it freed.
    Commit,
    Hint,
}

/// Wakes the listener when the file's log is written to, where the system can tell; else after a short pause.
pub(super) struct Doorbell {
    #[cfg(target_os = "linux")]
    bell: Option<linux::Bell>,
    #[cfg(target_os = "linux")]
    next_look: usize,
    #[cfg(target_os = "linux")]
    idle_commits: u32,
}

#[cfg(not(target_os = "linux"))]
impl Doorbell {
    pub(super) fn new(_: &Path) -> Self {
        Self {}
    }

    pub(super) async fn wait(&mut self, _: Look) {
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(target_os = "linux")]
impl Doorbell {
    /// For a file that a connection of this process has read already, so that its log exists.
    pub(super) fn new(file: &Path) -> Self {
        Self {
            bell: linux::Bell::new(file).ok(),
            next_look: LOOKS.len(),
            idle_commits: 0,
        }
    }

    /// Waits until it is time to look again. Blocks its thread, which has nothing else to do, for some milliseconds.
    pub(super) async fn wait(&mut self, last: Look) {
        let Some(bell) = &self.bell else {
            // No descriptors left for bells.
            tokio::time::sleep(POLL).await;
            return;
        };
        match last {
            Look::Nothing => {}
            Look::Commit => self.idle_commits = (self.idle_commits + 1).min(IDLE_COMMITS),
            Look::Hint => self.idle_commits = 0,
        }
        if last != Look::Nothing {
            self.next_look = LOOKS.len();
            if self.idle_commits > 0 {
                // Others write a lot: do not keep up with each of their commits.
                std::thread::sleep(POLL * self.idle_commits / IDLE_COMMITS);
            }
        }
        if let Some(pause) = LOOKS.get(self.next_look) {
            self.next_look += 1;
            std::thread::sleep(*pause);
        } else if bell.rings_within(POLL_RUNG) {
            self.next_look = 0;
        } else {
            self.idle_commits = 0;
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify;

    /// An inotify watch. It opens neither file: a descriptor of theirs that is closed would drop SQLite's locks.
    pub(super) struct Bell(OwnedFd);

    impl Bell {
        pub(super) fn new(file: &Path) -> rustix::io::Result<Self> {
            let bell =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let mut log = file.as_os_str().to_owned();
            log.push("-wal");
            // A user's pool may keep a rollback journal: then it is the file itself that is written to.
            inotify::add_watch(&bell, Path::new(&log), inotify::WatchFlags::MODIFY)
                .or_else(|_| inotify::add_watch(&bell, file, inotify::WatchFlags::MODIFY))?;
            Ok(Self(bell))
        }

        /// Blocks until the file is written to, at most this long.
        pub(super) fn rings_within(&self, limit: Duration) -> bool {
            let limit = Timespec::try_from(limit).ok();
            let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
            // An interruption is an early look.
            let rang = poll(&mut descriptors, limit.as_ref()).is_ok_and(|ready| ready > 0);
            if rang {
                let mut events = [0_u8; 4096];
                while rustix::io::read(&self.0, &mut events).is_ok_and(|length| length > 0) {}
            }
            rang
        }
    }
}

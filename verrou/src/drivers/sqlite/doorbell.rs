//! When the listener looks at the file again.

use std::time::Duration;

/// The pause between two looks where nothing rings.
const POLL: Duration = Duration::from_millis(1);

/// What the last look found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Nothing,
    /// A commit, and nobody waited for what it freed.
    Commit,
    Hint,
}

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Doorbell;
#[cfg(target_os = "linux")]
pub(super) use linux::Doorbell;

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::path::Path;

    use super::{Look, POLL};

    /// Nothing rings: the listener looks after a short pause.
    pub(in super::super) struct Doorbell;

    impl Doorbell {
        pub(in super::super) fn new(_: &Path) -> Self {
            Self
        }

        pub(in super::super) async fn wait(&mut self, _: Look) {
            tokio::time::sleep(POLL).await;
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, ReadFlags, WatchFlags};

    use super::{Look, POLL};

    /// A writer rings with its first write, before its commit can be seen; the looks that follow come after these pauses.
    const LOOKS: [Duration; 6] = [
        Duration::from_micros(30),
        Duration::from_micros(60),
        Duration::from_micros(120),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_micros(1000),
    ];

    /// Each later pause is twice as long as the one before it, up to this: a writer may be kept from its processor between
    /// its write and its commit. A store that closes waits for the end of it.
    const REST: Duration = Duration::from_millis(25);

    /// The longest pause where it is not the log that rings: then a commit may come without a ring.
    const UNSURE: Duration = Duration::from_millis(3);

    /// After how many commits in a row that concerned nobody the pause is the longest.
    const IDLE_COMMITS: u32 = 4;

    /// Wakes the listener when the file's log is written to, where the system can tell; else after a short pause.
    pub(in super::super) struct Doorbell {
        file: PathBuf,
        bell: Option<Bell>,
        /// How many looks there were since the last ring.
        looks: usize,
        pause: Duration,
        idle_commits: u32,
    }

    impl Doorbell {
        /// For a file that a connection of this process has read already, so that its log exists.
        pub(in super::super) fn new(file: &Path) -> Self {
            Self {
                file: file.to_owned(),
                bell: Bell::new(file).ok(),
                looks: 0,
                pause: REST,
                idle_commits: 0,
            }
        }

        /// Waits until it is time to look again. Blocks its thread, which has nothing else to do, for some milliseconds.
        pub(in super::super) async fn wait(&mut self, last: Look) {
            let Some(bell) = &mut self.bell else {
                // No descriptors or watches left, or no log there.
                tokio::time::sleep(POLL).await;
                self.bell = Bell::new(&self.file).ok();
                self.looks = 0;
                return;
            };
            match last {
                Look::Nothing => {}
                Look::Commit => self.idle_commits = (self.idle_commits + 1).min(IDLE_COMMITS),
                Look::Hint => self.idle_commits = 0,
            }
            if last != Look::Nothing {
                self.looks = LOOKS.len();
                if self.idle_commits > 0 {
                    // Others write a lot: do not keep up with each of their commits.
                    std::thread::sleep(POLL * self.idle_commits / IDLE_COMMITS);
                }
            }
            if let Some(pause) = LOOKS.get(self.looks) {
                // More rings of the same commit are no news.
                self.looks += 1;
                self.pause = *pause;
                std::thread::sleep(*pause);
                return;
            }
            self.pause = (self.pause * 2).min(bell.longest);
            match bell.rings_within(self.pause) {
                Ring::None => {
                    if self.pause == bell.longest {
                        self.idle_commits = 0;
                    }
                    if bell.longest == UNSURE {
                        // There may be a log by now.
                        self.bell = Bell::new(&self.file).ok();
                    }
                }
                Ring::Written => self.looks = 0,
                Ring::Gone => self.bell = None,
            }
        }
    }

    enum Ring {
        None,
        Written,
        /// The file that was watched is no longer at its place.
        Gone,
    }

    /// An inotify watch. It opens neither file: a descriptor of theirs that is closed would drop SQLite's locks.
    struct Bell {
        watch: OwnedFd,
        longest: Duration,
    }

    impl Bell {
        fn new(file: &Path) -> rustix::io::Result<Self> {
            let watch =
                inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let mut log = file.as_os_str().to_owned();
            log.push("-wal");
            // An unlinked file that is still open changes its attributes, and no more.
            let what = WatchFlags::MODIFY
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            let longest = match inotify::add_watch(&watch, Path::new(&log), what) {
                Ok(_) => REST,
                // A user's pool may keep a rollback journal: then it is the file itself that is written to.
                Err(_) => inotify::add_watch(&watch, file, what).map(|_| UNSURE)?,
            };
            Ok(Self { watch, longest })
        }

        /// Blocks until the file is written to, at most this long.
        fn rings_within(&self, limit: Duration) -> Ring {
            let limit = Timespec::try_from(limit).ok();
            let mut descriptors = [PollFd::new(&self.watch, PollFlags::IN)];
            // An interruption is an early look.
            if !poll(&mut descriptors, limit.as_ref()).is_ok_and(|ready| ready > 0) {
                return Ring::None;
            }
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&self.watch, &mut buffer);
            let mut ring = Ring::Written;
            while let Ok(event) = events.next() {
                // Whatever else than a write, also that the watch has ended.
                if !(ReadFlags::MODIFY | ReadFlags::QUEUE_OVERFLOW).contains(event.events()) {
                    ring = Ring::Gone;
                }
            }
            ring
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const SOON: Duration = Duration::from_secs(10);

        #[test]
        fn a_log_that_is_made_anew_is_watched_anew() -> std::io::Result<()> {
            let dir = std::env::temp_dir().join(format!("verrou-doorbell-{}", std::process::id()));
            std::fs::create_dir(&dir)?;
            let (file, log) = (dir.join("x.db"), dir.join("x.db-wal"));
            for path in [&file, &log] {
                std::fs::write(path, "")?;
            }
            let bell = Bell::new(&file)?;
            assert!(bell.longest == REST, "it watches the log");
            std::fs::write(&log, "a commit")?;
            assert!(matches!(bell.rings_within(SOON), Ring::Written));
            assert!(matches!(bell.rings_within(Duration::ZERO), Ring::None));
            std::fs::remove_file(&log)?;
            assert!(matches!(bell.rings_within(SOON), Ring::Gone));
            assert!(Bell::new(&file)?.longest == UNSURE, "there is no log");
            std::fs::write(&log, "")?;
            let bell = Bell::new(&file)?;
            std::fs::write(&log, "a commit")?;
            assert!(matches!(bell.rings_within(SOON), Ring::Written));
            std::fs::remove_dir_all(&dir)
        }
    }
}

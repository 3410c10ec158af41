//! The one clock of leases and waits: time since boot, suspend included.
//!
//! `std::time::Instant` and tokio's timers stand still while the machine sleeps, so a lease judged by them would
//! outlive its expiry at the store. On Linux [`Moment::now`] therefore reads `CLOCK_BOOTTIME`; elsewhere the nearest
//! thing there is.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

/// A point on the boot-time clock of this machine, in nanoseconds; means nothing elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

/// What `testkit::clock::advance` has added to the clock of this process, in nanoseconds.
static ADVANCED: AtomicU64 = AtomicU64::new(0);

/// A timer of the runtime is set for no longer than this: its clock stands still in a suspend and does not see
/// [`advance`], so a long sleep has to look at ours now and then.
const LONGEST_NAP: Duration = Duration::from_secs(1);

impl Moment {
    /// Later than every real moment: "never".
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn now() -> Self {
        Self(boot_nanos().saturating_add(ADVANCED.load(Ordering::Relaxed)))
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// `self + duration`, at most [`Moment::NEVER`].
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// `self - duration`, at least the time of boot.
    pub(crate) fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time left until `self`; zero if it has passed.
    pub(crate) fn remaining(self) -> Duration {
        self.since(Self::now())
    }

    pub(crate) fn has_passed(self) -> bool {
        Self::now() >= self
    }
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "boot+{:?}", Duration::from_nanos(self.0))
    }
}

/// `duration` in nanoseconds, at most `u64::MAX` (584 years).
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds of UTC by the wall clock, which may step: for the floor of tokens and for what crosses machines.
pub(crate) fn wall_micros() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn boot_nanos() -> u64 {
    nanos_of(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn boot_nanos() -> u64 {
    nanos_of(rustix::time::clock_gettime(
        rustix::time::ClockId::Monotonic,
    ))
}

#[cfg(unix)]
fn nanos_of(time: rustix::time::Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(not(unix))]
fn boot_nanos() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    // One second on, so that a moment before the start is no underflow.
    nanos(START.get_or_init(std::time::Instant::now).elapsed()) + 1_000_000_000
}

/// Waits until `deadline` has passed on this clock. Needs a tokio runtime with its timers enabled.
///
/// Cancel safe: it holds nothing.
pub(crate) async fn sleep_until(deadline: Moment) {
    loop {
        let left = deadline.remaining();
        if left.is_zero() {
            return;
        }
        nap(left.min(LONGEST_NAP)).await;
    }
}

#[cfg(not(feature = "testkit"))]
async fn nap(length: Duration) {
    tokio::time::sleep(length).await;
}

/// With the test kit a nap also ends when [`advance`] moves the clock.
#[cfg(feature = "testkit")]
async fn nap(length: Duration) {
    let before = ADVANCED.load(Ordering::Acquire);
    let mut moved = std::pin::pin!(MOVED.notified());
    moved.as_mut().enable();
    if ADVANCED.load(Ordering::Acquire) != before {
        return;
    }
    let _ = tokio::time::timeout(length, moved).await;
}

#[cfg(feature = "testkit")]
static MOVED: tokio::sync::Notify = tokio::sync::Notify::const_new();

/// Moves the clock of this process forward and wakes everything that waits on it.
#[cfg(feature = "testkit")]
pub(crate) fn advance(by: Duration) {
    ADVANCED.fetch_add(nanos(by), Ordering::AcqRel);
    MOVED.notify_waiters();
}

/// The time elapsed before `future` was ready.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Polls `future` until it is ready or `deadline` has passed, and leaves it where it is: a call that was sent must not
/// be dropped here.
///
/// A future that is ready at its first poll costs no timer, and needs no runtime.
pub(crate) async fn until<F: Future + Unpin>(
    deadline: Moment,
    future: &mut F,
) -> Result<F::Output, Elapsed> {
    let ready = std::future::poll_fn(|cx| {
        Poll::Ready(match Pin::new(&mut *future).poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await;
    if let Some(output) = ready {
        return Ok(output);
    }
    let timer = sleep_until(deadline);
    let mut timer = std::pin::pin!(timer);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(cx) {
            return Poll::Ready(Ok(output));
        }
        timer.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// As [`until`], without a runtime, or on one that has ended: a thread of its own looks at the clock. For what is rare.
pub(crate) async fn until_anywhere<F: Future + Unpin>(
    deadline: Moment,
    future: &mut F,
) -> Result<F::Output, Elapsed> {
    let mut alarm = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let alarm = alarm.get_or_insert_with(|| Alarm::at(deadline));
        Pin::new(&mut alarm.rings).poll(cx).map(|_| Err(Elapsed))
    })
    .await
}

/// A thread that waits for a moment, no longer than somebody else does.
struct Alarm {
    /// Its other end goes with the thread.
    rings: oneshot::Receiver<()>,
    _leash: mpsc::Sender<()>,
}

impl Alarm {
    fn at(deadline: Moment) -> Self {
        let ((ring, rings), (leash, end)) = (oneshot::channel(), mpsc::channel());
        let thread = std::thread::Builder::new().name("verrou-alarm".to_owned());
        // Without a thread it rings at once.
        let _ = thread.spawn(move || {
            let _ring: oneshot::Sender<()> = ring;
            while let left @ 1.. = nanos(deadline.remaining()) {
                let nap = Duration::from_nanos(left).min(LONGEST_NAP);
                if end.recv_timeout(nap) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        });
        Self {
            rings,
            _leash: leash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let now = Moment::now();
        assert_eq!(now.after(Duration::MAX), Moment::NEVER);
        assert_eq!(now.before(Duration::MAX), Moment::from_nanos(0));
        assert_eq!(now.since(now.after(Duration::from_secs(1))), Duration::ZERO);
    }

    #[test]
    fn time_passes_and_never_goes_back() {
        let mut last = Moment::now();
        for _ in 0..1000 {
            let now = Moment::now();
            assert!(now >= last);
            last = now;
        }
    }
}

//! Every option of a lock: its default, its setter, its check.

use std::time::Duration;

use crate::error::Error;

/// The length of a lease unless told otherwise.
const DEFAULT_TTL: Duration = Duration::from_secs(20);
/// Longer than a ttl, so that a dead holder does not mean a timeout.
const DEFAULT_WAIT: Wait = Wait::For(Duration::from_secs(30));
/// A lease shorter than a few round trips could not be renewed.
pub(crate) const MIN_TTL: Duration = Duration::from_millis(10);
/// Ten years: every engine can add it to its clock.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long `acquire` waits for a key that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// As long as it takes. A store that fails still ends the wait at once.
    Forever,
    /// Not at all: one try, then [`Error::Busy`].
    Never,
    /// At most this long, then [`Error::Timeout`].
    For(Duration),
}

/// Bounds of the polling that backs the wake-ups of a store.
///
/// A store that tells its waiters makes them try when the key is free; the polling only bounds what a lost wake-up
/// costs. Delays grow from `min_delay` to `max_delay` with jitter, and never reach past the holder's expiry as the
/// store told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// How often an acquire asks the store at the most; `None` for no bound. 0 is an error.
    pub attempts: Option<u32>,
    /// The first delay; at least 1 ms.
    pub min_delay: Duration,
    /// The longest delay; not below `min_delay`.
    pub max_delay: Duration,
}

impl Retry {
    /// No bound on attempts, delays from 5 ms to 250 ms.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: None,
            min_delay: Duration::from_millis(5),
            max_delay: Duration::from_millis(250),
        }
    }

    /// Asks the store at most `attempts` times.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets the shortest and the longest delay.
    #[must_use]
    pub const fn delays(mut self, min: Duration, max: Duration) -> Self {
        self.min_delay = min;
        self.max_delay = max;
        self
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

/// What happens to a body whose lock is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnLost {
    /// It is not polled again, and [`Error::Lost`] comes back.
    #[default]
    Cancel,
    /// It goes on, and can ask its guard.
    Continue,
}

/// The options of a lock. What is not set comes from the instance, and there from the defaults named here.
///
/// ```
/// # use std::time::Duration;
/// # use verrou::{LockOptions, Wait};
/// let options = LockOptions::new().ttl(Duration::from_secs(5)).wait(Wait::Never);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "options do nothing until they are given to a lock or an instance"]
pub struct LockOptions {
    ttl: Option<Duration>,
    wait: Option<Wait>,
    /// Set to no bound is not the same as not set.
    attempts: Option<Option<u32>>,
    delays: Option<(Duration, Duration)>,
    renew: Option<bool>,
    max_hold: Option<Duration>,
    min_hold: Option<Duration>,
    on_lost: Option<OnLost>,
    label: Option<&'static str>,
}

impl LockOptions {
    /// Nothing set.
    pub const fn new() -> Self {
        Self {
            ttl: None,
            wait: None,
            attempts: None,
            delays: None,
            renew: None,
            max_hold: None,
            min_hold: None,
            on_lost: None,
            label: None,
        }
    }

    /// The length of a lease, from 10 ms to 10 years; default 20 s.
    ///
    /// A dead holder blocks the key for no longer than this. With renewal it does not bound the work.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long an acquire waits; default 30 s.
    pub const fn wait(mut self, wait: Wait) -> Self {
        self.wait = Some(wait);
        self
    }

    /// The bounds of the polling; see [`Retry`] for the defaults.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.attempts = Some(retry.attempts);
        self.delays = Some((retry.min_delay, retry.max_delay));
        self
    }

    /// How often an acquire asks the store at the most; no bound by default. 0 is an error.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(Some(attempts));
        self
    }

    /// Both delays of [`Retry`] at once.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delays = Some((delay, delay));
        self
    }

    /// Whether a held lease is extended until it is released; default yes.
    ///
    /// Without renewal the lock is lost at the end of its first lease, unless the guard extends it by hand.
    pub const fn renew(mut self, renew: bool) -> Self {
        self.renew = Some(renew);
        self
    }

    /// The longest time that a lock is held, renewals and extensions included; no bound by default.
    ///
    /// At the bound the guard is lost and the key released.
    pub const fn max_hold(mut self, max_hold: Duration) -> Self {
        self.max_hold = Some(max_hold);
        self
    }

    /// The shortest time that the key stays taken, however the holder ends; 0 by default, at most the ttl.
    ///
    /// For work that must not be repeated too soon. `release` returns at once all the same.
    pub const fn min_hold(mut self, min_hold: Duration) -> Self {
        self.min_hold = Some(min_hold);
        self
    }

    /// What happens to the body of `run` or `#[locked]` when the lock is lost; it is cancelled by default.
    pub const fn on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = Some(on_lost);
        self
    }

    /// The name under which metrics show this lock; default the first key's template in `#[locked]`, else nothing.
    ///
    /// Of few values: it labels metrics, for which keys would be too many.
    pub const fn label(mut self, label: &'static str) -> Self {
        self.label = Some(label);
        self
    }

    /// What is set here, and from `defaults` what is not.
    pub(crate) fn or(self, defaults: Self) -> Self {
        Self {
            ttl: self.ttl.or(defaults.ttl),
            wait: self.wait.or(defaults.wait),
            attempts: self.attempts.or(defaults.attempts),
            delays: self.delays.or(defaults.delays),
            renew: self.renew.or(defaults.renew),
            max_hold: self.max_hold.or(defaults.max_hold),
            min_hold: self.min_hold.or(defaults.min_hold),
            on_lost: self.on_lost.or(defaults.on_lost),
            label: self.label.or(defaults.label),
        }
    }

    pub(crate) fn without_max_hold(mut self) -> Self {
        self.max_hold = None;
        self
    }

    /// The values that hold, all checked.
    pub(crate) fn resolve(self) -> Result<Terms, Error> {
        let retry = Retry::new();
        let (min_delay, max_delay) = self.delays.unwrap_or((retry.min_delay, retry.max_delay));
        let terms = Terms {
            ttl: self.ttl.unwrap_or(DEFAULT_TTL),
            wait: self.wait.unwrap_or(DEFAULT_WAIT),
            retry: Retry {
                attempts: self.attempts.unwrap_or(None),
                min_delay,
                max_delay,
            },
            renew: self.renew.unwrap_or(true),
            max_hold: self.max_hold,
            min_hold: self.min_hold.unwrap_or_default(),
            on_lost: self.on_lost.unwrap_or_default(),
            label: self.label.unwrap_or(""),
        };
        terms.check()?;
        Ok(terms)
    }
}

/// The options of one acquisition: complete and checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
    pub(crate) wait: Wait,
    pub(crate) retry: Retry,
    pub(crate) renew: bool,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) min_hold: Duration,
    pub(crate) on_lost: OnLost,
    pub(crate) label: &'static str,
}

/// What of its terms a held lock is under: without those of the wait, for there may be many held locks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldTerms {
    pub(crate) ttl: Duration,
    pub(crate) max_hold: Option<Duration>,
    pub(crate) min_hold: Duration,
    pub(crate) label: &'static str,
    pub(crate) renew: bool,
    pub(crate) on_lost: OnLost,
}

impl HeldTerms {
    pub(crate) fn margin(&self) -> Duration {
        margin(self.ttl)
    }
}

impl Terms {
    pub(crate) fn held(&self) -> HeldTerms {
        let Self {
            ttl,
            renew,
            max_hold,
            min_hold,
            on_lost,
            label,
            ..
        } = *self;
        HeldTerms {
            ttl,
            max_hold,
            min_hold,
            label,
            renew,
            on_lost,
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_ttl("ttl", self.ttl)?;
        if self.min_hold > self.ttl {
            return Err(Error::invalid_option(
                "min_hold",
                format!(
                    "{:?} is longer than the ttl of {:?}; raise the ttl",
                    self.min_hold, self.ttl
                ),
            ));
        }
        if let Some(max_hold) = self.max_hold {
            if max_hold < MIN_TTL {
                return Err(Error::invalid_option(
                    "max_hold",
                    format!("{max_hold:?} is shorter than 10 ms"),
                ));
            }
            if max_hold < self.min_hold {
                return Err(Error::invalid_option(
                    "max_hold",
                    format!(
                        "{max_hold:?} is shorter than the min_hold of {:?}",
                        self.min_hold
                    ),
                ));
            }
        }
        if self.retry.attempts == Some(0) {
            return Err(Error::invalid_option(
                "attempts",
                "0 attempts would never ask the store; give at least 1",
            ));
        }
        if self.retry.min_delay < Duration::from_millis(1) {
            return Err(Error::invalid_option(
                "retry",
                format!(
                    "a delay of {:?} would flood the store; give at least 1 ms",
                    self.retry.min_delay
                ),
            ));
        }
        if self.retry.max_delay < self.retry.min_delay {
            return Err(Error::invalid_option(
                "retry",
                "max_delay is shorter than min_delay",
            ));
        }
        Ok(())
    }

    /// How long before the store's expiry a guard gives up.
    pub(crate) fn margin(&self) -> Duration {
        margin(self.ttl)
    }
}

/// `max(ttl/20, min(10 ms, ttl/4))`: clock rates may differ by 5 %, and a short lease keeps most of its length.
pub(crate) fn margin(ttl: Duration) -> Duration {
    (ttl / 20).max(Duration::from_millis(10).min(ttl / 4))
}

/// A lease of `ttl` can be kept.
pub(crate) fn check_ttl(option: &'static str, ttl: Duration) -> Result<(), Error> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(());
    }
    Err(Error::invalid_option(
        option,
        format!(
            "{ttl:?} is outside of 10 ms to 10 years; renewal keeps a lock for as long as it is wanted"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(options: LockOptions) -> &'static str {
        match options.resolve() {
            Err(Error::InvalidOption { option, .. }) => option,
            other => panic!("expected InvalidOption, got {other:?}"),
        }
    }

    #[test]
    fn a_ttl_is_from_10_ms_to_10_years() {
        for bad in [
            Duration::ZERO,
            Duration::from_millis(9),
            Duration::MAX,
            MAX_TTL + Duration::from_nanos(1),
        ] {
            assert_eq!(refused(LockOptions::new().ttl(bad)), "ttl");
        }
        assert!(LockOptions::new().ttl(MIN_TTL).resolve().is_ok());
        assert!(LockOptions::new().ttl(MAX_TTL).resolve().is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(refused(LockOptions::new().attempts(0)), "attempts");
        assert_eq!(refused(LockOptions::new().delay(Duration::ZERO)), "retry");
        assert_eq!(
            refused(LockOptions::new().ttl(second).min_hold(2 * second)),
            "min_hold"
        );
        assert_eq!(
            refused(LockOptions::new().max_hold(Duration::ZERO)),
            "max_hold"
        );
        assert_eq!(
            refused(LockOptions::new().max_hold(second).min_hold(2 * second)),
            "max_hold"
        );
        let backwards = Retry::new().delays(2 * second, second);
        assert_eq!(refused(LockOptions::new().retry(backwards)), "retry");
    }

    #[test]
    fn a_lock_overrides_its_instance() -> Result<(), Error> {
        let instance = LockOptions::new().ttl(Duration::from_secs(5)).renew(false);
        let terms = LockOptions::new()
            .ttl(Duration::from_secs(1))
            .or(instance)
            .resolve()?;
        assert_eq!(terms.ttl, Duration::from_secs(1));
        assert!(!terms.renew);
        assert_eq!(terms.wait, DEFAULT_WAIT);
        Ok(())
    }

    #[test]
    fn the_margin_follows_the_design() {
        let cases = [(20_000, 1000), (1000, 50), (100, 10), (20, 5), (10, 2)];
        for (ttl, expected) in cases {
            let margin = margin(Duration::from_millis(ttl));
            assert_eq!(margin.as_millis(), expected, "ttl {ttl} ms");
        }
    }
}

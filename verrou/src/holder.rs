//! Who holds a lock, for people.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::token::FencingToken;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// How the holder describes itself: host and pid unless its instance says otherwise. Empty while the key of an ended
    /// holder is kept taken by `min_hold`.
    pub holder: String,
    /// The fencing token of its grant.
    pub token: FencingToken,
    /// What is left of its lease by the store's clock; a live holder renews it.
    pub remaining: Duration,
    /// When it got the lock, by this machine's clock.
    pub since: SystemTime,
}

impl Holder {
    /// `held_for` so far.
    pub(crate) fn new(
        holder: String,
        token: FencingToken,
        remaining: Duration,
        held_for: Duration,
    ) -> Self {
        let since = SystemTime::now()
            .checked_sub(held_for)
            .unwrap_or(UNIX_EPOCH);
        Self {
            holder,
            token,
            remaining,
            since,
        }
    }
}

/// A time of the day in UTC, as in `2026-11-25T18:12:03Z`.
pub(crate) struct Utc(pub(crate) SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (seconds.as_secs() / 86_400, seconds.as_secs() % 86_400);
        // Years that begin in March, so that a leap day is the last one; in eras of 400 of them.
        let day = days + 719_468;
        let (era, day) = (day / 146_097, day % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, later) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        let year = era * 400 + year + later;
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_others_write_it() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_764_094_323, "2025-11-25T18:12:03Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Utc(time).to_string(), text);
        }
    }
}

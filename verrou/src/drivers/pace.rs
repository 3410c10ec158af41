//! Whether the clock of a server goes as fast as ours.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Moment;
use crate::store::Doubt;

/// A difference above this is a step, however wrong the rates may be; but for the drift of a day.
const STEP: Duration = Duration::from_millis(500);

/// What undisciplined clocks drift apart, and a leap second is smeared by: 50 in a million.
const DRIFT: u32 = 20_000;

/// Some servers' clocks are cut to milliseconds, and all are adjusted a little now and then.
const GRAIN: Duration = Duration::from_millis(10);

/// What was heard of a server's clock. Clones of a store and its sibling share it.
#[derive(Default)]
pub(crate) struct Pace(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    last: Option<Reading>,
    doubts: Vec<Doubt>,
}

/// A time of the server, which it was at some moment between two of ours.
#[derive(Clone, Copy)]
struct Reading {
    micros: i64,
    sent: Moment,
    answered: Moment,
}

impl Pace {
    /// The server's clock said `micros` in the answer to what was sent at `sent`. Whether it has stepped since the last
    /// answer is told by [`take`](Self::take): rates that differ by less than 5 % and the time that both answers took are no
    /// step.
    pub(crate) fn heard(&self, micros: i64, sent: Moment) {
        let now = Reading {
            micros,
            sent,
            answered: Moment::now(),
        };
        let mut heard = self.heard_so_far();
        if let Some(earlier) = heard.last {
            if earlier.answered > now.sent {
                // An answer that was overtaken says nothing.
                return;
            }
            heard.doubts.extend(now.doubt(&earlier));
        }
        heard.last = Some(now);
    }

    /// The steps since this was last called.
    pub(crate) fn take(&self) -> Vec<Doubt> {
        std::mem::take(&mut self.heard_so_far().doubts)
    }

    fn heard_so_far(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn doubt(&self, earlier: &Self) -> Option<Doubt> {
        let longest = self.answered.since(earlier.sent);
        let shortest = self.sent.since(earlier.answered);
        let tolerance = (longest / 20).min(STEP.max(longest / DRIFT)) + GRAIN;
        let went = self.micros.saturating_sub(earlier.micros);
        let by = went.saturating_sub(micros((longest + shortest) / 2));
        let by = Duration::from_micros(by.unsigned_abs());
        if went > micros(longest + tolerance) {
            Some(Doubt::ClockSetForward { by })
        } else if went < micros(shortest.saturating_sub(tolerance)) {
            Some(Doubt::ClockSetBack { by })
        } else {
            None
        }
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn reading(micros: i64, sent: u64, answered: u64) -> Reading {
        let at = |millis| Moment::from_nanos(0).after(Duration::from_millis(millis));
        Reading {
            micros,
            sent: at(sent),
            answered: at(answered),
        }
    }

    /// What is said of a clock that has gone `went` seconds in 10, with answers that took 10 ms.
    fn after_ten(went: f64) -> Option<Doubt> {
        #[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
        let micros = (went * 1e6) as i64;
        reading(micros, 10_000, 10_010).doubt(&reading(0, 0, 10))
    }

    #[test]
    fn a_clock_of_another_rate_and_a_slow_answer_are_no_step() {
        for went in [9.53, 9.7, 10.0, 10.3, 10.47] {
            assert_eq!(after_ten(went), None, "{went}");
        }
        let slow = reading(3 * SECOND, 0, 5000);
        assert_eq!(reading(8 * SECOND, 5000, 5001).doubt(&slow), None);
        assert_eq!(reading(3 * SECOND, 5000, 5001).doubt(&slow), None);
    }

    #[test]
    fn a_step_of_a_second_is_found_however_long_the_time() {
        for minutes in [1, 200] {
            let passed = minutes * 60;
            let earlier = reading(0, 0, 10);
            let millis = passed * 1000;
            let heard = |micros| reading(micros, millis, millis + 10).doubt(&earlier);
            let went = i64::try_from(passed).unwrap_or(0) * SECOND;
            assert_eq!(heard(went), None);
            assert!(matches!(
                heard(went + SECOND),
                Some(Doubt::ClockSetForward { .. })
            ));
            assert!(matches!(
                heard(went - SECOND),
                Some(Doubt::ClockSetBack { .. })
            ));
        }
        assert!(matches!(
            after_ten(11.0),
            Some(Doubt::ClockSetForward { .. })
        ));
        assert!(matches!(
            after_ten(-3000.0),
            Some(Doubt::ClockSetBack { .. })
        ));
    }
}

//! What is seen of the server beside the answers of calls, and what of it may break a promise.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::setup::{self, RedisWarning};
use crate::clock::Moment;
use crate::drivers::pace::Pace;
use crate::store::Doubt;

/// How often the server is asked what it says of itself, as long as the connection stays. It rides on a renewal.
const LOOK: Duration = Duration::from_secs(10);

/// Shared by the clones of a store and its sibling.
#[derive(Default)]
pub(super) struct Outlook {
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run_id: Option<String>,
    warnings: Vec<RedisWarning>,
    /// When the server was last asked, and over which connection.
    looked: Option<(Moment, u64)>,
    doubts: Vec<Doubt>,
}

impl Outlook {
    /// What the set-up has found: of one server, or of all of a cluster, which is not looked at again.
    pub(super) fn new(infos: &[String], warnings: &[RedisWarning]) -> Self {
        let outlook = Self::default();
        let mut state = outlook.state();
        if let [info] = infos {
            state.run_id = run_id(info);
        }
        state.found(warnings.to_vec());
        drop(state);
        outlook
    }

    /// The server's clock, in an answer to what was sent at `sent`.
    pub(super) fn heard(&self, micros: i64, sent: Moment) {
        self.pace.heard(micros, sent);
    }

    /// Whether to ask the server for what it says of itself, over the connection of this number. The one who is told so has
    /// the turn, whether there is an answer or not: in an outage nobody else asks as well.
    pub(super) fn is_due(&self, link: u64) -> bool {
        let mut state = self.state();
        let due = state
            .looked
            .is_none_or(|(at, over)| over != link || at.after(LOOK).has_passed());
        if due {
            state.looked = Some((Moment::now(), link));
        }
        due
    }

    /// What the server says of itself.
    pub(super) fn looked(&self, info: &str) {
        let mut state = self.state();
        let run_id = run_id(info);
        if run_id.is_some() && state.run_id.is_some() && run_id != state.run_id {
            state.doubts.push(Doubt::OtherServer);
        }
        state.run_id = run_id.or(state.run_id.take());
        state.found(setup::warnings(info));
    }

    /// What has been seen since this was last called.
    pub(super) fn take(&self) -> Vec<Doubt> {
        let mut doubts = std::mem::take(&mut self.state().doubts);
        doubts.extend(self.pace.take());
        doubts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A doubt for each warning that was not there the last time.
    fn found(&mut self, warnings: Vec<RedisWarning>) {
        let new = warnings
            .iter()
            .filter(|warning| !self.warnings.contains(warning));
        self.doubts.extend(new.filter_map(|warning| match warning {
            RedisWarning::Eviction => Some(Doubt::MayEvict),
            RedisWarning::WeakPersistence => Some(Doubt::WeakPersistence),
            RedisWarning::AsynchronousFailover => Some(Doubt::AsynchronousFailover),
            // It grants nothing, so there is nothing to break.
            RedisWarning::Replica => None,
        }));
        self.warnings = warnings;
    }
}

fn run_id(info: &str) -> Option<String> {
    setup::field(info, "run_id").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "run_id:a\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\n\
                        connected_slaves:0\r\n";

    #[test]
    fn each_change_for_the_worse_is_told_once() {
        let outlook = Outlook::new(&[GOOD.to_owned()], &[]);
        let evicting = GOOD.replace("noeviction", "allkeys-lru");
        for (info, told) in [
            (GOOD, vec![]),
            (&evicting, vec![Doubt::MayEvict]),
            (&evicting, vec![]),
            (GOOD, vec![]),
            (&evicting, vec![Doubt::MayEvict]),
            (&evicting.replace("id:a", "id:b"), vec![Doubt::OtherServer]),
            (&evicting.replace("id:a", "id:b"), vec![]),
        ] {
            outlook.looked(info);
            assert_eq!(outlook.take(), told, "{info}");
        }
        assert!(outlook.is_due(1) && !outlook.is_due(1) && outlook.is_due(2));
    }
}

//! What has to be reached, as data, in the words that set it.

use tests::Driver;

use crate::attribute;
use crate::bench::Measure;
use crate::figures::{Figures, Spread, ratio};
use crate::floors::{COMMITS, PINGS, SET_NX};
use crate::options::Workload::{self, W1, W2, W3, W4, W5, W6};
use crate::ours::OURS;
use crate::peers::TIDY_DASHMAP;
use crate::{hand_over, held, many_keys, one_key, one_task};

/// A bound of a figure of ours: `factor` times the reference (if there is one), and `more`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) driver: Driver,
    pub(crate) workload: Workload,
    /// As issue 7 has it.
    pub(crate) words: &'static str,
    pub(crate) measure: Measure,
    pub(crate) side: Side,
    pub(crate) factor: f64,
    /// Another contender's figure, in the same workload and run.
    pub(crate) reference: Option<(&'static str, Measure)>,
    pub(crate) more: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    AtMost,
    AtLeast,
}

use Side::{AtLeast, AtMost};

const fn to(
    driver: Driver,
    workload: Workload,
    words: &'static str,
    measure: Measure,
    side: Side,
    times: (f64, &'static str, Measure),
    more: f64,
) -> Target {
    Target {
        driver,
        workload,
        words,
        measure,
        side,
        factor: times.0,
        reference: Some((times.1, times.2)),
        more,
    }
}

const fn plain(
    driver: Driver,
    workload: Workload,
    words: &'static str,
    measure: Measure,
    side: Side,
    bound: f64,
) -> Target {
    Target {
        driver,
        workload,
        words,
        measure,
        side,
        factor: 0.0,
        reference: None,
        more: bound,
    }
}

const P50: Measure = one_task::P50;
const RATE: Measure = many_keys::RATE;
const DEAD: Measure = one_key::DEAD_TIME;
const FAIR: Measure = one_key::APART_FAIRNESS;

use Driver::{Memory, MySql, Postgres, Redis, Sqlite};

/// The table of issue 7, row by row.
#[rustfmt::skip]
pub(crate) const TARGETS: &[Target] = &[
    to(Redis, W1, "p50 <= 1.25 x `PING` x2, token and its floor included", P50, AtMost, (1.25, PINGS, P50), 0.0),
    to(Postgres, W1, "p50 <= 0.85 x two bare commits", P50, AtMost, (0.85, COMMITS, P50), 0.0),
    to(MySql, W1, "p50 <= 1.08 x two bare commits", P50, AtMost, (1.08, COMMITS, P50), 0.0),
    to(Sqlite, W1, "p50 <= 1.15 x two bare commits", P50, AtMost, (1.15, COMMITS, P50), 0.0),
    to(Memory, W1, "p50 <= dashmap + tokio Mutex with clean-up", P50, AtMost, (1.0, TIDY_DASHMAP, P50), 0.0),

    to(Redis, W2, ">= 0.95 of `SET NX` + scripted delete", RATE, AtLeast, (0.95, SET_NX, RATE), 0.0),
    to(Postgres, W2, ">= 5 x two bare commits, by grouping", RATE, AtLeast, (5.0, COMMITS, RATE), 0.0),
    to(MySql, W2, ">= 3.5 x two bare commits", RATE, AtLeast, (3.5, COMMITS, RATE), 0.0),
    to(Sqlite, W2, ">= 9 x two bare commits", RATE, AtLeast, (9.0, COMMITS, RATE), 0.0),
    to(Memory, W2, ">= dashmap + tokio Mutex with clean-up, on two threads", RATE, AtLeast, (1.0, TIDY_DASHMAP, RATE), 0.0),

    to(Redis, W3, "dead time <= 0.7 x `PING` x2 in the same placement", DEAD, AtMost, (0.7, PINGS, DEAD), 0.0),
    to(Postgres, W3, "dead time <= 0.6 x two bare commits", DEAD, AtMost, (0.6, COMMITS, DEAD), 0.0),
    to(MySql, W3, "dead time <= 0.6 x two bare commits", DEAD, AtMost, (0.6, COMMITS, DEAD), 0.0),
    to(Sqlite, W3, "dead time <= 0.7 x two bare commits", DEAD, AtMost, (0.7, COMMITS, DEAD), 0.0),
    plain(Memory, W3, "dead time <= 3 us", DEAD, AtMost, 3.0),
    plain(Redis, W3, "<= 2 store commands a grant", one_key::COMMANDS, AtMost, 2.0),
    plain(Postgres, W3, "<= 2 statements a grant", one_key::COMMANDS, AtMost, 2.0),
    plain(MySql, W3, "<= 2 statements a grant", one_key::COMMANDS, AtMost, 2.0),

    plain(Redis, W3, "4 x 8: least >= 0.7 of most", FAIR, AtLeast, 0.7),
    plain(Redis, W3, "4 x 8: p99 wait <= 6 x its mean", one_key::APART_P99_MEAN, AtMost, 6.0),
    plain(Postgres, W3, "4 x 8: least >= 0.5 of most", FAIR, AtLeast, 0.5),
    plain(MySql, W3, "4 x 8: least >= 0.5 of most", FAIR, AtLeast, 0.5),
    plain(Sqlite, W3, "4 x 8: least >= 0.5 of most", FAIR, AtLeast, 0.5),

    // 2.5 round trips are 1.25 times two of them.
    to(Redis, W4, "p50 <= 2.5 round trips + 0.1 ms", hand_over::P50, AtMost, (1.25, PINGS, P50), 100.0),
    to(Postgres, W4, "p50 <= two bare commits + 1 ms", hand_over::P50, AtMost, (1.0, COMMITS, P50), 1000.0),
    to(MySql, W4, "p50 <= two bare commits + 5 % of the time it was held + 1 ms", hand_over::LESS_HELD, AtMost, (1.0, COMMITS, P50), 1000.0),
    plain(MySql, W4, "<= 20 statements/s on a key held for 10 s", hand_over::STATEMENTS, AtMost, 20.0),
    to(Sqlite, W4, "p50 <= two bare commits + 0.3 ms", hand_over::P50, AtMost, (1.0, COMMITS, P50), 300.0),
    plain(Sqlite, W4, "<= 1 % of a core while waiting", hand_over::WAITING, AtMost, 1.0),
    plain(Memory, W4, "p50 <= 10 us", hand_over::P50, AtMost, 10.0),

    plain(Redis, W5, "<= 3 % of a core", held::CPU, AtMost, 3.0),
    plain(Postgres, W5, "<= 3 % of a core", held::CPU, AtMost, 3.0),
    plain(MySql, W5, "<= 3 % of a core", held::CPU, AtMost, 3.0),
    plain(Sqlite, W5, "<= 3 % of a core", held::CPU, AtMost, 3.0),
    plain(Memory, W5, "<= 3 % of a core", held::CPU, AtMost, 3.0),
    // Hundreds of renewals in each; a hundred is where it stops to be that.
    plain(Redis, W5, "O(batches) commands", held::RENEWALS, AtLeast, 100.0),
    plain(Postgres, W5, "O(batches) commands", held::RENEWALS, AtLeast, 100.0),
    plain(MySql, W5, "O(batches) commands", held::RENEWALS, AtLeast, 100.0),
    plain(Redis, W5, "<= 600 bytes a lock", held::BYTES, AtMost, 600.0),
    plain(Postgres, W5, "<= 600 bytes a lock", held::BYTES, AtMost, 600.0),
    plain(MySql, W5, "<= 600 bytes a lock", held::BYTES, AtMost, 600.0),
    plain(Sqlite, W5, "<= 600 bytes a lock", held::BYTES, AtMost, 600.0),
    plain(Memory, W5, "<= 600 bytes a lock", held::BYTES, AtMost, 600.0),

    plain(Memory, W6, "the attribute costs <= 100 ns over `run`", attribute::OVER, AtMost, 100.0),
];

/// A target and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) target: Target,
    pub(crate) measured: Spread,
    /// What it had to be.
    pub(crate) bound: f64,
    /// Ours by the reference.
    pub(crate) ratio: Option<Spread>,
    pub(crate) met: bool,
}

/// What came of the targets whose figures there are.
pub(crate) fn verdicts(figures: &Figures) -> Vec<Verdict> {
    TARGETS
        .iter()
        .filter_map(|target| verdict(target, figures))
        .collect()
}

fn verdict(target: &Target, figures: &Figures) -> Option<Verdict> {
    let (driver, workload) = (target.driver, target.workload);
    let name = if workload == W6 {
        attribute::ATTRIBUTE
    } else {
        OURS
    };
    let ours = figures.find(driver, workload, name, target.measure.0)?;
    let measured = Spread::of(&ours.rounds)?;
    let (bound, ratio) = match target.reference {
        None => (target.more, None),
        Some((who, measure)) => {
            let reference = figures.find(driver, workload, who, measure.0)?;
            let ratio = ratio(ours, reference)?;
            // Where nothing is added, the rounds' own ratios decide: what disturbs one side of a round disturbs the other.
            let bound = if target.more == 0.0 {
                target.factor * measured.median / ratio.median
            } else {
                target.factor * Spread::of(&reference.rounds)?.median + target.more
            };
            (bound, Some(ratio))
        }
    };
    let met = match target.side {
        AtMost => measured.median <= bound,
        AtLeast => measured.median >= bound,
    };
    Some(Verdict {
        target: *target,
        measured,
        bound,
        ratio,
        met,
    })
}

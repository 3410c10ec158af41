//! Figures: what was measured, round by round, and what can be said about it.

use serde::Serialize;

use crate::contender::Role;
use crate::options::Workload;
use tests::Driver;

/// One measure of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    #[serde(serialize_with = "name_of")]
    pub(crate) driver: Driver,
    pub(crate) workload: Workload,
    pub(crate) contender: String,
    pub(crate) role: Role,
    pub(crate) measure: &'static str,
    pub(crate) unit: &'static str,
    /// One value for each round; the same place is the same round for all contenders.
    pub(crate) rounds: Vec<f64>,
}

fn name_of<S: serde::Serializer>(driver: &Driver, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(title(*driver))
}

/// The technology, as people write it in a heading.
pub(crate) fn title(driver: Driver) -> &'static str {
    match driver {
        Driver::Memory => "Memory",
        Driver::Sqlite => "SQLite",
        Driver::Redis => "Redis",
        Driver::Postgres => "Postgres",
        Driver::MySql => "MariaDB",
    }
}

/// A median and how far the rounds lie around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self {
            median: f64::midpoint(lower, upper),
            least,
            most,
        })
    }
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures(pub(crate) Vec<Series>);

impl Figures {
    /// Adds one round's value.
    pub(crate) fn push(
        &mut self,
        place: (Driver, Workload),
        who: (&str, Role),
        measure: (&'static str, &'static str),
        value: f64,
    ) {
        let (driver, workload) = place;
        let (measure, unit) = measure;
        let known = self.0.iter_mut().find(|series| {
            series.driver == driver
                && series.workload == workload
                && series.contender == who.0
                && series.measure == measure
        });
        match known {
            Some(series) => series.rounds.push(value),
            None => self.0.push(Series {
                driver,
                workload,
                contender: who.0.to_owned(),
                role: who.1,
                measure,
                unit,
                rounds: vec![value],
            }),
        }
    }

    pub(crate) fn find(
        &self,
        driver: Driver,
        workload: Workload,
        contender: &str,
        measure: &str,
    ) -> Option<&Series> {
        self.0.iter().find(|series| {
            series.driver == driver
                && series.workload == workload
                && series.contender == contender
                && series.measure == measure
        })
    }
}

/// `above` by `below`, round by round, so that what disturbs the machine disturbs both; the medians where the rounds do
/// not belong together.
pub(crate) fn ratio(above: &Series, below: &Series) -> Option<Spread> {
    if above.rounds.len() == below.rounds.len() {
        let pairs = above.rounds.iter().zip(&below.rounds);
        let ratios: Vec<f64> = pairs.map(|(above, below)| above / below).collect();
        return Spread::of(&ratios);
    }
    let ratio = Spread::of(&above.rounds)?.median / Spread::of(&below.rounds)?.median;
    Spread::of(&[ratio])
}

/// The value below which `part` of the samples lie; sorts them.
pub(crate) fn quantile<T: Copy + Ord + Into<i128>>(samples: &mut [T], part: f64) -> f64 {
    if samples.is_empty() {
        return f64::NAN;
    }
    let place = ((samples.len() - 1) as f64 * part).round() as usize;
    let (_, value, _) = samples.select_nth_unstable(place);
    let value: i128 = (*value).into();
    value as f64
}

//! A picture of a run: who held the key that everybody wants, and what was done to whom.

use std::path::Path;

use plotters::prelude::*;

use super::attempts::Attempt;
use super::check::Circumstances;
use super::{End, HOT, Nanos};

const SIZE: (u32, u32) = (1100, 320);

/// Draws the time line of the hot key into the file at `path`, as SVG: a row for each process, a bar for each time in
/// which a guard said that it was held, a cross for each loss, a shade for each fault.
///
/// # Errors
/// What the system or the drawing says.
pub fn draw(
    path: &Path,
    title: &str,
    attempts: &[Attempt],
    circumstances: &Circumstances,
) -> Result<(), Box<dyn std::error::Error>> {
    let hot: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| attempt.claim().is_some() && is_hot(attempt))
        .collect();
    let begun = attempts
        .iter()
        .map(|attempt| attempt.invoked)
        .min()
        .unwrap_or(0);
    let ended = attempts
        .iter()
        .map(|attempt| attempt.last)
        .max()
        .unwrap_or(begun + 1);
    let seconds = |at: Nanos| at.saturating_sub(begun) as f64 / 1e9;
    let rows = 1 + attempts
        .iter()
        .map(|attempt| attempt.id.process)
        .max()
        .unwrap_or(0);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..seconds(ended), 0.0..f64::from(rows))?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_desc("seconds")
        .y_labels(rows as usize + 1)
        .y_label_formatter(&|row| {
            if row.fract() == 0.0 && *row < f64::from(rows) {
                format!("process {row}")
            } else {
                String::new()
            }
        })
        .draw()?;
    chart.draw_series(circumstances.windows.iter().map(|window| {
        let (low, high) = match window.victim {
            Some(victim) => (f64::from(victim), f64::from(victim + 1)),
            None => (0.0, f64::from(rows)),
        };
        // A fault of one moment would not be seen.
        let to = seconds(window.to).max(seconds(window.from) + 0.01);
        Rectangle::new(
            [(seconds(window.from), low), (to, high)],
            RED.mix(0.18).filled(),
        )
    }))?;
    chart.draw_series(hot.iter().filter_map(|attempt| {
        let (from, to) = attempt.claim()?;
        let row = f64::from(attempt.id.process);
        let to = seconds(to).max(seconds(from) + 0.002);
        let colour = if matches!(attempt.end, Some((_, End::Lost))) {
            RED
        } else {
            BLUE
        };
        Some(Rectangle::new(
            [(seconds(from), row + 0.2), (to, row + 0.8)],
            colour.filled(),
        ))
    }))?;
    chart.draw_series(hot.iter().filter_map(|attempt| {
        let lost = attempt.lost?;
        let row = f64::from(attempt.id.process) + 0.5;
        Some(Cross::new((seconds(lost), row), 5, BLACK.stroke_width(2)))
    }))?;
    area.present()?;
    Ok(())
}

fn is_hot(attempt: &Attempt) -> bool {
    attempt.keys == [HOT]
}

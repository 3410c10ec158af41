//! A bar for each contender, one chart for each driver and workload.

use std::path::Path;

use plotters::prelude::*;

use crate::contender::Role;
use crate::figures::{Series, Spread, title};
use crate::options::Workload;
use crate::report::number;
use tests::Driver;

/// Draws the charts of `workload` into `folder`, and gives the names of the files.
///
/// # Errors
/// What the system or the drawing says.
pub(crate) fn draw(
    folder: &Path,
    workload: Workload,
    of_workload: &[&Series],
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let (name, measure) = (workload.name(), workload.main_measure());
    let mut files = Vec::new();
    for driver in Driver::ALL {
        let bars: Vec<(&Series, Spread)> = of_workload
            .iter()
            .filter(|series| series.driver == driver && series.measure == measure)
            .filter_map(|series| Some((*series, Spread::of(&series.rounds)?)))
            .collect();
        // One alone shows nothing.
        if bars.len() > 1 {
            let file = format!("{name}-{}.svg", driver.name());
            let caption = format!("{} {}: {measure}", title(driver), name.to_uppercase());
            chart(&folder.join(&file), &caption, &bars)?;
            files.push(file);
        }
    }
    Ok(files)
}

const BAR: u32 = 34;

fn chart(
    path: &Path,
    caption: &str,
    bars: &[(&Series, Spread)],
) -> Result<(), Box<dyn std::error::Error>> {
    let rows = u32::try_from(bars.len())?;
    let area = SVGBackend::new(path, (900, 90 + BAR * rows)).into_drawing_area();
    area.fill(&WHITE)?;
    let longest = bars
        .iter()
        .map(|(_, spread)| spread.most)
        .fold(0.0, f64::max);
    let unit = bars.first().map_or("", |(series, _)| series.unit);
    let names: Vec<String> = bars
        .iter()
        .map(|(series, spread)| format!("{} ({})", series.contender, number(spread.median)))
        .collect();
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(34)
        .y_label_area_size(330)
        .build_cartesian_2d(
            0.0..longest.max(f64::MIN_POSITIVE) * 1.05,
            f64::from(rows)..0.0,
        )?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .x_desc(unit)
        // Names stand in the middle of their bars, so labels are wanted at halves only.
        .y_labels(2 * bars.len() + 1)
        .y_label_formatter(&|row| {
            let named = (row.fract() - 0.5).abs() < 0.01;
            let name = names.get(row.floor() as usize).filter(|_| named);
            name.cloned().unwrap_or_default()
        })
        .draw()?;
    let at = |place: usize| u32::try_from(place).map_or(0.0, f64::from);
    chart.draw_series(bars.iter().enumerate().map(|(place, (series, spread))| {
        let colour = match series.role {
            Role::Ours => RGBColor(31, 119, 180),
            Role::Floor => RGBColor(170, 170, 170),
            Role::Peer => RGBColor(255, 127, 14),
            Role::OtherFloor => RGBColor(220, 220, 220),
        };
        let corners = [
            (0.0, at(place) + 0.2),
            (spread.median.max(0.0), at(place) + 0.8),
        ];
        Rectangle::new(corners, colour.filled())
    }))?;
    // From the least round to the most.
    chart.draw_series(bars.iter().enumerate().map(|(place, (_, spread))| {
        let middle = at(place) + 0.5;
        let ends = vec![(spread.least.max(0.0), middle), (spread.most, middle)];
        PathElement::new(ends, BLACK.stroke_width(1))
    }))?;
    area.present()?;
    Ok(())
}

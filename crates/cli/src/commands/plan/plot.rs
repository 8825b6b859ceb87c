//! The hours that a battery lasts, by measure, as SVG.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use dyn_perceiver::file::atomic_write;
use plotters::prelude::*;

use super::measures::Row;
use crate::output::failure::Failure;

const WIDTH: u32 = 900;
const ROW: u32 = 44;
/// Hours that stand for a battery that the sun keeps full.
const FOR_EVER: f64 = 10_000.0;
/// Hours below which a bar is not drawn shorter.
const SHORTEST: f64 = 0.1;

/// Draws a bar for each measure on a logarithmic axis of hours, and the mission's length as a line; the file is written beside
/// and renamed.
pub(super) fn draw(path: &Path, board: &str, rows: &[Row], mission: f64) -> Result<(), Failure> {
    let mut svg = String::new();
    paint(board, rows, mission, &mut svg).map_err(|error| anyhow!("drawing: {error}"))?;
    atomic_write(path, svg.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn paint(board: &str, rows: &[Row], mission: f64, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let hours = |row: &Row| row.hours.unwrap_or(FOR_EVER).clamp(SHORTEST, FOR_EVER);
    let longest = rows.iter().map(hours).fold(mission, f64::max) * 2.0;
    let shortest = rows.iter().map(hours).fold(mission, f64::min) / 2.0;
    let area = SVGBackend::with_string(svg, (WIDTH, 110 + ROW * rows.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("Hours of life on a {board}"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .build_cartesian_2d((shortest..longest).log_scale(), 0.0..rows.len() as f64)?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().x_desc("Hours").draw()?;
    for (place, row) in rows.iter().rev().enumerate() {
        let place = place as f64;
        let colour = if row.lasts { RGBColor(0, 114, 178) } else { RGBColor(150, 150, 150) };
        let bar = [(shortest, place + 0.1), (hours(row), place + 0.5)];
        chart.draw_series([Rectangle::new(bar, colour.filled())])?;
        let lasts = row.hours.map_or("for ever".to_owned(), |hours| format!("{hours:.1} h"));
        let text = format!("{}: {lasts}", row.measure);
        chart.draw_series([Text::new(text, (shortest, place + 0.9), ("sans-serif", 13))])?;
    }
    let line = vec![(mission, 0.0), (mission, rows.len() as f64)];
    chart.draw_series([PathElement::new(line, RGBColor(213, 94, 0).stroke_width(2))])?;
    area.present()?;
    Ok(())
}

//! Accuracy against cost as an SVG file.

use std::path::Path;

use anyhow::Context as _;
use dyn_perceiver::calibrate::evaluate::CostAccuracy;
use dyn_perceiver::calibrate::solver::ParetoCurves;
use dyn_perceiver::exit::CostUnit;
use dyn_perceiver::file::atomic_write;
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::output::failure::Failure;

const SIZE: (u32, u32) = (900, 560);
const TEXT: &str = "sans-serif";
const EXITS: RGBColor = RGBColor(30, 30, 30);
const FRONTIER: RGBColor = RGBColor(0, 90, 180);
const SWEEP: RGBColor = RGBColor(200, 90, 0);
const ORACLE: RGBColor = RGBColor(130, 130, 130);
const REALISED: RGBColor = RGBColor(0, 140, 90);

/// The unit on the axis, and what to divide costs by.
fn axis(unit: CostUnit, largest: f64) -> (&'static str, f64) {
    match unit {
        CostUnit::Macs if largest >= 1e9 => ("GMAC per frame", 1e9),
        CostUnit::Macs if largest >= 1e6 => ("MMAC per frame", 1e6),
        CostUnit::Macs => ("MAC per frame", 1.0),
        CostUnit::Seconds => ("ms per frame", 1e-3),
        CostUnit::Joules if largest >= 1.0 => ("J per frame", 1.0),
        CostUnit::Joules => ("mJ per frame", 1e-3),
    }
}

/// Draws the curves, the exits by name, and what runs realised, and writes the file whole.
pub(crate) fn draw(
    path: &Path,
    title: &str,
    unit: CostUnit,
    exits: &[String],
    curves: &ParetoCurves,
    realised: &[CostAccuracy],
) -> Result<(), Failure> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        lines(&root, title, unit, exits, curves, realised).map_err(|error| anyhow::anyhow!("drawing: {error}"))?;
    }
    atomic_write(path, svg.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn lines(
    root: &Area<'_>,
    title: &str,
    unit: CostUnit,
    exits: &[String],
    curves: &ParetoCurves,
    realised: &[CostAccuracy],
) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    let all = || [&curves.exits, &curves.frontier, &curves.oracle].into_iter().flatten();
    let largest = all().map(|p| p.cost).fold(0.0, f64::max);
    let (label, scale) = axis(unit, largest);
    let at = |p: &CostAccuracy| (p.cost / scale, 100.0 * p.accuracy);
    let bounds = |values: Vec<f64>| {
        let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        let margin = ((high - low) * 0.06).max(1e-6);
        low - margin..high + margin
    };
    // The sweep reaches down to policies that nobody would use; it may leave the frame.
    let (xs, ys) = (bounds(all().map(|p| at(p).0).collect()), bounds(all().map(|p| at(p).1).collect()));
    let inside = |p: &CostAccuracy| xs.contains(&at(p).0) && ys.contains(&at(p).1);
    let mut chart = ChartBuilder::on(root)
        .caption(title, (TEXT, 20))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(xs.clone(), ys.clone())?;
    chart
        .configure_mesh()
        .x_desc(label)
        .y_desc("accuracy, %")
        .axis_desc_style((TEXT, 16))
        .label_style((TEXT, 14))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .draw()?;
    let key =
        |color: RGBColor| move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 22, y)], color.stroke_width(2));
    let dot = |color: RGBColor| move |(x, y): (i32, i32)| Circle::new((x + 11, y), 4, color.filled());
    chart
        .draw_series(LineSeries::new(curves.oracle.iter().map(at), ORACLE.stroke_width(1)))?
        .label("best in hindsight (every policy tried)")
        .legend(key(ORACLE));
    if !curves.sweep.is_empty() {
        chart
            .draw_series(
                curves.sweep.iter().filter(|p| inside(p)).map(|p| TriangleMarker::new(at(p), 5, SWEEP.filled())),
            )?
            .label("authors' quantile sweep")
            .legend(move |(x, y)| TriangleMarker::new((x + 11, y), 5, SWEEP.filled()));
    }
    chart
        .draw_series(LineSeries::new(curves.frontier.iter().map(at), FRONTIER.stroke_width(2)))?
        .label("this frontier")
        .legend(key(FRONTIER));
    if !realised.is_empty() {
        chart
            .draw_series(realised.iter().map(|p| Circle::new(at(p), 5, REALISED.filled())))?
            .label("adaptive runs")
            .legend(dot(REALISED));
    }
    chart
        .draw_series(curves.exits.iter().map(|p| Cross::new(at(p), 5, EXITS.stroke_width(2))))?
        .label("one exit alone")
        .legend(move |(x, y)| Cross::new((x + 11, y), 5, EXITS.stroke_width(2)));
    chart.draw_series(exits.iter().zip(&curves.exits).map(|(name, p)| {
        let near_right = at(p).0 > xs.start + 0.9 * (xs.end - xs.start);
        let offset = if near_right { (-14 - 8 * name.len() as i32, 8) } else { (9, 8) };
        EmptyElement::at(at(p)) + Text::new(name.clone(), offset, (TEXT, 14).into_font().color(&EXITS))
    }))?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((TEXT, 14))
        .draw()?;
    root.present()?;
    Ok(())
}

//! One mission over time, as SVG.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use dyn_perceiver::calibrate::missions::{MissionOutcome, MissionSample, Simulation, Strategy};
use dyn_perceiver::file::atomic_write;
use plotters::prelude::*;

use crate::output::failure::Failure;

/// Colours that people with any colour vision can tell apart (Okabe and Ito, 2008).
const COLOURS: [(Strategy, RGBColor); 5] = [
    (Strategy::Full, RGBColor(213, 94, 0)),
    (Strategy::First, RGBColor(86, 180, 233)),
    (Strategy::StepsInHindsight, RGBColor(230, 159, 0)),
    (Strategy::Governor, RGBColor(0, 114, 178)),
    (Strategy::Oracle, RGBColor(0, 0, 0)),
];

/// Draws the mission of `seed` to `path`, written beside and renamed.
pub(crate) fn draw(simulation: &Simulation, seed: u64, path: &Path) -> Result<(), Failure> {
    let trace = simulation.trace(seed);
    let every = (600.0 / trace.tick).max(1.0) as usize;
    let runs: Vec<(Strategy, RGBColor, MissionOutcome)> = COLOURS
        .into_iter()
        .map(|(strategy, colour)| (strategy, colour, simulation.run(strategy, &trace, seed, every)))
        .collect();
    let mut svg = String::new();
    paint(simulation, &runs, &mut svg).map_err(|error| anyhow!("drawing: {error}"))?;
    atomic_write(path, svg.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

type Value = fn(&MissionSample) -> f32;

fn paint(
    simulation: &Simulation,
    runs: &[(Strategy, RGBColor, MissionOutcome)],
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (900, 1100)).into_drawing_area();
    root.fill(&WHITE)?;
    let hours = simulation.scenario().mission.duration.as_secs_f32() / 3600.0;
    let panels: [(&str, Value, bool); 4] = [
        ("State of charge (%)", |s| 100.0 * s.soc, true),
        ("Budget (J per frame)", |s| s.budget, false),
        ("Accuracy of the operating point (%)", |s| 100.0 * s.point_accuracy, true),
        ("Right answers in 10 minutes (%)", |s| 100.0 * s.accuracy, true),
    ];
    for ((title, value, all), area) in panels.into_iter().zip(root.split_evenly((4, 1))) {
        let shown = || runs.iter().filter(|(strategy, ..)| all || *strategy == Strategy::Governor);
        let values = || shown().flat_map(|(_, _, run)| run.samples.iter().map(value)).filter(|v| v.is_finite());
        let (low, high) = (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        let margin = 0.05 * (high - low);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..hours, low - margin..high + margin)?;
        chart.configure_mesh().x_desc("Hours").y_desc(title).label_style(("sans-serif", 13)).draw()?;
        for (strategy, colour, run) in shown() {
            let line = run.samples.iter().filter(|s| value(s).is_finite()).map(|s| (s.hours, value(s)));
            let style = colour.stroke_width(if *strategy == Strategy::Governor { 2 } else { 1 });
            let series = chart.draw_series(LineSeries::new(line, style))?.label(strategy.name());
            let colour = *colour;
            series.legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        if all {
            let labels = chart.configure_series_labels();
            let mut labels = labels;
            labels
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .label_font(("sans-serif", 13))
                .draw()?;
        }
    }
    root.present()?;
    Ok(())
}

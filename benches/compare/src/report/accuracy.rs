//! Accuracy against latency, energy and MACs, as figures 7, 8 and 10 of the Dyn-Perceiver paper plot it, and where frames leave.

use super::contest::{OURS, threads_name};
use super::document::{Document, Figure, Table};
use super::plot::{Axis, Bar, Bars, Chart, Line, Mark, Panel, Stroke, Style};
use super::styles::Styles;
use super::units::{count, joules, percent, seconds};
use crate::result::{Frontier, Point};
use crate::runs::Measured;

/// Plots and a table per frontier.
pub(super) fn add(document: &mut Document, measured: &Measured, styles: &Styles) -> anyhow::Result<()> {
    document.heading(4, "Accuracy against cost");
    if measured.frontiers.is_empty() {
        document.text("No operating points were run on labelled frames in this run.");
        return Ok(());
    }
    document.text(
        "Labelled frames under every operating point; to the upper left is better. Lines join adaptive operating points; hollow \
         marks are one exit alone; rings are full networks.",
    );
    for frontier in &measured.frontiers {
        let Frontier { model, threads, frames, energy, .. } = frontier;
        let place = format!("{model}, {}", threads_name(*threads));
        document.heading(5, &place);
        for (name, axis, cost) in costs(frontier) {
            let caption = match name {
                "energy" => format!("{place}: accuracy against {name} on {frames} frames. Energy: {energy}."),
                _ => format!("{place}: accuracy against {name} on {frames} frames."),
            };
            let chart = chart(format!("{model}: accuracy against {name}"), axis, cost, &frontier.points, styles);
            document.figure(Figure::new(format!("{name}-{model}-{threads}"), caption, chart.svg()?));
        }
        if let Some(bars) = shares(frontier) {
            let caption = format!("{place}: where frames leave under each operating point, exits in order of cost.");
            document.figure(Figure::new(format!("shares-{model}-{threads}"), caption, bars.svg()?));
        }
        if frontier.points.iter().all(|point| point.joules.is_none()) {
            document.text("No energy: no model of this machine's power is at hand.");
        }
        document.table(table(frontier, &place));
    }
    Ok(())
}

type Cost = Box<dyn Fn(&Point) -> Option<f64>>;

/// Name, axis, and figure of each kind of cost that was recorded.
fn costs(frontier: &Frontier) -> Vec<(&'static str, String, Cost)> {
    let largest = |cost: &dyn Fn(&Point) -> f64| frontier.points.iter().map(cost).fold(0.0, f64::max);
    let (macs, macs_unit) = match largest(&|point| point.macs) {
        most if most >= 1e9 => (1e9, "GMAC"),
        _ => (1e6, "MMAC"),
    };
    let mut costs: Vec<(&'static str, String, Cost)> =
        vec![("latency", "ms per frame (mean)".into(), Box::new(|point: &Point| Some(1e3 * point.mean_s)))];
    let energy = largest(&|point| point.joules.unwrap_or(0.0));
    if energy > 0.0 {
        let (unit, name) = if energy >= 1.0 { (1.0, "J") } else { (1e-3, "mJ") };
        let cost = Box::new(move |point: &Point| point.joules.map(|joules| joules / unit));
        costs.push(("energy", format!("{name} per frame (mean, idle power included)"), cost));
    }
    costs.push((
        "MACs",
        format!("{macs_unit} per frame (mean)"),
        Box::new(move |point: &Point| Some(point.macs / macs)),
    ));
    costs
}

/// How the points of a series are joined, drawn and called.
const SERIES: [(&str, Stroke, Mark, &str); 3] = [
    ("adaptive", Stroke::Solid, Mark::Filled, "adaptive"),
    ("exit", Stroke::None, Mark::Hollow, "one exit alone"),
    ("full", Stroke::None, Mark::Ringed, "full network"),
];

fn chart(title: String, axis: String, cost: Cost, points: &[Point], styles: &Styles) -> Chart {
    let mut runtimes: Vec<&str> = points.iter().map(|point| point.runtime.as_str()).collect();
    runtimes.sort_by_key(|runtime| (*runtime != OURS, *runtime));
    runtimes.dedup();
    let lines = runtimes.iter().flat_map(|runtime| {
        let cost = &cost;
        SERIES.iter().map(move |(series, stroke, mark, name)| {
            let mut points: Vec<(f64, f64)> = (points.iter())
                .filter(|point| point.runtime == *runtime && point.series == *series)
                .filter_map(|point| Some((cost(point)?, 100.0 * point.accuracy)))
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line { name: format!("{runtime}, {name}"), style: styles.of(runtime), stroke: *stroke, mark: *mark, points }
        })
    });
    let lines = lines.filter(|line| !line.points.is_empty()).collect();
    Chart { title, x: Axis::Figures(axis), y: "accuracy, %".into(), from_zero: false, lines }
}

/// Names of the exits: of the points that are one exit alone, if each exit has one, else numbers.
fn exit_names(frontier: &Frontier, exits: usize) -> Vec<String> {
    let alone: Vec<&str> = (frontier.points.iter())
        .filter(|point| point.runtime == OURS && point.series == "exit")
        .map(|point| point.name.trim_end_matches(" alone"))
        .collect();
    match alone.len() == exits {
        true => alone.into_iter().map(Into::into).collect(),
        false => (1..=exits).map(|exit| format!("exit {exit}")).collect(),
    }
}

fn shares(frontier: &Frontier) -> Option<Bars> {
    let points: Vec<&Point> =
        frontier.points.iter().filter(|point| point.series == "adaptive" && !point.shares.is_empty()).collect();
    let exits = points.iter().map(|point| point.shares.len()).max()?;
    let bar = |point: &&Point| Bar {
        name: point.name.clone(),
        parts: point.shares.iter().enumerate().map(|(exit, share)| (100.0 * share, Style::of(exit))).collect(),
        whiskers: None,
        value: percent(point.accuracy),
        inside: |share| Some(format!("{share:.0}")),
    };
    let legend = exit_names(frontier, exits).into_iter().enumerate().map(|(exit, name)| (name, Style::of(exit)));
    Some(Bars {
        title: format!("{}: where frames leave", frontier.model),
        legend: legend.collect(),
        panels: vec![Panel {
            title: "at the right: accuracy".into(),
            axis: "% of frames".into(),
            end: Some(100.0),
            bars: points.iter().map(bar).collect(),
        }],
    })
}

fn table(frontier: &Frontier, place: &str) -> Table {
    let columns = ["point", "runtime", "#accuracy", "#mean time", "#energy", "#MACs", "#leaving at each exit, %"];
    let mut table = Table::new(format!("{place}: operating points on {} frames", frontier.frames), &columns);
    for point in &frontier.points {
        let shares: Vec<String> = point.shares.iter().map(|share| digits_of_percent(*share)).collect();
        table.rows.push(vec![
            point.name.clone(),
            point.runtime.clone(),
            percent(point.accuracy),
            seconds(point.mean_s),
            point.joules.map_or("not known".into(), joules),
            count(point.macs),
            if shares.is_empty() { "—".into() } else { shares.join("/") },
        ]);
    }
    table
}

/// One decimal, unless it says nothing.
fn digits_of_percent(share: f64) -> String {
    let text = format!("{:.1}", 100.0 * share);
    text.strip_suffix(".0").unwrap_or(&text).into()
}

//! What `evaluate` prints.

use std::borrow::Cow;
use std::io::Write as _;
use std::num::NonZeroUsize;

use dyn_perceiver::calibrate::evaluate::CostAccuracy;
use dyn_perceiver::calibrate::solver::{Difference, ParetoCurves};
use dyn_perceiver::exit::CostUnit;
use dyn_perceiver::plan::Plan;
use serde::Serialize;

use super::{Args, Run};
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::Failure;
use crate::output::json::{self, Pairs};
use crate::output::out::Out;
use crate::output::records::Latency;
use crate::output::{table, text};

/// Costs at which the frontier is compared with the best in hindsight.
const COMPARED: usize = 50;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    policy: Cow<'a, str>,
    data: Cow<'a, str>,
    images: usize,
    unit: &'a str,
    threads: usize,
    runs: Vec<RunReport>,
    exits: Option<Vec<ExitReport<'a>>>,
    sweep: Option<DifferenceReport>,
    searched: Option<DifferenceReport>,
    oracle: Option<DifferenceReport>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RunReport {
    budget: f32,
    expected: Expected,
    accuracy: f64,
    /// Standard error of the accuracy.
    accuracy_error: f64,
    cost: f64,
    deviation: f64,
    /// Expected calibration error of the confidence, and of the probability where answers have one.
    confidence_error: f64,
    probability_error: Option<f64>,
    shares: Pairs<f64>,
    latency_ms: Latency,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Expected {
    accuracy: f64,
    accuracy_error: f64,
    cost: f64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ExitReport<'a> {
    exit: &'a str,
    cost: f64,
    accuracy: f64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct DifferenceReport {
    mean: f64,
    least: f64,
    at: f64,
}

/// The frontier against what else there is.
struct Differences {
    sweep: Option<Difference>,
    searched: Option<Difference>,
    oracle: Option<Difference>,
}

pub(super) fn print(
    args: &Args,
    (plan, threads): (&Plan, NonZeroUsize),
    unit: CostUnit,
    runs: &[Run],
    curves: Option<&ParetoCurves>,
    notes: &DataNotes,
) -> Result<(), Failure> {
    let differences = Differences {
        sweep: curves.and_then(ParetoCurves::against_sweep),
        searched: curves.and_then(ParetoCurves::against_searched),
        oracle: curves.and_then(|curves| curves.against_oracle(COMPARED)),
    };
    let images = runs.first().map_or(0, |run| run.frames);
    let exits = &plan.info().exits;
    let mut out = Out::stdout();
    if args.json {
        let difference = |d: Option<Difference>| d.map(|d| DifferenceReport { mean: d.mean, least: d.least, at: d.at });
        let exit = |(exit, point): (_, &CostAccuracy)| ExitReport { exit, cost: point.cost, accuracy: point.accuracy };
        let names = exits.iter().map(String::as_str);
        out.json(&Report {
            policy: json::path(args.policy()),
            data: json::path(&args.data.data),
            images,
            unit: unit.name(),
            threads: threads.get(),
            runs: runs.iter().map(|run| run_report(run, exits, images)).collect(),
            exits: curves.map(|curves| names.zip(&curves.exits).map(exit).collect()),
            sweep: difference(differences.sweep),
            searched: difference(differences.searched),
            oracle: difference(differences.oracle),
            skipped: notes.skipped(),
            warnings: notes.warnings(),
        })?;
        return Ok(());
    }
    writeln!(out, "{images} images, {} budgets; shares of frames by exit\n", runs.len())?;
    write!(out, "{}", runs_table(runs, exits, unit, images))?;
    let errors: Vec<_> = runs.iter().filter_map(|run| run.calibration_errors().1).collect();
    if errors.len() == runs.len() && !errors.is_empty() {
        let mean = |sum: f64| percent(sum / runs.len() as f64);
        let confidence = mean(runs.iter().map(|run| run.calibration_errors().0).sum());
        let probability = mean(errors.iter().sum());
        writeln!(out, "\nprobabilities are off by {probability} on average, confidences by {confidence}")?;
    }
    if let Some(curves) = curves {
        write!(out, "{}", curves_tables(curves, &differences, exits, unit))?;
    }
    Ok(())
}

fn share(left: usize, images: usize) -> f64 {
    left as f64 / images.max(1) as f64
}

fn run_report(run: &Run, exits: &[String], images: usize) -> RunReport {
    let (confidence_error, probability_error) = run.calibration_errors();
    RunReport {
        confidence_error,
        probability_error,
        accuracy_error: run.accuracy_error(),
        budget: run.budget,
        expected: Expected { accuracy: run.expected.1, accuracy_error: run.error, cost: run.expected.0 },
        accuracy: run.accuracy(),
        cost: run.mean_cost(),
        deviation: run.deviation(),
        shares: exits.iter().cloned().zip(run.left.iter().map(|&left| share(left, images))).collect(),
        latency_ms: run.latency().into(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn runs_table(runs: &[Run], exits: &[String], unit: CostUnit, images: usize) -> String {
    let names: Vec<_> = exits.iter().map(|exit| text::name(exit)).collect();
    let mut header = vec!["budget", "mean cost", "off by", "expected", "s.e.", "accuracy"];
    header.extend(names.iter().map(|name| name.as_ref()));
    header.extend(["mean ms", "p95 ms"]);
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let (mean, p95) = run.latency();
            let mut row = vec![table::cost(run.budget.into(), unit), table::cost(run.mean_cost(), unit)];
            row.extend([run.deviation(), run.expected.1, run.error, run.accuracy()].map(percent));
            row.extend(run.left.iter().map(|&left| table::percent(share(left, images))));
            row.extend([mean, p95].map(|ms| format!("{ms:.2}")));
            row
        })
        .collect();
    table::render(&header, &rows)
}

fn curves_tables(curves: &ParetoCurves, differences: &Differences, exits: &[String], unit: CostUnit) -> String {
    let row = |(exit, p): (&String, &CostAccuracy)| {
        vec![text::name(exit).into(), table::cost(p.cost, unit), percent(p.accuracy)]
    };
    let rows: Vec<Vec<String>> = exits.iter().zip(&curves.exits).map(row).collect();
    let alone = table::render(&["one exit alone", "cost", "accuracy"], &rows);
    let points = |share: f64| format!("{:+.2}", 100.0 * share);
    let rows: Vec<Vec<String>> = [
        ("the authors' sweep", differences.sweep),
        ("every policy tried on the same", differences.searched),
        ("the best in hindsight", differences.oracle),
    ]
    .into_iter()
    .filter_map(|(name, difference)| {
        let d = difference?;
        Some(vec![name.to_string(), points(d.mean), points(d.least), table::cost(d.at, unit)])
    })
    .collect();
    let header = ["percentage points, frontier less", "mean", "least", "at"];
    format!("\n{alone}\n{}", table::render(&header, &rows))
}

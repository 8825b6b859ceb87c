//! What `learn` tells when it is done.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::output::failure::Failure;
use crate::output::json::Pairs;
use crate::output::out::Out;
use crate::output::{table, text};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    pub(super) bundle: Cow<'a, str>,
    pub(super) classes: Pairs<usize>,
    pub(super) samples: usize,
    pub(super) views: usize,
    pub(super) skipped: usize,
    pub(super) exits: Vec<ExitReport>,
    pub(super) points: usize,
    pub(super) best_point: PolicyReport,
    pub(super) seconds: f64,
    pub(super) peak_bytes: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ExitReport {
    pub(super) exit: String,
    pub(super) macs: u64,
    pub(super) features: usize,
    pub(super) shrinkage: f64,
    pub(super) accuracy: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Photos of own classes that are called none of these, where that was asked for.
    pub(super) withheld: Option<usize>,
}

/// How sure the accuracy of a policy is that was chosen with the same photos: each part's by a policy chosen without it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PolicyReport {
    pub(super) accuracy: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Tells what was learned and written to `bundle`.
pub(super) fn show(bundle: &Path, json: bool, report: &Report<'_>, classes: usize) -> Result<(), Failure> {
    let mut out = Out::stdout();
    if json {
        return Ok(out.json(report)?);
    }
    let memory =
        report.peak_bytes.map_or(String::new(), |bytes| format!(", {} of memory at most", table::bytes(bytes)));
    let views = if report.views == 1 { String::new() } else { format!(", seen in {} ways each,", report.views) };
    writeln!(
        out,
        "learned  {classes} classes from {} photos{views} in {:.1} s{memory}",
        report.samples, report.seconds
    )?;
    writeln!(out, "bundle   {} ({} operating points)\n", text::shown(bundle), report.points)?;
    let rows: Vec<Vec<String>> = report
        .exits
        .iter()
        .map(|exit| {
            let interval = format!("{} to {}", table::percent(exit.low), table::percent(exit.high));
            vec![text::name(&exit.exit).into_owned(), table::count(exit.macs), table::percent(exit.accuracy), interval]
        })
        .collect();
    write!(out, "{}", table::render(&["exit", "MACs to it", "accuracy", "95 % interval"], &rows))?;
    let PolicyReport { accuracy, low, high } = report.best_point;
    let [accuracy, low, high] = [accuracy, low, high].map(table::percent);
    writeln!(out, "\npolicy   best operating point: {accuracy}, 95 % interval {low} to {high}")?;
    if let Some(withheld) = report.exits.last().and_then(|exit| exit.withheld) {
        writeln!(
            out,
            "reject   {withheld} of {} own photos are called none of these at the last exit",
            report.samples
        )?;
    }
    writeln!(out, "\nnext     dyn-perceiver run --model {} --camera /dev/video0", text::shown(bundle))?;
    Ok(())
}

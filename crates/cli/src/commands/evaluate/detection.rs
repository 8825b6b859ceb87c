//! `evaluate` for a detector: average precision, frame recall and cost, frame by frame as a loop would have it.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use dyn_perceiver::calibrate::detection::{AveragePrecision, Detected, Truth, average_precision, has_found};
use dyn_perceiver::dataset::{SkipReason, Skipped};
use dyn_perceiver::detector::{Detections, Detector, DetectorSettings};
use dyn_perceiver::exit::{CostUnit, ExitPolicy, Frontier, Mixer};
use dyn_perceiver::plan::Plan;
use serde::Serialize;

use super::{Args, BUDGETS};
use crate::args::policy::for_plan;
use crate::args::{cost, detection, pictures};
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::{Failure, OrInput as _, chain, wrong};
use crate::output::json::{self, Pairs};
use crate::output::out::Out;
use crate::output::{progress, table, text};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    /// The policy; none where all levels of every picture are computed.
    policy: Option<Cow<'a, str>>,
    data: Cow<'a, str>,
    pictures: usize,
    /// Pictures with an object.
    with_object: usize,
    unit: &'a str,
    runs: Vec<RunReport>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RunReport {
    /// The mean cost that was to be met; none of the run that always computes everything.
    budget: Option<f32>,
    cost: f64,
    ap50: Option<f64>,
    ap: Option<f64>,
    ap75: Option<f64>,
    ap_small: Option<f64>,
    ap_medium: Option<f64>,
    ap_large: Option<f64>,
    recall: Option<f64>,
    /// Share of the pictures with an object in which at least one is found.
    frame_recall: Option<f64>,
    /// Share of the pictures with an object that an exit ended.
    missed: Option<f64>,
    /// Share of the empty pictures that an exit ended.
    spared: Option<f64>,
    /// Share of the pictures by where they ended: an exit, or the finest level.
    shares: Pairs<f64>,
    /// Mean cost of the pictures that ended there.
    costs: Pairs<Option<f64>>,
    latency_mean_ms: f64,
}

/// One way to run the pictures, and what came of it.
struct Run<'a> {
    /// The frontier and its mixer; none for everything of every picture.
    chooser: Option<(&'a Frontier, Mixer)>,
    found: Vec<Detected>,
    /// Pictures that an exit ended: with an object, and empty.
    ended: [usize; 2],
    recalled: usize,
    /// For each outcome, pictures and their multiply-accumulates.
    outcomes: Vec<(usize, u64)>,
    seconds: f64,
}

impl<'a> Run<'a> {
    fn new(chooser: Option<(&'a Frontier, Mixer)>, outcomes: usize) -> Self {
        let (found, outcomes) = (vec![], vec![(0, 0); outcomes]);
        Run { chooser, found, ended: [0; 2], recalled: 0, outcomes, seconds: 0.0 }
    }

    fn policy<'b>(&'b mut self, full: &'b ExitPolicy) -> &'b ExitPolicy {
        match &mut self.chooser {
            Some((frontier, mixer)) => &frontier.points()[mixer.next_point(frontier)].policy,
            None => full,
        }
    }

    fn add(&mut self, plan: &Plan, image: u64, found: &Detections, truths: &[Truth]) {
        let macs = found.macs(plan);
        if let Some((_, mixer)) = &mut self.chooser {
            mixer.spent(macs as f32);
        }
        let (count, total) = &mut self.outcomes[found.outcome(plan)];
        (*count, *total) = (*count + 1, *total + macs);
        self.ended[usize::from(truths.is_empty())] += usize::from(found.gated_at.is_some());
        let boxes = pictures::detected(image, &found.boxes);
        self.recalled +=
            usize::from(boxes.iter().any(|one| truths.iter().any(|truth| !truth.crowd && has_found(truth, one))));
        self.found.extend(boxes);
        self.seconds += found.latency.as_secs_f64();
    }

    fn pictures(&self) -> usize {
        self.outcomes.iter().map(|outcome| outcome.0).sum()
    }

    fn mean_cost(&self) -> f64 {
        self.outcomes.iter().map(|outcome| outcome.1).sum::<u64>() as f64 / self.pictures().max(1) as f64
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(super) fn run(args: &Args, plan: &Arc<Plan>) -> Result<(), Failure> {
    let loaded = args.policy.as_deref().map(dyn_perceiver::policy_file::load).transpose().or_input()?;
    let calibrated = loaded.as_ref().or_else(|| plan.bundle().and_then(|bundle| bundle.policy.as_ref()));
    let frontier = calibrated.map(|calibrated| for_plan(calibrated, plan, args.policy())).transpose()?;
    let budgets = match frontier {
        Some(frontier) if frontier.unit() != CostUnit::Macs => {
            return wrong("the policy of a detector is in multiply-accumulates");
        }
        Some(frontier) if args.budget.is_empty() => spread(frontier),
        Some(frontier) => args.budget.iter().map(|text| cost::budget(text, frontier)).collect::<Result<_, _>>()?,
        None if !args.budget.is_empty() => return wrong("--budget needs a policy: name one with --policy"),
        None => vec![],
    };
    let full = detection::spelled_out(plan, None, None)?;
    let outcomes = plan.outcomes();
    let mut runs: Vec<Run<'_>> = budgets
        .iter()
        .map(|&budget| Run::new(frontier.map(|frontier| (frontier, Mixer::new(budget))), outcomes))
        .collect();
    runs.push(Run::new(None, outcomes));
    let mut notes = DataNotes::default();
    let (truths, with_object) = all(args, plan, &full, &mut runs, &mut notes)?;
    if runs.iter().all(|run| run.pictures() == 0) {
        notes.tell();
        return wrong(format!("{}: no picture could be used", args.data.data.display()));
    }
    let precisions: Vec<AveragePrecision> = runs.iter().map(|run| average_precision(&truths, &run.found)).collect();
    let budgets = budgets.into_iter().map(Some).chain([None]);
    let reports: Vec<RunReport> = runs
        .iter()
        .zip(&precisions)
        .zip(budgets)
        .map(|((run, precision), budget)| report(plan, run, precision, budget, with_object))
        .collect();
    let mut out = Out::stdout();
    let count = runs.last().map_or(0, Run::pictures);
    if args.json {
        out.json(&Report {
            policy: frontier.map(|_| json::path(args.policy())),
            data: json::path(&args.data.data),
            pictures: count,
            with_object,
            unit: CostUnit::Macs.name(),
            runs: reports,
            skipped: notes.skipped(),
            warnings: notes.warnings(),
        })?;
    } else {
        writeln!(out, "{count} pictures, {with_object} of them with an object\n")?;
        write!(out, "{}", rendered(plan, &reports))?;
    }
    notes.tell();
    notes.end()
}

/// Budgets evenly over the frontier, each once.
fn spread(frontier: &Frontier) -> Vec<f32> {
    let points = frontier.points();
    let (first, last) = (points[0].cost, points[points.len() - 1].cost);
    let mut budgets: Vec<f32> =
        (0..BUDGETS).map(|i| first + (last - first) * i as f32 / (BUDGETS - 1) as f32).collect();
    budgets.dedup();
    budgets
}

/// Runs every picture once for each run; the true boxes, and how many pictures have an object.
fn all(
    args: &Args,
    plan: &Arc<Plan>,
    full: &ExitPolicy,
    runs: &mut [Run<'_>],
    notes: &mut DataNotes,
) -> Result<(Vec<Truth>, usize), Failure> {
    let listed = pictures::open(&args.data, &args.load, plan)?;
    let mut detector = Detector::new(plan.clone(), DetectorSettings::default())?;
    let bar = progress::images(listed.len(), 0, args.json);
    let (mut truths, mut with_object, mut skipped) = (vec![], 0, vec![]);
    for (image, picture) in (0u64..).zip(&listed) {
        bar.inc(1);
        let frame = match pictures::read(&picture.path, args.data.strict)? {
            Ok(frame) => frame,
            Err(one) => {
                skipped.push(one);
                continue;
            }
        };
        let here: Vec<Truth> = pictures::truths(image, picture).collect();
        let mut found = Vec::with_capacity(runs.len());
        for run in runs.iter_mut() {
            match detector.detect_with(&frame, run.policy(full)) {
                Ok(one) => found.push(one),
                Err(error) if args.data.strict => return Err(error.into()),
                Err(error) => {
                    let reason = SkipReason::Unanswered(chain(&anyhow::Error::from(error)));
                    skipped.push(Skipped::new(&picture.path, reason));
                    break;
                }
            }
        }
        // A picture counts in all runs or in none.
        if found.len() == runs.len() {
            runs.iter_mut().zip(&found).for_each(|(run, found)| run.add(plan, image, found, &here));
            with_object += usize::from(!here.is_empty());
            truths.extend(here);
        }
    }
    bar.finish_and_clear();
    notes.skip(skipped);
    Ok((truths, with_object))
}

fn report(
    plan: &Plan,
    run: &Run<'_>,
    precision: &AveragePrecision,
    budget: Option<f32>,
    with_object: usize,
) -> RunReport {
    let (names, pictures) = (plan.info().outcome_names(), run.pictures());
    let of = |(name, &(count, _)): (&String, &(usize, u64))| (name.clone(), share(count, pictures).unwrap_or(0.0));
    let cost = |(name, &(count, macs)): (&String, &(usize, u64))| {
        (name.clone(), (count > 0).then(|| macs as f64 / count as f64))
    };
    RunReport {
        budget,
        cost: run.mean_cost(),
        ap50: precision.ap50,
        ap: precision.ap,
        ap75: precision.ap75,
        ap_small: precision.small,
        ap_medium: precision.medium,
        ap_large: precision.large,
        recall: precision.recall[2],
        frame_recall: share(run.recalled, with_object),
        missed: share(run.ended[0], with_object),
        spared: share(run.ended[1], pictures - with_object),
        shares: names.iter().zip(&run.outcomes).map(of).collect(),
        costs: names.iter().zip(&run.outcomes).map(cost).collect(),
        latency_mean_ms: 1e3 * run.seconds / pictures.max(1) as f64,
    }
}

fn rendered(plan: &Plan, reports: &[RunReport]) -> String {
    let names = plan.info().outcome_names();
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), table::percent);
    let row = |report: &RunReport| {
        let budget = report.budget.map_or("always full".to_owned(), |b| table::cost(b.into(), CostUnit::Macs));
        let mut row = vec![budget, table::cost(report.cost, CostUnit::Macs)];
        row.extend([report.ap50, report.ap, report.frame_recall, report.missed, report.spared].map(percent));
        row.push(format!("{:.2}", report.latency_mean_ms));
        row
    };
    let header = ["budget", "mean cost", "AP50", "AP50:95", "frame recall", "missed", "empty spared", "mean ms"];
    let rows: Vec<Vec<String>> = reports.iter().map(row).collect();
    let mut rendered = table::render(&header, &rows);
    let mut header = vec!["where pictures end"];
    let names: Vec<_> = names.iter().map(|name| text::name(name)).collect();
    header.extend(names.iter().map(AsRef::as_ref));
    let rows: Vec<Vec<String>> = reports
        .iter()
        .map(|report| {
            let budget = report.budget.map_or("always full".to_owned(), |b| table::cost(b.into(), CostUnit::Macs));
            std::iter::once(budget).chain(report.shares.values().map(|share| table::percent(*share))).collect()
        })
        .collect();
    rendered += "\n";
    rendered + &table::render(&header, &rows)
}

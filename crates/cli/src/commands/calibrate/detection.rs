//! `calibrate` for a detector: the exits that may end a frame and the level of boxes, from pictures with boxes.

use std::borrow::Cow;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dyn_perceiver::calibrate::certify::Limit;
use dyn_perceiver::calibrate::detection::{
    LevelPoint, LevelPolicy, Picture, Said as ExitSaid, Truth, Unless, level_frontier, replay_levels,
};
use dyn_perceiver::collect;
use dyn_perceiver::dataset::{CocoPicture, SkipReason, Skipped};
use dyn_perceiver::detector::{Detector, DetectorSettings};
use dyn_perceiver::exit::{
    CalibratedPolicy, CostUnit, ExitPolicy, ExitRule, Frontier, Guarantee, MAX_POINTS, OperatingPoint,
};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::ExitSet;
use serde::Serialize;

use super::{Args, share};
use crate::args::share::Share;
use crate::args::{detection, pictures};
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::{Failure, OrInput as _, chain, wrong};
use crate::output::json::{self, Pairs};
use crate::output::out::Out;
use crate::output::{progress, table, text};

/// Share of the pictures with an object that may be called empty, unless another is given.
const MISSED: f32 = 0.01;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    policy: Cow<'a, str>,
    model: String,
    pictures: usize,
    /// Pictures with an object.
    with_object: usize,
    unit: &'a str,
    /// Share of the pictures with an object that a gate may call empty...
    max_missed: f64,
    /// ...with this confidence.
    confidence: f64,
    /// Pictures with an object without which no gate can be certified.
    pictures_needed: usize,
    /// Whether any gate was certified.
    gated: bool,
    /// All levels of every picture, without a gate.
    full: PointReport,
    points: Vec<PointReport>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
}

/// What a policy comes to.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PointReport {
    ap50: Option<f64>,
    ap: Option<f64>,
    /// Share of the pictures with an object in which at least one is found.
    frame_recall: Option<f64>,
    /// Share of the pictures with an object that an exit ended.
    missed: Option<f64>,
    /// Share of the empty pictures that an exit ended.
    spared: Option<f64>,
    cost: f64,
    /// Share of the pictures by where they ended: an exit, or the finest level.
    shares: Pairs<f64>,
    /// From which confidence on an exit is believed.
    thresholds: Pairs<f64>,
    /// The finest level computed.
    level: String,
    /// Levels that are left out for what an exit says.
    unless: Vec<UnlessReport>,
}

/// A level that is left out, and finer ones with it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct UnlessReport {
    level: String,
    /// The exit that is asked last.
    exit: String,
    /// What it says.
    class: String,
    /// From which confidence on.
    confidence: f64,
}

/// Pictures by their places, and what the detector says of them.
type Done = Vec<(usize, Result<Picture, Skipped>)>;

/// Everything that a policy is looked for in.
struct Said {
    pictures: Vec<Picture>,
    truths: Vec<Truth>,
    /// The exits that tell an empty picture.
    exits: Vec<usize>,
}

pub(super) fn run(args: &Args, plan: &Arc<Plan>) -> Result<(), Failure> {
    if args.cost != "macs" {
        return wrong("policies of detectors are calibrated in multiply-accumulates: --cost macs");
    }
    let listed = pictures::open(&args.data, &args.load, plan)?;
    let mut notes = DataNotes::default();
    let said = examine(args, plan, &listed, &mut notes)?;
    let with_object = said.pictures.iter().filter(|picture| !picture.empty).count();
    if with_object == 0 {
        notes.tell();
        return wrong(format!("{}: no picture with an object could be used", args.data.data.display()));
    }
    let max_missed = share(args.max_loss.unwrap_or(Share::new(MISSED)));
    let confidence = share(args.confidence);
    let limit = Limit::new(max_missed, confidence).or_input()?;
    let exits = &said.exits;
    let cost = |asked: &[usize], goals: usize| {
        plan.macs_with_boxes(ExitSet::of(asked.iter().map(|&asked| exits[asked])), goals) as f64
    };
    let points = level_frontier(&said.pictures, &said.truths, &limit, cost);
    let full = LevelPolicy::new(vec![None; exits.len()], plan.goals().len());
    let full = replay_levels(&said.pictures, &said.truths, &full, cost);
    let frontier = frontier(plan, exits, &points)?;
    let gated = points.iter().any(|point| point.policy.gates.iter().flatten().any(|threshold| threshold.is_finite()));
    let guarantee = gated.then(|| Guarantee::new(max_missed as f32, confidence as f32, with_object as u32));
    let names = plan.info().outcome_names();
    let count = said.pictures.len();
    let names = names.iter().map(String::as_str);
    let calibrated = CalibratedPolicy::new(collect::digest(plan), names, count as u32, guarantee, frontier)?;
    dyn_perceiver::policy_file::save(&calibrated, &args.output)?;
    let mut out = Out::stdout();
    // Each set of exits that is tried has its part of what may go wrong.
    let sets = (1usize << exits.len().min(4)) - 1;
    let needed = Limit::new(max_missed, 1.0 - (1.0 - confidence) / sets.max(1) as f64).or_input()?.samples_needed();
    if args.json {
        out.json(&Report {
            policy: json::path(&args.output),
            model: collect::digest(plan).to_string(),
            pictures: count,
            with_object,
            unit: CostUnit::Macs.name(),
            max_missed,
            confidence,
            pictures_needed: needed,
            gated,
            full: report(plan, exits, &full),
            points: points.iter().map(|point| report(plan, exits, point)).collect(),
            skipped: notes.skipped(),
            warnings: notes.warnings(),
        })?;
    } else {
        writeln!(out, "pictures {count}, {with_object} of them with an object")?;
        writeln!(out, "policy   {} ({} points)", text::shown(&args.output), points.len())?;
        let (missed, sure) = (table::percent(max_missed), table::percent(confidence));
        match gated {
            true => writeln!(out, "gate     calls at most {missed} of them empty, with {sure} confidence")?,
            false if with_object < needed => {
                writeln!(out, "gate     none: at most {missed} with {sure} confidence takes {needed} with an object")?;
            }
            false => writeln!(out, "gate     none that keeps to {missed} with {sure} confidence is worth its cost")?,
        }
        write!(out, "\n{}", points_table(plan, exits, &points, &full))?;
    }
    notes.tell();
    notes.end()
}

/// Runs every picture to the last exit that tells an empty one and to the finest level, several pictures at once.
fn examine(args: &Args, plan: &Arc<Plan>, listed: &[CocoPicture], notes: &mut DataNotes) -> Result<Said, Failure> {
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let bar = progress::images(listed.len(), 0, args.json);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Done, Failure> {
        let mut detector = Detector::new(plan.clone(), DetectorSettings::default())?;
        let mut done = vec![];
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(picture) = listed.get(place) else { return Ok(done) };
            let found = match pictures::read(&picture.path, args.data.strict)? {
                Ok(frame) => match detector.examine(&frame) {
                    Ok(said) => Ok(picture_of(place as u64, picture, &said)),
                    Err(error) if args.data.strict => return Err(error.into()),
                    Err(error) => {
                        Err(Skipped::new(&picture.path, SkipReason::Unanswered(chain(&anyhow::Error::from(error)))))
                    }
                },
                Err(skipped) => Err(skipped),
            };
            done.push((place, found));
            bar.inc(1);
        }
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.min(listed.len())).map(|_| scope.spawn(work)).collect();
        // A worker that panicked is a defect: it is passed on.
        workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    bar.finish_and_clear();
    let mut all = parts.into_iter().collect::<Result<Vec<_>, Failure>>()?.concat();
    all.sort_by_key(|(place, _)| *place);
    let (mut said, mut truths, mut skipped) = (vec![], vec![], vec![]);
    for (place, found) in all {
        match found {
            Ok(picture) => {
                truths.extend(pictures::truths(picture.image, &listed[place]));
                said.push(picture);
            }
            Err(one) => skipped.push(one),
        }
    }
    notes.skip(skipped);
    Ok(Said { pictures: said, truths, exits: detection::presence_exits(plan.info()) })
}

fn picture_of(image: u64, picture: &CocoPicture, said: &dyn_perceiver::detector::Examined) -> Picture {
    // An exit without numbers is never believed.
    let exit = |&(_, reading): &(usize, Option<(usize, f32)>)| {
        let (class, confidence) = reading.map_or((0, -1.0), |(class, confidence)| (class, f64::from(confidence)));
        ExitSaid::new(class, class == said.nothing, confidence)
    };
    let exits = said.exits.iter().map(exit).collect();
    let found = said.levels.iter().map(|found| pictures::detected(image, found)).collect();
    Picture::new(image, picture.is_empty(), exits, found)
}

/// Share of the pictures by outcome: exits first, then goals.
fn shares(plan: &Plan, exits: &[usize], point: &LevelPoint) -> Vec<f64> {
    let mut shares = vec![0.0; plan.outcomes()];
    for (&exit, share) in exits.iter().zip(&point.gated) {
        shares[exit] = *share;
    }
    for (share, level) in shares.iter_mut().skip(plan.info().exits.len()).zip(&point.levels) {
        *share = *level;
    }
    shares
}

/// The exits that are asked, as a policy counts them, each with the confidence from which on it is believed.
fn gates(exits: &[usize], point: &LevelPoint) -> Vec<(usize, f64)> {
    exits.iter().zip(&point.policy.gates).filter_map(|(&exit, threshold)| Some((exit, (*threshold)?))).collect()
}

/// A point's policy as rules.
fn policy_of(plan: &Plan, exits: &[usize], point: &LevelPoint) -> Result<ExitPolicy, Failure> {
    let gates = gates(exits, point).into_iter().map(|(exit, threshold)| match threshold.is_finite() {
        true => (exit, ExitRule::Leave(threshold as f32)),
        false => (exit, ExitRule::Ask),
    });
    let mut unless = vec![];
    for rule in &point.policy.unless {
        let class = u8::try_from(rule.class).or_input()?;
        unless.push((rule.goal, ExitRule::Unless { class, confidence: rule.confidence as f32 }));
    }
    detection::policy(plan, &gates.collect::<Vec<_>>(), point.policy.goals, &unless)
}

fn frontier(plan: &Plan, exits: &[usize], points: &[LevelPoint]) -> Result<Frontier, Failure> {
    let mut chosen: Vec<OperatingPoint> = vec![];
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    for (place, point) in points.iter().enumerate() {
        if place % step != 0 && place + 1 != points.len() {
            continue;
        }
        let policy = policy_of(plan, exits, point)?;
        let shares: Vec<f32> = shares(plan, exits, point).into_iter().map(|share| share as f32).collect();
        let quality = point.precision.ap50.unwrap_or(0.0) as f32;
        // What is no better in the file's numbers is no other point.
        if chosen.last().is_none_or(|last| last.cost < point.cost as f32 && last.accuracy < quality) {
            chosen.push(OperatingPoint::new(policy, quality, point.cost as f32, &shares)?);
        }
    }
    Ok(Frontier::new(CostUnit::Macs, &chosen)?)
}

fn report(plan: &Plan, exits: &[usize], point: &LevelPoint) -> PointReport {
    let names = plan.info().outcome_names();
    let gates = gates(exits, point);
    let thresholds = gates.iter().filter(|gate| gate.1.is_finite()).map(|&(exit, gate)| (names[exit].clone(), gate));
    PointReport {
        ap50: point.precision.ap50,
        ap: point.precision.ap,
        frame_recall: point.frame_recall,
        missed: point.missed,
        spared: point.spared,
        cost: point.cost,
        shares: names.iter().cloned().zip(shares(plan, exits, point)).collect(),
        thresholds: thresholds.collect(),
        level: plan.goals()[point.policy.goals - 1].name.clone(),
        unless: unless(plan, exits, point),
    }
}

fn unless(plan: &Plan, exits: &[usize], point: &LevelPoint) -> Vec<UnlessReport> {
    let Some(&(exit, _)) = gates(exits, point).last() else { return vec![] };
    let report = |rule: &Unless| UnlessReport {
        level: plan.goals()[rule.goal].name.clone(),
        exit: plan.info().exits[exit].clone(),
        class: detection::frame_label(plan.info(), rule.class),
        confidence: rule.confidence,
    };
    point.policy.unless.iter().map(report).collect()
}

fn points_table(plan: &Plan, exits: &[usize], points: &[LevelPoint], full: &LevelPoint) -> String {
    let names = plan.info().outcome_names();
    let percent = |share: Option<f64>| share.map_or("-".to_owned(), table::percent);
    let row = |point: &LevelPoint| {
        let gates = gates(exits, point);
        let gate = gates.iter().map(|(exit, threshold)| match threshold.is_finite() {
            true => format!("{} {threshold:.3}", text::name(&names[*exit])),
            false => format!("{} asked", text::name(&names[*exit])),
        });
        let gate = if gates.is_empty() { "-".to_owned() } else { gate.collect::<Vec<_>>().join(", ") };
        let mut row = vec![table::cost(point.cost, CostUnit::Macs), gate];
        let mut level = text::name(&plan.goals()[point.policy.goals - 1].name).into_owned();
        for rule in unless(plan, exits, point) {
            let (left_out, class) = (text::name(&rule.level).into_owned(), text::name(&rule.class).into_owned());
            level += &format!(", no {left_out} if {class} {:.2}", rule.confidence);
        }
        row.push(level);
        row.extend([point.precision.ap50, point.precision.ap, point.frame_recall, point.spared].map(percent));
        row
    };
    let step = points.len().div_ceil(12).max(1);
    let shown = points.iter().enumerate().filter(|(i, _)| i % step == 0 || i + 1 == points.len());
    let mut rows: Vec<Vec<String>> = shown.map(|(_, point)| row(point)).collect();
    let mut last = row(full);
    last[1] = "always full".into();
    rows.push(last);
    let header = ["cost", "gate", "level", "AP50", "AP50:95", "frame recall", "empty spared"];
    table::render(&header, &rows)
}

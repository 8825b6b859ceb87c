//! The tables of `docs/calibration.md`, computed.
//!
//!     cargo run --release -p compare --example frontier_study -- CALIBRATION.csv JUDGED.csv
//!
//! Both are records as `dyn-perceiver calibrate` writes them. Frontiers are found on the first and judged on the second.
//! Without them only synthetic records are studied.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use dyn_perceiver::calibrate::certify::{GuaranteeError, Limit, certify};
use dyn_perceiver::calibrate::evaluate::{CostAccuracy, PolicySummary, replay};
use dyn_perceiver::calibrate::records::{Records, Synthetic};
use dyn_perceiver::calibrate::solver::{
    Difference, EnsembleKind, ParetoCurves, SolveOptions, exhaustive, mixed_accuracy, quantile_sweep, solve,
};
use dyn_perceiver::calibrate::split;
use dyn_perceiver::exit::{ExitPolicy, ExitRule, Measure};

/// Levels of each threshold that the search in hindsight tries.
const LEVELS: usize = 48;
const SPLITS: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    speed()?;
    synthetic_optimum()?;
    let network = Synthetic::four_exits();
    against_others("synthetic records", &network.records(5_000, 11)?, &network.records(20_000, 12)?)?;
    let given = match &paths[..] {
        [calibration, judged] => Some((Records::read(Path::new(calibration))?, Records::read(Path::new(judged))?)),
        _ => None,
    };
    if let Some((calibration, judged)) = &given {
        against_others("records given", calibration, judged)?;
        candidates(calibration, judged)?;
    }
    println!("\n### Guarantee over {SPLITS} random splits\n");
    println!(
        "| records | limit | confidence | certified | violations | promised at most | mean cost, share of whole |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    guarantee("synthetic", &network.records(5_000, 13)?, 0.4)?;
    if let Some((_, judged)) = &given {
        guarantee("judged", judged, 0.2)?;
    }
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn points(difference: Option<Difference>) -> String {
    difference.map_or("none".into(), |d| format!("mean {:+.2}, least {:+.2}", 100.0 * d.mean, 100.0 * d.least))
}

/// 50,000 samples, 4 exits, all measures and kinds of ensemble that the records allow.
fn speed() -> Result<(), Box<dyn Error>> {
    let records = Synthetic::four_exits().records(50_000, 1)?;
    let (began, before) = (Instant::now(), cpu_seconds());
    let solved = solve(&records, &records.rows(), &SolveOptions::default())?;
    // Where the machine is shared, the time on the processor says more than that on the wall.
    let seconds = cpu_seconds().zip(before).map_or(began.elapsed().as_secs_f64(), |(after, before)| after - before);
    println!("### Speed\n");
    println!(
        "{} samples x {} exits: {seconds:.2} s on one core, {} points",
        records.len(),
        records.exits().len(),
        solved.frontier.points().len()
    );
    if let Ok(status) = std::fs::read_to_string("/proc/self/status")
        && let Some(line) = status.lines().find(|line| line.starts_with("VmHWM"))
    {
        println!("peak memory of the process: {}", line.trim_start_matches("VmHWM:").trim());
    }
    Ok(())
}

/// Time this process has spent on a processor, where the system tells.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
}

/// Frontiers found on records of several sizes, against the optimum known from first principles.
fn synthetic_optimum() -> Result<(), Box<dyn Error>> {
    let network = Synthetic::four_exits();
    let judged = network.records(200_000, 2)?;
    let sizes = [1_000, 5_000, 50_000];
    let mut curves = vec![];
    for size in sizes {
        let records = network.records(size, 3)?;
        let options = SolveOptions::default().with_ensembles([EnsembleKind::Own]);
        let solved = solve(&records, &records.rows(), &options)?;
        curves.push(judge(solved.frontier.points().iter().map(|p| &p.policy), &judged)?);
    }
    println!("\n### Known optimum\n");
    println!("| mean cost | optimum | {} |", sizes.map(|n| format!("found on {n} samples, less optimum")).join(" | "));
    println!("| --- | --- | {} |", ["---"; 3].join(" | "));
    for price in [0.05, 0.035, 0.025, 0.018, 0.012, 0.008, 0.005, 0.003] {
        // The optimum's own policy on the samples judged has the same luck with them.
        let best = network.optimum(price);
        let rule = |exit| best.thresholds.get(exit).map_or(ExitRule::Skip, |&t| ExitRule::Leave(t as f32));
        let policy = ExitPolicy::new(Measure::Margin, &(0..4).map(rule).collect::<Vec<_>>())?;
        let CostAccuracy { cost, accuracy, .. } = judge([&policy].into_iter(), &judged)?[0];
        let found = curves.iter().map(|curve| match mixed_accuracy(curve, cost) {
            Some(found) => format!("{:+.2}", 100.0 * (found - accuracy)),
            None => "none".into(),
        });
        println!("| {cost:.2} | {} | {} |", percent(accuracy), found.collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

fn judge<'a>(
    policies: impl Iterator<Item = &'a ExitPolicy>,
    records: &Records,
) -> Result<Vec<CostAccuracy>, Box<dyn Error>> {
    let rows = records.rows();
    let mut curve = vec![];
    for policy in policies {
        let summary = PolicySummary::of(policy, records.costs(), &replay(policy, records, &rows)?);
        curve.push(CostAccuracy::new(summary.cost, summary.accuracy));
    }
    curve.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    Ok(curve)
}

/// The frontier, the authors' sweep and the oracle, calibrated on one set of records and judged on another.
fn against_others(name: &str, calibration: &Records, judged: &Records) -> Result<(), Box<dyn Error>> {
    let solved = solve(calibration, &calibration.rows(), &SolveOptions::default())?;
    let sweep = quantile_sweep(calibration, &calibration.rows())?;
    let found = exhaustive(calibration, &calibration.rows(), Measure::MaxSoftmax, LEVELS)?;
    let searched: Vec<ExitPolicy> = found.into_iter().map(|found| found.policy).collect();
    let curves = ParetoCurves::judge(&solved.frontier, &sweep, &searched, judged, &judged.rows(), LEVELS)?;
    let chosen = solved.compared[solved.chosen];
    println!("\n### Against the authors' sweep and the oracle: {name}\n");
    println!(
        "{} samples to calibrate, {} to judge; {} points, confidence {}, ensemble {}\n",
        calibration.len(),
        judged.len(),
        solved.frontier.points().len(),
        chosen.measure,
        chosen.ensemble.name()
    );
    println!(
        "| mean cost, share of whole | this frontier | authors' sweep | every policy tried on the same | best in hindsight |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let (first, last) = (curves.frontier[0].cost, curves.frontier[curves.frontier.len() - 1].cost);
    for step in 0..=10 {
        let cost = first + (last - first) * f64::from(step) / 10.0;
        let [sweep, searched] =
            [&curves.sweep, &curves.searched].map(|curve| mixed_accuracy(curve, cost).map_or("none".into(), percent));
        println!(
            "| {} | {} | {sweep} | {searched} | {} |",
            percent(cost / judged.costs().full()),
            percent(curves.at(cost)),
            percent(curves.oracle_at(cost))
        );
    }
    for (exit, CostAccuracy { cost, accuracy, .. }) in judged.exits().iter().zip(&curves.exits) {
        println!("| {} | {exit} alone: {} | | | |", percent(cost / judged.costs().full()), percent(*accuracy));
    }
    println!(
        "\nless the authors' sweep, at the cost of each of its policies, in percentage points: {}",
        points(curves.against_sweep())
    );
    println!(
        "less every policy tried on the same samples, at the cost of each that was best there: {}",
        points(curves.against_searched())
    );
    println!("less the best in hindsight, at 50 costs: {}", points(curves.against_oracle(50)));
    Ok(())
}

/// Every measure and kind of ensemble: what held-out folds say, and what the judged records say.
fn candidates(calibration: &Records, judged: &Records) -> Result<(), Box<dyn Error>> {
    println!("\n### Confidence and ensemble\n");
    println!("| confidence | ensemble | best accuracy judged | mean over the authors' costs, less the sweep |");
    println!("| --- | --- | --- | --- |");
    let sweep = quantile_sweep(calibration, &calibration.rows())?;
    for ensemble in EnsembleKind::ALL {
        for measure in Measure::ALL {
            let options = SolveOptions::default().with_measures([measure]).with_ensembles([ensemble]);
            let solved = solve(calibration, &calibration.rows(), &options)?;
            let curves = ParetoCurves::judge(&solved.frontier, &sweep, &[], judged, &judged.rows(), 4)?;
            let best = curves.frontier.iter().map(|p| p.accuracy).fold(0.0, f64::max);
            let mean = curves.against_sweep().map_or("none".into(), |d| format!("{:+.2}", 100.0 * d.mean));
            println!("| {measure} | {} | {} | {mean} |", ensemble.name(), percent(best));
        }
    }
    Ok(())
}

/// How often what was certified on one random part loses more than promised on the rest.
fn guarantee(name: &str, records: &Records, share: f64) -> Result<(), Box<dyn Error>> {
    let rows = records.rows();
    let whole = ExitPolicy::only(records.exits().len() - 1, records.exits().len())?;
    // Many solves: one measure, each exit on its own.
    let options = SolveOptions::default().with_measures([Measure::MaxSoftmax]).with_ensembles([EnsembleKind::Own]);
    for limit in [Limit::new(0.01, 0.95)?, Limit::new(0.02, 0.9)?] {
        let (mut certified, mut violations, mut cost) = (0u32, 0u32, 0.0);
        for seed in 0..SPLITS {
            let (part, rest) = split(&rows, share, 1000 + seed);
            let found = match certify(records, &part, limit, &options.clone().with_seed(seed)) {
                Ok(found) => found,
                Err(GuaranteeError::TooFewSamples { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let cheapest = &found.frontier.points()[0].policy;
            let of = |policy: &ExitPolicy| -> Result<_, Box<dyn Error>> {
                Ok(PolicySummary::of(policy, records.costs(), &replay(policy, records, &rest)?))
            };
            let (policy, reference) = (of(cheapest)?, of(&whole)?);
            certified += 1;
            violations += u32::from(reference.accuracy - policy.accuracy > limit.max_loss());
            cost += policy.cost / records.costs().full();
        }
        let n = f64::from(certified.max(1));
        println!(
            "| {name} | {} | {} | {certified} | {} | {} | {} |",
            percent(limit.max_loss()),
            percent(limit.confidence()),
            percent(f64::from(violations) / n),
            percent(1.0 - limit.confidence()),
            percent(cost / n)
        );
    }
    Ok(())
}

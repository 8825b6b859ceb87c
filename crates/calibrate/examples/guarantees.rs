//! What the two guarantees cost, and how often they are broken: certified on one part of records, judged on the rest.
//!
//! `cargo run --release -p dyn-perceiver-calibrate --example guarantees [-- SPLITS [RECORDS.csv [SHARE LOSS:CONFIDENCE...]]]`
//!
//! SHARE of the records is calibrated on, half of it to find policies and half to test them. Without records as `dyn-perceiver calibrate` writes them, on synthetic ones whose exits speak alone. With records, the evidence
//! that is most accurate on average stands beside the one that certifies at the least cost.

use std::error::Error;

use dyn_perceiver_calibrate::certify::{Limit, LossTest, certify};
use dyn_perceiver_calibrate::evaluate::{PolicySummary, replay};
use dyn_perceiver_calibrate::records::{Records, Synthetic};
use dyn_perceiver_calibrate::solver::{EnsembleKind, SolveOptions, solve};
use dyn_perceiver_calibrate::split;
use dyn_perceiver_core::exit::{ExitPolicy, Measure};

/// How the evidence is chosen.
#[derive(Clone, Copy)]
enum Evidence {
    /// The soft-max of each exit on its own.
    Alone,
    /// What is most accurate on average, on the half that policies are found on.
    OnAverage,
    /// What certifies at the least cost there.
    Certified,
}

impl Evidence {
    fn options(self, records: &Records, part: &[u32], seed: u64) -> Result<SolveOptions, Box<dyn Error>> {
        let options = SolveOptions::default().with_seed(seed);
        Ok(match self {
            Evidence::Alone => options.with_measures([Measure::MaxSoftmax]).with_ensembles([EnsembleKind::Own]),
            Evidence::OnAverage => {
                // As `certify` splits them.
                let (fit, _) = split(part, 0.5, seed);
                let solved = solve(records, &fit, &options)?;
                let choice = solved.choice().ok_or("nothing was compared")?;
                options.with_measures([choice.measure]).with_ensembles([choice.ensemble])
            }
            Evidence::Certified => options,
        })
    }
}

/// A limit written as `LOSS:CONFIDENCE`.
fn limit(text: &str) -> Result<Limit, Box<dyn Error>> {
    let (loss, confidence) = text.split_once(':').ok_or("a limit is LOSS:CONFIDENCE")?;
    Ok(Limit::new(loss.parse()?, confidence.parse()?)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let splits: u64 = args.next().map_or(Ok(100), |count| count.parse())?;
    let (records, kinds) = match args.next() {
        Some(path) => {
            let kinds =
                [("most accurate on average", Evidence::OnAverage), ("least cost certified", Evidence::Certified)];
            (Records::read(path.as_ref())?, kinds.to_vec())
        }
        None => (Synthetic::four_exits().records(12_500, 13)?, vec![("each exit alone", Evidence::Alone)]),
    };
    let share: f64 = args.next().map_or(Ok(0.4), |share| share.parse())?;
    let mut limits = args.map(|text| limit(&text)).collect::<Result<Vec<Limit>, _>>()?;
    if limits.is_empty() {
        limits = vec![Limit::new(0.01, 0.95)?, Limit::new(0.02, 0.9)?];
    }
    let whole = ExitPolicy::only(records.exits().len() - 1, records.exits().len())?;
    println!(
        "| counted | evidence | limit | confidence | certified | violations | promised at most | mean cost, share of whole | accuracy | of the whole network |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for limit in limits {
        for test in [LossTest::Lost, LossTest::Paired] {
            for (name, evidence) in &kinds {
                let (mut violations, mut cost, mut right, mut most) = (0u32, 0.0, 0.0, 0.0);
                for seed in 0..splits {
                    let (part, rest) = split(&records.rows(), share, 1000 + seed);
                    let found = certify(&records, &part, limit.by(test), &evidence.options(&records, &part, seed)?)?;
                    let cheapest = &found.frontier.points()[0].policy;
                    let of = |policy: &ExitPolicy| -> Result<PolicySummary, Box<dyn Error>> {
                        Ok(PolicySummary::of(policy, records.costs(), &replay(policy, &records, &rest)?))
                    };
                    let (policy, reference) = (of(cheapest)?, of(&whole)?);
                    violations += u32::from(reference.accuracy - policy.accuracy > limit.max_loss());
                    cost += policy.cost / records.costs().full();
                    right += policy.accuracy;
                    most += reference.accuracy;
                }
                let percent = |share: f64| format!("{:.1} %", 100.0 * share);
                println!(
                    "| {} | {name} | {} | {} | {splits} | {} | {} | {} | {} | {} |",
                    test.name(),
                    percent(limit.max_loss()),
                    percent(limit.confidence()),
                    percent(f64::from(violations) / splits as f64),
                    percent(1.0 - limit.confidence()),
                    percent(cost / splits as f64),
                    percent(right / splits as f64),
                    percent(most / splits as f64)
                );
            }
        }
    }
    Ok(())
}

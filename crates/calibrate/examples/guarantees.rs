//! What the two guarantees cost, and how often they are broken: certified on one part of synthetic records, judged on the rest.
//!
//! `cargo run --release -p dyn-perceiver-calibrate --example guarantees [-- SPLITS]`

use dyn_perceiver_calibrate::certify::{Limit, LossTest, certify};
use dyn_perceiver_calibrate::evaluate::{PolicySummary, replay};
use dyn_perceiver_calibrate::records::Synthetic;
use dyn_perceiver_calibrate::solver::{EnsembleKind, SolveOptions};
use dyn_perceiver_calibrate::split;
use dyn_perceiver_core::exit::{ExitPolicy, Measure};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let splits: u64 = std::env::args().nth(1).map_or(Ok(100), |count| count.parse())?;
    let records = Synthetic::four_exits().records(12_500, 13)?;
    let whole = ExitPolicy::only(records.exits().len() - 1, records.exits().len())?;
    let options = SolveOptions::default().with_measures([Measure::MaxSoftmax]).with_ensembles([EnsembleKind::Own]);
    println!(
        "| counted | limit | confidence | certified | violations | promised at most | mean cost, share of whole |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for limit in [Limit::new(0.01, 0.95)?, Limit::new(0.02, 0.9)?] {
        for test in [LossTest::Lost, LossTest::Paired] {
            let (mut violations, mut cost) = (0u32, 0.0);
            for seed in 0..splits {
                let (part, rest) = split(&records.rows(), 0.4, 1000 + seed);
                let found = certify(&records, &part, limit.by(test), &options.clone().with_seed(seed))?;
                let cheapest = &found.frontier.points()[0].policy;
                let of = |policy: &ExitPolicy| -> Result<PolicySummary, Box<dyn std::error::Error>> {
                    Ok(PolicySummary::of(policy, records.costs(), &replay(policy, &records, &rest)?))
                };
                let (policy, reference) = (of(cheapest)?, of(&whole)?);
                violations += u32::from(reference.accuracy - policy.accuracy > limit.max_loss());
                cost += policy.cost / records.costs().full();
            }
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            println!(
                "| {} | {} | {} | {splits} | {} | {} | {} |",
                test.name(),
                percent(limit.max_loss()),
                percent(limit.confidence()),
                percent(f64::from(violations) / splits as f64),
                percent(1.0 - limit.confidence()),
                percent(cost / splits as f64)
            );
        }
    }
    Ok(())
}

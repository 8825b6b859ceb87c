//! What int8 changes on images that nothing was chosen with.

use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::calibrate::evaluate::{PolicySummary, SampleOutcome, replay};
use dyn_perceiver::calibrate::records::Records;
use dyn_perceiver::exit::{ExitPolicy, Frontier};
use dyn_perceiver::plan::Plan;
use serde::Serialize;

use super::{Args, ExitReport, area_of, records};
use crate::output::data_notes::DataNotes;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::{table, text};

/// How far the accuracy of the policy that is looked at may be below the best of its frontier.
const NEAR_BEST: f32 = 0.005;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct HeldOut<'a> {
    images: usize,
    exits: Vec<ExitReport<'a>>,
    policies: Vec<PolicyReport>,
    /// Share of the frames that leave at another exit with the thresholds of the float network.
    left_elsewhere: f64,
    /// The area under the frontier found anew over that of the float network's, both on these images.
    frontier_area: f64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PolicyReport {
    policy: &'static str,
    accuracy: f64,
    cost: f64,
    shares: Vec<f64>,
}

impl PolicyReport {
    fn new(policy: &'static str, of: &ExitPolicy, records: &Records, outcomes: &[SampleOutcome]) -> PolicyReport {
        let PolicySummary { accuracy, cost, shares, .. } = PolicySummary::of(of, records.costs(), outcomes);
        PolicyReport { policy, accuracy, cost, shares }
    }
}

/// The cheapest policy of a frontier that is nearly as accurate as its best.
fn near_best(frontier: &Frontier) -> &ExitPolicy {
    let points = frontier.points();
    let best = points.iter().map(|point| point.accuracy).fold(0.0, f32::max);
    let near = points.iter().filter(|point| point.accuracy >= best - NEAR_BEST);
    let cheapest = near.min_by(|a, b| a.cost.total_cmp(&b.cost));
    &cheapest.unwrap_or(&points[0]).policy
}

/// How often each policy of a frontier is right.
fn accuracies(frontier: &Frontier, records: &Records) -> Result<Vec<f64>, Failure> {
    let rows = records.rows();
    let accuracy = |policy: &ExitPolicy| -> Result<f64, Failure> {
        let outcomes = replay(policy, records, &rows).or_input()?;
        Ok(PolicySummary::of(policy, records.costs(), &outcomes).accuracy)
    };
    frontier.points().iter().map(|point| accuracy(&point.policy)).collect()
}

impl<'a> HeldOut<'a> {
    /// Compares the float and the int8 network, each with its frontier, on the labelled images in `path`.
    pub(super) fn new(
        args: &Args,
        path: &Path,
        plans: [&'a Arc<Plan>; 2],
        [float, int8]: [&Frontier; 2],
        notes: &mut DataNotes,
    ) -> Result<HeldOut<'a>, Failure> {
        let [of_float, of_int8] = [records(args, path, plans[0], None)?, records(args, path, plans[1], Some(notes))?];
        let rows = of_float.rows();
        let share = |count: usize| count as f64 / rows.len().max(1) as f64;
        let right = |records: &Records, exit| share(rows.iter().filter(|row| records.right(**row, exit)).count());
        let class = |records: &Records, row: u32, exit: usize| records.readings(row)[exit].class;
        let exit = |(at, exit): (usize, &'a String)| ExitReport {
            exit,
            float: Some(right(&of_float, at)),
            int8: Some(right(&of_int8, at)),
            changed: share(rows.iter().filter(|row| class(&of_float, **row, at) != class(&of_int8, **row, at)).count()),
        };
        let (old, new) = (near_best(float), near_best(int8));
        let before = replay(old, &of_float, &rows).or_input()?;
        let kept = replay(old, &of_int8, &rows).or_input()?;
        let anew = replay(new, &of_int8, &rows).or_input()?;
        let moved = before.iter().zip(&kept).filter(|(before, kept)| before.exit != kept.exit).count();
        let [float_accuracies, int8_accuracies] = [accuracies(float, &of_float)?, accuracies(int8, &of_int8)?];
        Ok(HeldOut {
            images: rows.len(),
            exits: plans[0].info().exits.iter().enumerate().map(exit).collect(),
            policies: vec![
                PolicyReport::new("float", old, &of_float, &before),
                PolicyReport::new("int8, thresholds of float", old, &of_int8, &kept),
                PolicyReport::new("int8, found anew", new, &of_int8, &anew),
            ],
            left_elsewhere: share(moved),
            frontier_area: area_of([int8, float], [&|i| int8_accuracies[i], &|i| float_accuracies[i]]),
        })
    }

    /// As tables.
    pub(super) fn text(&self) -> String {
        let percent = |share: Option<f64>| share.map_or("-".to_owned(), table::percent);
        let exits = self.exits.iter().map(|e| {
            vec![text::name(e.exit).into_owned(), percent(e.float), percent(e.int8), table::percent(e.changed)]
        });
        let policies = self.policies.iter().map(|policy| {
            let shares: Vec<String> = policy.shares.iter().map(|share| table::percent(*share)).collect();
            vec![
                policy.policy.to_owned(),
                table::percent(policy.accuracy),
                format!("{}MAC", table::count(policy.cost as u64)),
                shares.join(" / "),
            ]
        });
        format!(
            "on {} images that nothing was chosen with\n{}\n{}leave elsewhere with thresholds of float: {}; \
             {:.4} times the accuracy of float's policies at the same cost\n",
            self.images,
            table::render(&["exit", "right in float", "in int8", "answers changed"], &exits.collect::<Vec<_>>()),
            table::render(&["policy", "right", "a frame", "leave at each exit"], &policies.collect::<Vec<_>>()),
            table::percent(self.left_elsewhere),
            self.frontier_area,
        )
    }
}

//! A frontier beside the authors' sweep and what would have been possible, judged on samples it has not seen.

use dyn_perceiver_core::exit::{ExitPolicy, Frontier, Measure};

use super::error::SolveError;
use super::exhaustive::exhaustive;
use super::hull::mixed_accuracy;
use crate::evaluate::{CostAccuracy, PolicySummary, replay};
use crate::records::Records;

/// The accuracy-cost Pareto frontier beside other policies, for a plot. All of it is judged on the same samples, and
/// sorted by cost.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ParetoCurves {
    /// Each exit on its own, in order of the exits.
    pub exits: Vec<CostAccuracy>,
    /// The frontier's points.
    pub frontier: Vec<CostAccuracy>,
    /// What the frontier expected of its points, in their order.
    pub expected: Vec<CostAccuracy>,
    /// The authors' sweep; empty without policies for it.
    pub sweep: Vec<CostAccuracy>,
    /// Every policy tried on the samples that the frontier was found on, and the best for their cost judged here.
    pub searched: Vec<CostAccuracy>,
    /// The best policies in hindsight: sought, by trying all, on the very samples they are judged on.
    pub oracle: Vec<CostAccuracy>,
}

/// How the frontier compares with the authors' sweep or the oracle.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// Mean over costs of the frontier's accuracy less the other's at equal cost.
    pub mean: f64,
    /// The least of these.
    pub least: f64,
    /// The cost at which it is least.
    pub at: f64,
}

impl ParetoCurves {
    /// Judges on `rows` of the records: the frontier, the policies of a sweep and of an exhaustive search on the samples
    /// calibrated on, and an oracle with so many `levels` of each threshold.
    ///
    /// # Errors
    /// As [`crate::solver::solve()`].
    pub fn judge(
        frontier: &Frontier,
        sweep: &[ExitPolicy],
        searched: &[ExitPolicy],
        records: &Records,
        rows: &[u32],
        levels: usize,
    ) -> Result<Self, SolveError> {
        let judge = |policy: &ExitPolicy| -> Result<CostAccuracy, SolveError> {
            let found = PolicySummary::of(policy, records.costs(), &replay(policy, records, rows)?);
            Ok(CostAccuracy::new(found.cost, found.accuracy))
        };
        let sorted = |mut points: Vec<CostAccuracy>| {
            points.sort_by(|a, b| a.cost.total_cmp(&b.cost));
            points.dedup_by(|b, a| a.cost == b.cost);
            points
        };
        let exits = records.exits().len();
        let alone = (0..exits).map(|exit| judge(&ExitPolicy::only(exit, exits)?)).collect::<Result<_, _>>()?;
        let points = frontier.points().iter().map(|point| judge(&point.policy)).collect::<Result<_, _>>()?;
        let swept = sweep.iter().map(judge).collect::<Result<_, _>>()?;
        let searched = searched.iter().map(judge).collect::<Result<_, _>>()?;
        let mut oracle = vec![];
        for found in exhaustive(records, rows, Measure::MaxSoftmax, levels)? {
            oracle.push(CostAccuracy::new(found.cost, found.accuracy));
        }
        Ok(ParetoCurves {
            exits: alone,
            frontier: sorted(points),
            expected: frontier.points().iter().map(|p| CostAccuracy::new(p.cost.into(), p.accuracy.into())).collect(),
            sweep: sorted(swept),
            searched: sorted(searched),
            oracle,
        })
    }

    /// Accuracy of the frontier at a mean cost, its neighbours mixed; that of its cheapest point below.
    pub fn at(&self, cost: f64) -> f64 {
        mixed_accuracy(&self.frontier, cost).or(self.frontier.first().map(|p| p.accuracy)).unwrap_or(0.0)
    }

    /// The best in hindsight that costs no more.
    pub fn oracle_at(&self, cost: f64) -> f64 {
        let within = self.oracle.partition_point(|point| point.cost <= cost);
        within.checked_sub(1).and_then(|i| self.oracle.get(i)).or(self.oracle.first()).map_or(0.0, |p| p.accuracy)
    }

    /// The frontier less the sweep, at the cost of every policy of the sweep that costs at least what the frontier's
    /// cheapest point does. None without a sweep.
    pub fn against_sweep(&self) -> Option<Difference> {
        self.against(&self.sweep)
    }

    /// The frontier less the exhaustive search on the same samples, at the cost of every policy that it found. None
    /// without such policies.
    pub fn against_searched(&self) -> Option<Difference> {
        self.against(&self.searched)
    }

    fn against(&self, others: &[CostAccuracy]) -> Option<Difference> {
        let least = self.frontier.first()?.cost;
        difference(others.iter().filter(|p| p.cost >= least).map(|p| (p.cost, self.at(p.cost) - p.accuracy)))
    }

    /// The frontier less the oracle, at so many `costs` evenly from the cheapest to the dearest point of the frontier.
    pub fn against_oracle(&self, costs: usize) -> Option<Difference> {
        let (first, last) = (self.frontier.first()?.cost, self.frontier.last()?.cost);
        let step = (last - first) / costs.saturating_sub(1).max(1) as f64;
        difference((0..costs).map(|i| first + step * i as f64).map(|cost| (cost, self.at(cost) - self.oracle_at(cost))))
    }
}

/// From costs and the differences in accuracy there.
fn difference(differences: impl Iterator<Item = (f64, f64)>) -> Option<Difference> {
    let all: Vec<(f64, f64)> = differences.collect();
    let &(at, least) = all.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(Difference { mean: all.iter().map(|d| d.1).sum::<f64>() / all.len() as f64, least, at })
}

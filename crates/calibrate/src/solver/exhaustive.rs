//! Exhaustive search over every policy, for small cases: the oracle that the solver is held against.

use dyn_perceiver_core::exit::{EnsembleKind, ExitPolicy, Measure};

use super::columns::Fitted;
use super::error::SolveError;
use super::lagrange::Chain;
use crate::records::{ExitSet, Records};

/// The most exits of a set for which every policy is tried; fewer where there are more sets.
const fn exhaustive_exits(exits: usize) -> usize {
    if exits <= 8 { 4 } else { 2 }
}

/// What a policy gave on the samples it was sought on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FoundPolicy {
    /// The policy.
    pub policy: ExitPolicy,
    /// Accuracy on the samples.
    pub accuracy: f64,
    /// Mean cost on the samples.
    pub cost: f64,
}

/// Tries every set of exits and, for every exit but the last, thresholds at `levels` quantiles of its confidence (all
/// values where there are fewer), and keeps what no cheaper policy beats, in order of cost. Each exit speaks alone.
/// Of sets of more than four exits no policy is tried, and of fewer yet where the network has many: there are too many.
///
/// # Errors
/// As [`crate::solver::solve()`].
pub fn exhaustive(
    records: &Records,
    rows: &[u32],
    measure: Measure,
    levels: usize,
) -> Result<Vec<FoundPolicy>, SolveError> {
    if rows.is_empty() {
        return Err(SolveError::NoSamples);
    }
    let fitted = Fitted::new(records, rows)?;
    let mut columns = fitted.columns(EnsembleKind::Own, measure);
    columns.make(&fitted, ExitSet::first(records.exits().len()));
    let mut found = vec![];
    for set in ExitSet::every(records.exits().len()).filter(|set| set.len() <= exhaustive_exits(records.exits().len()))
    {
        let chain = Chain::new(&columns, records.costs(), set);
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        let mut search = Search { chain: &chain, levels, thresholds: vec![], found: vec![] };
        search.exit(&all, 0, 0.0);
        found.extend(best_by_cost(search.found).into_iter().map(|entry| (set, entry)));
    }
    found.sort_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost).then(b.right.cmp(&a.right)));
    let mut best = None;
    found.retain(|(_, entry)| {
        let better = best.is_none_or(|right| entry.right > right);
        best = best.max(Some(entry.right));
        better
    });
    let n = rows.len() as f64;
    found
        .into_iter()
        .map(|(set, entry)| {
            let chain = Chain::new(&columns, records.costs(), set);
            let policy = chain.policy(measure, records.exits().len(), &entry.thresholds)?;
            Ok(FoundPolicy { policy, accuracy: entry.right as f64 / n, cost: entry.cost / n })
        })
        .collect()
}

struct Entry {
    thresholds: Vec<u16>,
    right: usize,
    cost: f64,
}

struct Search<'a> {
    chain: &'a Chain<'a>,
    levels: usize,
    thresholds: Vec<u16>,
    found: Vec<Entry>,
}

impl Search<'_> {
    /// Every threshold of the exit that `thresholds` has come to, for the samples that reach it.
    fn exit(&mut self, reach: &[u32], right: usize, cost: f64) {
        let exit = self.thresholds.len();
        let column = self.chain.columns[exit];
        let right_here = |sample: u32, exit: usize| usize::from(self.chain.columns[exit].right[sample as usize]);
        if exit + 1 == self.chain.columns.len() {
            let right = right + reach.iter().map(|&s| right_here(s, exit)).sum::<usize>();
            let cost = cost + reach.len() as f64 * self.chain.costs[exit];
            self.found.push(Entry { thresholds: self.thresholds.clone(), right, cost });
            return;
        }
        let bins = column.ranges.len();
        let step = (bins as f64 / self.levels.max(1) as f64).max(1.0);
        let steps = (bins as f64 / step).round() as usize;
        let mut stays = vec![];
        for level in 0..=steps {
            let bin = ((level as f64 * step).round() as usize).min(bins) as u16;
            stays.clear();
            let mut leaves = 0;
            let mut right_leaves = 0;
            for &sample in reach {
                if column.bins[sample as usize] >= bin {
                    leaves += 1;
                    right_leaves += usize::from(column.right[sample as usize]);
                } else {
                    stays.push(sample);
                }
            }
            self.thresholds.push(bin);
            self.exit(&stays, right + right_leaves, cost + f64::from(leaves) * self.chain.costs[exit]);
            self.thresholds.pop();
        }
    }
}

/// Without what a cheaper one beats.
fn best_by_cost(mut found: Vec<Entry>) -> Vec<Entry> {
    found.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.right.cmp(&a.right)));
    let mut best = None;
    found.retain(|entry| {
        let better = best.is_none_or(|right| entry.right > right);
        best = best.max(Some(entry.right));
        better
    });
    found
}

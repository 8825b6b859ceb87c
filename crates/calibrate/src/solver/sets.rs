//! Which sets of exits are worth evaluating on the way.

use dyn_perceiver_core::exit::{EnsembleKind, Measure};

use super::columns::{Columns, Fitted};
use super::compare::deal;
use super::lagrange::{Chain, Part};
use super::options::SolveOptions;
use super::prices::{COMPARED_PRICES, compared_prices};
use crate::records::{Costs, ExitSet, Records};

/// Samples on which sets of exits are sifted, at most.
const SIFTED_SAMPLES: usize = 4_000;
/// A set of exits is kept when at some price it comes so close, in accuracy, to the best one.
const SIFT: f64 = 0.005;
/// Sets of exits kept, at most.
const SETS: usize = 16;
/// Exits of which every set is tried; of more exits there are too many.
const TRIED_EXITS: usize = 8;

/// Sets of exits worth looking at, by each exit's own word: those near the best at some price. The fewest exits first.
pub(super) fn sets_of_exits(
    records: &Records,
    fitted: &Fitted<'_>,
    samples: usize,
    options: &SolveOptions,
) -> Vec<ExitSet> {
    let (exits, costs) = (records.exits().len(), records.costs());
    let every = ExitSet::first(exits);
    if !options.subsets {
        // The first exit alone and so on to all: a policy whose first thresholds are 0 leaves there.
        return every.prefixes().collect();
    }
    let sifted = deal(samples, 1, SIFTED_SAMPLES, options.seed);
    let mut columns = fitted.columns(EnsembleKind::Own, Measure::MaxSoftmax);
    columns.make(fitted, every);
    let sieve = Sieve { columns: &columns, costs, part: Part::Only(&sifted, 0) };
    let mut sets = if exits <= TRIED_EXITS { ExitSet::every(exits).collect() } else { sieve.family(exits) };
    sets.sort_by_key(|set| (set.len(), *set));
    if sets.len() <= SETS {
        return sets;
    }
    let values: Vec<[f64; COMPARED_PRICES]> = sets.iter().map(|&set| sieve.values(set)).collect();
    let best = |price: usize| values.iter().map(|of| of[price]).fold(f64::NEG_INFINITY, f64::max);
    let best: [f64; COMPARED_PRICES] = std::array::from_fn(best);
    let gap = |of: &[f64; COMPARED_PRICES]| best.iter().zip(of).map(|(b, v)| b - v).fold(f64::INFINITY, f64::min);
    let mut ranked: Vec<(f64, ExitSet)> = values.iter().map(gap).zip(sets).filter(|(gap, _)| *gap <= SIFT).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked.truncate(SETS);
    let alone = every.iter().map(ExitSet::only);
    let cheapest = alone.min_by(|&a, &b| costs.of(a).total_cmp(&costs.of(b)));
    let mut kept: Vec<ExitSet> = ranked.into_iter().map(|(_, set)| set).chain(cheapest).chain([every]).collect();
    kept.sort_by_key(|set| (set.len(), *set));
    kept.dedup();
    kept
}

/// What judges sets of exits.
struct Sieve<'a> {
    columns: &'a Columns<'a>,
    costs: &'a Costs,
    part: Part<'a>,
}

impl Sieve<'_> {
    /// The value of a set's best thresholds at every compared price.
    fn values(&self, set: ExitSet) -> [f64; COMPARED_PRICES] {
        let chain = Chain::new(self.columns, self.costs, set);
        let mut values = [0.0; COMPARED_PRICES];
        for (value, price) in values.iter_mut().zip(compared_prices(self.costs)) {
            *value = chain.score(&chain.solve(price, self.part, None), self.part).value(price);
        }
        values
    }

    /// Of many exits: one exit, two exits, the first few, and what is left when the exit that is missed least is taken
    /// away from all, again and again (backward elimination).
    fn family(&self, exits: usize) -> Vec<ExitSet> {
        let every = ExitSet::first(exits);
        let pairs = every.iter().flat_map(|a| (0..=a).map(move |b| ExitSet::only(a).with(b)));
        let mut sets: Vec<ExitSet> = pairs.chain(every.prefixes()).collect();
        let mut left = every;
        while left.len() > 3 {
            let worth = |set: &ExitSet| self.values(*set).iter().sum::<f64>();
            let less = left.iter().map(|exit| left.without(exit));
            let Some(best) = less.map(|set| (worth(&set), set)).max_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            left = best.1;
            sets.push(left);
        }
        sets.sort_unstable();
        sets.dedup();
        sets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Synthetic;

    #[test]
    fn sets_by_backward_elimination_are_as_good_as_all_sets() {
        let exits = 8;
        let cumulative: Vec<f64> = (0..exits).map(|exit| 10.0 + 4.0 * exit as f64).collect();
        let floors: Vec<f64> = (0..exits).map(|exit| 0.3 + 0.08 * exit as f64).collect();
        let records = Synthetic::new(cumulative, floors).records(600, 5).unwrap();
        let rows = records.rows();
        let fitted = Fitted::new(&records, &rows).unwrap();
        let mut columns = fitted.columns(EnsembleKind::Own, Measure::Margin);
        columns.make(&fitted, ExitSet::first(exits));
        let sieve = Sieve { columns: &columns, costs: records.costs(), part: Part::All };
        let best = |sets: &[ExitSet]| {
            let values: Vec<[f64; COMPARED_PRICES]> = sets.iter().map(|&set| sieve.values(set)).collect();
            std::array::from_fn::<f64, COMPARED_PRICES, _>(|price| {
                values.iter().map(|of| of[price]).fold(f64::NEG_INFINITY, f64::max)
            })
        };
        let family = sieve.family(exits);
        assert!(family.len() < 60, "{}", family.len());
        let every: Vec<ExitSet> = ExitSet::every(exits).collect();
        for (found, most) in best(&family).into_iter().zip(best(&every)) {
            assert!(found > most - SIFT, "{found} {most}");
        }
    }
}

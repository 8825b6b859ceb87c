//! Which confidence measure and kind of ensemble does best on held-out folds.

use dyn_perceiver_core::exit::{EnsembleKind, Measure};

use super::columns::Columns;
use super::hull;
use super::isotonic::isotonic;
use super::lagrange::{Chain, NO_FOLD, Part, Score};
use super::points::best_at;
use super::prices::{COMPARED_PRICES, compared_prices};
use crate::evaluate::CostAccuracy;
use crate::random::Random;
use crate::records::{Costs, ExitSet};

/// Budgets over which measures and ensembles are compared.
const COMPARED_BUDGETS: usize = 32;
/// Samples on which they are compared, at most.
pub(super) const COMPARED_SAMPLES: usize = 10_000;
/// Folds, at most: their numbers fit a byte.
pub(super) const MAX_FOLDS: usize = 200;
/// What a measure or kind of ensemble must gain on held-out samples over a simpler one.
const WORTHWHILE: f64 = 2e-4;

/// A kind of ensemble, its columns for a measure, and what they gave on held-out folds at every compared price.
pub(super) type Candidate<'a> = (EnsembleKind, Columns<'a>, Vec<Score>);

/// A measure with a kind of ensemble, judged on held-out folds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Compared {
    /// The measure.
    pub measure: Measure,
    /// The kind of ensemble.
    pub ensemble: EnsembleKind,
    /// Mean held-out accuracy over budgets.
    pub accuracy: f64,
}

/// The mean of each candidate's held-out accuracy over budgets, evenly from the cheapest to what candidates come to at the
/// lowest price. In between, accuracy is interpolated, and smoothed to grow with cost.
pub(super) fn compare(candidates: &[Candidate<'_>], costs: &Costs) -> Vec<Compared> {
    // The last compared price is 0: what that costs says little, for any gain is worth it.
    let reach = mean(candidates.iter().map(|(_, _, scores)| scores[COMPARED_PRICES - 2].mean_cost()));
    let least = (0..costs.exits()).map(|exit| costs.of(ExitSet::only(exit))).fold(f64::INFINITY, f64::min);
    candidates
        .iter()
        .map(|(ensemble, columns, scores)| {
            let mut points: Vec<CostAccuracy> =
                scores.iter().map(|s| CostAccuracy::new(s.mean_cost(), s.accuracy())).collect();
            points.sort_by(|a, b| a.cost.total_cmp(&b.cost));
            let (accuracy, weight): (Vec<f64>, Vec<f64>) = points.iter().map(|p| (p.accuracy, 1.0)).unzip();
            points.iter_mut().zip(isotonic(&accuracy, &weight)).for_each(|(point, smooth)| point.accuracy = smooth);
            points.dedup_by(|b, a| a.cost == b.cost);
            let budgets = (0..=COMPARED_BUDGETS).map(|i| least + (reach - least) * i as f64 / COMPARED_BUDGETS as f64);
            let at = |cost| hull::mixed_accuracy(&points, cost).or(points.first().map(|p| p.accuracy)).unwrap_or(0.0);
            Compared { measure: columns.measure, ensemble: *ensemble, accuracy: mean(budgets.map(at)) }
        })
        .collect()
}

/// The best candidate; an earlier, simpler one where a later one is not worth it.
pub(super) fn choose(compared: &[Compared]) -> Option<usize> {
    (0..compared.len()).reduce(
        |best, next| {
            if compared[next].accuracy > compared[best].accuracy + WORTHWHILE { next } else { best }
        },
    )
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    sum / count.max(1) as f64
}

/// The fold of every sample; those beyond `most` are in none.
pub(super) fn deal(samples: usize, folds: usize, most: usize, seed: u64) -> Vec<u8> {
    let mut dealt: Vec<u8> = (0..samples).map(|i| if i < most { (i % folds) as u8 } else { NO_FOLD }).collect();
    Random::new(seed).shuffle(&mut dealt);
    dealt
}

/// For each compared price, what was best on the other folds gave on each fold, all folds together.
pub(super) fn held_out(
    columns: &Columns<'_>,
    costs: &Costs,
    sets: &[ExitSet],
    folds: &[u8],
    count: usize,
) -> Vec<Score> {
    let mut totals = vec![Score::default(); COMPARED_PRICES];
    for fold in 0..count as u8 {
        let (train, judge) = (Part::Without(folds, fold), Part::Only(folds, fold));
        for (total, price) in totals.iter_mut().zip(compared_prices(costs)) {
            if let Some(point) = best_at(columns, costs, sets, price, train) {
                *total = total.plus(Chain::new(columns, costs, point.set).score(&point.bins, judge));
            }
        }
    }
    totals
}

/// How much the samples fitted to flatter, in accuracy: the mean over prices at which there are thresholds to fit.
pub(super) fn optimism(columns: &Columns<'_>, costs: &Costs, sets: &[ExitSet], folds: &[u8], scores: &[Score]) -> f64 {
    let dealt = Part::Without(folds, NO_FOLD - 1);
    let flattery = compared_prices(costs).zip(scores).filter_map(|(price, held_out)| {
        let point = best_at(columns, costs, sets, price, dealt)?;
        (!point.bins.is_empty()).then(|| point.score.value(price) - held_out.value(price))
    });
    mean(flattery).max(0.0)
}

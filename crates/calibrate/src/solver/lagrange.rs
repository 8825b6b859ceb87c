//! The best thresholds over one set of exits for a price of cost: dynamic programming over exits with isotonic
//! regression, then coordinate ascent on the samples themselves.

use dyn_perceiver_core::exit::{ExitPolicy, ExitRule, Measure, PolicyError};

use super::columns::{Column, Columns};
use super::isotonic::isotonic;
use crate::records::{Costs, ExitSet};

/// The fold of samples that are in none.
pub(super) const NO_FOLD: u8 = u8::MAX;

/// Rounds of coordinate ascent, at most; it has settled after two or three.
const ROUNDS: usize = 8;

/// Which samples count: none of `fold` for training, only those of `fold` for judging, or all.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    All,
    Without(&'a [u8], u8),
    Only(&'a [u8], u8),
}

impl Part<'_> {
    fn holds(self, sample: usize) -> bool {
        match self {
            Part::All => true,
            Part::Without(folds, fold) => folds[sample] != fold && folds[sample] != NO_FOLD,
            Part::Only(folds, fold) => folds[sample] == fold,
        }
    }
}

/// The exits that a frame passes one after the other, on the samples of one view.
pub(super) struct Chain<'a> {
    pub(super) set: ExitSet,
    /// One column per exit evaluated.
    pub(super) columns: Vec<&'a Column>,
    /// Cost of leaving at each of them.
    pub(super) costs: Vec<f64>,
    samples: usize,
}

/// Accuracy and mean cost of thresholds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Score {
    pub(super) right: usize,
    pub(super) samples: usize,
    /// Total, not mean.
    pub(super) cost: f64,
}

impl Score {
    pub(super) fn accuracy(self) -> f64 {
        self.right as f64 / self.samples.max(1) as f64
    }

    pub(super) fn mean_cost(self) -> f64 {
        self.cost / self.samples.max(1) as f64
    }

    /// Accuracy less the price of cost.
    pub(super) fn value(self, price: f64) -> f64 {
        self.accuracy() - price * self.mean_cost()
    }

    pub(super) fn plus(self, other: Score) -> Score {
        Score { right: self.right + other.right, samples: self.samples + other.samples, cost: self.cost + other.cost }
    }
}

impl<'a> Chain<'a> {
    /// The columns for `set` have been made.
    pub(super) fn new(columns: &'a Columns<'_>, costs: &Costs, set: ExitSet) -> Self {
        let columns: Vec<&Column> = set.prefixes().map(|prefix| columns.get(prefix)).collect();
        let samples = columns.first().map_or(0, |column| column.bins.len());
        Chain { set, columns, costs: set.prefixes().map(|prefix| costs.of(prefix)).collect(), samples }
    }

    /// Bins from which to leave at each exit but the last, best for this price.
    pub(super) fn solve(&self, price: f64, part: Part<'_>, start: Option<&[u16]>) -> Vec<u16> {
        let last = self.columns.len() - 1;
        // Dynamic programming: from the last exit back, every sample reaching each exit, the later thresholds known.
        let mut thresholds = vec![0; last];
        for exit in (0..last).rev() {
            thresholds[exit] = self.best(exit, &thresholds, price, part, true);
        }
        if let Some(start) = start.filter(|start| start.len() == last)
            && self.score(start, part).value(price) > self.score(&thresholds, part).value(price)
        {
            thresholds.copy_from_slice(start);
        }
        // Coordinate ascent: each threshold in turn, on the samples that reach its exit.
        for _ in 0..ROUNDS {
            let mut moved = false;
            for exit in (0..last).rev() {
                let best = self.best(exit, &thresholds, price, part, false);
                moved |= best != thresholds[exit];
                thresholds[exit] = best;
            }
            if !moved {
                break;
            }
        }
        thresholds
    }

    /// The best threshold of one exit when the others stay.
    fn best(&self, exit: usize, thresholds: &[u16], price: f64, part: Part<'_>, all_reach: bool) -> u16 {
        let column = self.columns[exit];
        let last = self.columns.len() - 1;
        let bins = column.ranges.len();
        // Per bin: how much better leaving here is than going on, summed over samples, and how many there are.
        let mut gain = vec![0.0; bins];
        let mut count = vec![0.0; bins];
        for sample in 0..self.samples {
            let earlier = || (0..exit).any(|e| self.columns[e].bins[sample] >= thresholds[e]);
            if !part.holds(sample) || (!all_reach && earlier()) {
                continue;
            }
            let mut later = exit + 1;
            while later < last && self.columns[later].bins[sample] < thresholds[later] {
                later += 1;
            }
            let right = |e: usize| f64::from(u8::from(self.columns[e].right[sample]));
            let bin = column.bins[sample] as usize;
            gain[bin] += right(exit) - right(later) + price * (self.costs[later] - self.costs[exit]);
            count[bin] += 1.0;
        }
        let mean: Vec<f64> = gain.iter().zip(&count).map(|(g, &n)| if n > 0.0 { g / n } else { 0.0 }).collect();
        // Where the isotonic estimate of the gain turns positive is the best single threshold; on a tie leaving early
        // wins, being cheaper.
        isotonic(&mean, &count).partition_point(|&gain| gain < -1e-12) as u16
    }

    /// Accuracy and cost of thresholds.
    pub(super) fn score(&self, thresholds: &[u16], part: Part<'_>) -> Score {
        let last = self.columns.len() - 1;
        let mut score = Score::default();
        for sample in (0..self.samples).filter(|&sample| part.holds(sample)) {
            let mut exit = 0;
            while exit < last && self.columns[exit].bins[sample] < thresholds[exit] {
                exit += 1;
            }
            score.samples += 1;
            score.right += usize::from(self.columns[exit].right[sample]);
            score.cost += self.costs[exit];
        }
        score
    }

    /// The policy that leaves from these bins on, and at the last exit always.
    pub(super) fn policy(&self, measure: Measure, exits: usize, bins: &[u16]) -> Result<ExitPolicy, PolicyError> {
        let mut rules = vec![ExitRule::Skip; exits];
        let each = bins.iter().zip(&self.columns).map(|(&bin, column)| column.threshold(bin as usize));
        for (exit, threshold) in self.set.iter().zip(each.chain([0.0])) {
            rules[exit] = ExitRule::Leave(threshold);
        }
        ExitPolicy::new(measure, &rules)
    }
}

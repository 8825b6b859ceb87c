//! From calibration records to the accuracy-cost Pareto frontier of exit policies.

use std::io;

use dyn_perceiver_core::exit::{Frontier, FrontierError, LogitsError, MAX_POINTS, Measure, PolicyError};
use thiserror::Error;

use super::columns::{EnsembleKind, Fitted};
use super::compare::{COMPARED_SAMPLES, MAX_FOLDS, choose, compare, deal, held_out, optimism};
use super::hull;
use super::points::{Point, fill, increasing, operating_point, sweep_prices};
use super::sets::sets_of_exits;
use crate::evaluate::ReplayError;
use crate::records::Records;

/// What the solver chooses among.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SolveOptions {
    /// Confidence measures to compare.
    pub measures: Vec<Measure>,
    /// Kinds of ensemble to compare; those that the records do not allow are passed over.
    pub ensembles: Vec<EnsembleKind>,
    /// Whether exits may be left out.
    pub subsets: bool,
    /// Folds of cross-validation, at least 2.
    pub folds: usize,
    /// Seed of the deal into folds.
    pub seed: u64,
}

impl Default for SolveOptions {
    fn default() -> Self {
        SolveOptions {
            measures: Measure::ALL.to_vec(),
            ensembles: EnsembleKind::ALL.to_vec(),
            subsets: true,
            folds: 5,
            seed: 1,
        }
    }
}

impl SolveOptions {
    /// Chooses among these confidence measures only.
    #[must_use]
    pub fn with_measures(self, measures: impl Into<Vec<Measure>>) -> Self {
        SolveOptions { measures: measures.into(), ..self }
    }

    /// Chooses among these kinds of ensemble only.
    #[must_use]
    pub fn with_ensembles(self, ensembles: impl Into<Vec<EnsembleKind>>) -> Self {
        SolveOptions { ensembles: ensembles.into(), ..self }
    }

    /// Evaluates every exit on the way: none is left out.
    #[must_use]
    pub fn with_every_exit(self) -> Self {
        SolveOptions { subsets: false, ..self }
    }

    /// Deals the folds of cross-validation, and what else is dealt at random, with this seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        SolveOptions { seed, ..self }
    }
}

/// A frontier and how it was chosen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Solved {
    /// The frontier. Expected accuracies are those on the samples, their gains shrunk by the optimism.
    pub frontier: Frontier,
    /// Every combination compared, in the order compared.
    pub compared: Vec<Compared>,
    /// Which of them was chosen.
    pub chosen: usize,
    /// How much better thresholds did on the samples they were fitted to than on held-out ones, in accuracy.
    pub optimism: f64,
}

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

/// Why there is no frontier.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SolveError {
    /// There are no samples to learn from.
    #[error("no samples to calibrate on")]
    NoSamples,
    /// No measure or no ensemble was allowed.
    #[error("no confidence measure or no ensemble to choose from")]
    NothingToChoose,
    /// The logits could not be read.
    #[error("reading logits")]
    Read(#[from] io::Error),
    /// A policy that was found cannot be replayed on the records.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The logits are not finite.
    #[error("logits of row {}", row + 1)]
    Logits {
        /// The row, from 0.
        row: u32,
        /// What is wrong.
        source: LogitsError,
    },
    /// A policy that was found is not valid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The points that were found are not a valid frontier.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
}

impl Solved {
    /// The combination that was chosen.
    pub fn choice(&self) -> Option<&Compared> {
        self.compared.get(self.chosen)
    }
}

/// Finds the accuracy-cost Pareto frontier: the policies that are best for their cost on `rows` of the records, which are
/// sorted.
///
/// For a price of cost, thresholds over a set of exits are found by dynamic programming with isotonic regression and
/// refined by coordinate ascent; prices and sets are swept, and what is best at some price is kept. Confidence measure
/// and ensemble are those that do best on held-out folds.
///
/// # Errors
/// [`SolveError`].
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::records::Synthetic;
/// use dyn_perceiver_calibrate::solver::{SolveOptions, solve};
/// use dyn_perceiver_core::exit::Measure;
///
/// let records = Synthetic::four_exits().records(500, 1)?;
/// let options = SolveOptions::default().with_measures([Measure::Margin]);
/// let solved = solve(&records, &records.rows(), &options)?;
/// let points = solved.frontier.points();
/// assert!(points.windows(2).all(|pair| pair[0].cost < pair[1].cost && pair[0].accuracy < pair[1].accuracy));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn solve(records: &Records, rows: &[u32], options: &SolveOptions) -> Result<Solved, SolveError> {
    if rows.is_empty() {
        return Err(SolveError::NoSamples);
    }
    let costs = records.costs();
    let mut fitted = Fitted::new(records, rows)?;
    let sets = sets_of_exits(records, &fitted, rows.len(), options);
    fitted.prepare_means(sets.iter().copied())?;
    let count = options.folds.clamp(2, MAX_FOLDS);
    let folds = deal(rows.len(), count, COMPARED_SAMPLES, options.seed);

    let mut candidates = vec![];
    for kind in fitted.kinds().filter(|kind| options.ensembles.contains(kind)) {
        for &measure in &options.measures {
            let mut columns = fitted.columns(kind, measure);
            sets.iter().for_each(|&set| columns.make(&fitted, set));
            let scores = held_out(&columns, costs, &sets, &folds, count);
            candidates.push((kind, columns, scores));
        }
    }
    let compared = compare(&candidates, costs);
    let chosen = choose(&compared).ok_or(SolveError::NothingToChoose)?;
    let (_, columns, scores) = candidates.swap_remove(chosen);
    let optimism = optimism(&columns, costs, &sets, &folds, &scores);

    let mut points = sweep_prices(&columns, costs, &sets);
    fill(&columns, costs, &mut points);
    hull::thin(&mut points, MAX_POINTS, Point::coordinates);
    // No thresholds were fitted to the cheapest point, and most to the dearest: what the first gives is taken at its word,
    // and what others gain on it is shrunk so that the dearest loses the whole optimism.
    let (least, most) = (points.first().map_or(0.0, |p| p.accuracy), points.last().map_or(0.0, |p| p.accuracy));
    let kept = if most > least { (1.0 - optimism / (most - least)).max(0.0) } else { 0.0 };
    let mut operating = vec![];
    for point in &points {
        let expected = least + kept * (point.accuracy - least);
        operating.push(operating_point(records, rows, &columns, point, expected)?);
    }
    let frontier = Frontier::new(costs.unit(), &increasing(operating))?;
    Ok(Solved { frontier, compared, chosen, optimism })
}

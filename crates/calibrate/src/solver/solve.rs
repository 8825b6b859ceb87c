//! From calibration records to the accuracy-cost Pareto frontier of exit policies.

use dyn_perceiver_core::exit::{Calibration, Frontier, MAX_POINTS};

use super::columns::Fitted;
use super::compare::{COMPARED_SAMPLES, Compared, MAX_FOLDS, choose, compare, deal, held_out, optimism};
use super::error::SolveError;
use super::hull;
use super::options::SolveOptions;
use super::points::{Point, fill, increasing, operating_point, sweep_prices};
use super::probability::Tally;
use super::sets::sets_of_exits;
use crate::records::Records;

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
    /// How probably answers under the frontier's points are right.
    pub calibration: Calibration,
    /// How much better thresholds did on the samples they were fitted to than on held-out ones, in accuracy.
    pub optimism: f64,
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
    let (kind, columns, scores) = candidates.swap_remove(chosen);
    let optimism = optimism(&columns, costs, &sets, &folds, &scores);

    let mut points = sweep_prices(&columns, costs, &sets);
    fill(&columns, costs, &mut points);
    hull::thin(&mut points, MAX_POINTS, Point::coordinates);
    // No thresholds were fitted to the cheapest point, and most to the dearest: what the first gives is taken at its word,
    // and what others gain on it is shrunk so that the dearest loses the whole optimism.
    let (least, most) = (points.first().map_or(0.0, |p| p.accuracy), points.last().map_or(0.0, |p| p.accuracy));
    let kept = if most > least { (1.0 - optimism / (most - least)).max(0.0) } else { 0.0 };
    let mut operating = vec![];
    let mut tally = Tally::new(records.exits().len());
    for point in &points {
        let expected = least + kept * (point.accuracy - least);
        operating.push(operating_point(records, rows, &columns, point, expected, &mut tally)?);
    }
    let frontier = Frontier::new(costs.unit(), &increasing(operating))?;
    let calibration = tally.calibration(columns.measure, kind, fitted.curves(columns.measure))?;
    Ok(Solved { frontier, compared, chosen, calibration, optimism })
}

//! Points of the frontier in the making: thresholds over a set of exits, and what they gave on the samples.

use dyn_perceiver_core::exit::{MAX_POINTS, OperatingPoint, PolicyError};

use super::columns::Columns;
use super::error::SolveError;
use super::hull;
use super::lagrange::{Chain, Part, Score};
use super::prices::swept_prices;
use super::probability::Tally;
use crate::evaluate::{CostAccuracy, PolicySummary, replay};
use crate::records::{Costs, ExitSet, Records};

/// Points aimed at.
const ENOUGH_POINTS: usize = 40;

/// A policy in terms of columns, and what it gave.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The exits evaluated.
    pub(super) set: ExitSet,
    /// Bins to leave from at each of them but the last.
    pub(super) bins: Vec<u16>,
    /// What that gave on the samples.
    pub(super) score: Score,
    /// The accuracy it is credited with.
    pub(super) accuracy: f64,
}

impl Point {
    fn new(chain: &Chain<'_>, bins: Vec<u16>, part: Part<'_>) -> Self {
        let score = chain.score(&bins, part);
        Point { set: chain.set, bins, score, accuracy: score.accuracy() }
    }

    /// Where it lies in the plane of cost and accuracy.
    pub(super) fn coordinates(&self) -> CostAccuracy {
        CostAccuracy::new(self.score.mean_cost(), self.accuracy)
    }

    /// The bin to leave from at an exit, in a policy that evaluates more exits but does the same: `most`, that nothing
    /// reaches, where this policy passes by; 0 where it leaves at the latest.
    fn bin(&self, exit: usize, most: u16) -> u16 {
        match self.set.iter().position(|own| own == exit) {
            Some(place) => self.bins.get(place).copied().unwrap_or(0),
            None if self.set.last() > Some(exit) => most,
            None => 0,
        }
    }
}

/// The best thresholds over any of the sets; the set with the fewest exits on a tie.
pub(super) fn best_at(
    columns: &Columns<'_>,
    costs: &Costs,
    sets: &[ExitSet],
    price: f64,
    part: Part<'_>,
) -> Option<Point> {
    let mut best: Option<Point> = None;
    for &set in sets {
        let chain = Chain::new(columns, costs, set);
        let point = Point::new(&chain, chain.solve(price, part, None), part);
        if best.as_ref().is_none_or(|best| point.score.value(price) > best.score.value(price) + 1e-12) {
            best = Some(point);
        }
    }
    best
}

/// What is best at some price, in order of cost.
pub(super) fn sweep_prices(columns: &Columns<'_>, costs: &Costs, sets: &[ExitSet]) -> Vec<Point> {
    let mut points: Vec<Point> = vec![];
    for &set in sets {
        let chain = Chain::new(columns, costs, set);
        let mut start: Option<Vec<u16>> = None;
        for price in swept_prices(costs) {
            let thresholds = chain.solve(price, Part::All, start.as_deref());
            points.push(Point::new(&chain, thresholds.clone(), Part::All));
            start = Some(thresholds);
        }
    }
    hull::upper(&mut points, Point::coordinates);
    // Between two neighbours nothing may be better than their mix; the price at which they tie tells.
    let mut asked = 0;
    let mut index = 0;
    while index + 1 < points.len() && asked < MAX_POINTS {
        let (low, high) = (points[index].coordinates(), points[index + 1].coordinates());
        let price = (high.accuracy - low.accuracy) / (high.cost - low.cost);
        asked += 1;
        let found = best_at(columns, costs, sets, price, Part::All);
        match found {
            Some(point) if point.score.value(price) > points[index].score.value(price) + 1e-9 => {
                points.push(point);
                hull::upper(&mut points, Point::coordinates);
                index = 0;
            }
            _ => index += 1,
        }
    }
    points
}

/// Adds points between neighbours that are far apart in cost, with thresholds between theirs, until there are enough. On
/// the samples such a point may lie a little off the line between its neighbours; where that is within the standard
/// error, the line is taken for its accuracy.
pub(super) fn fill(columns: &Columns<'_>, costs: &Costs, points: &mut Vec<Point>) {
    let mut refused: Vec<(ExitSet, Vec<u16>)> = vec![];
    while points.len() < ENOUGH_POINTS {
        let gap = |i: &usize| points[i + 1].score.mean_cost() - points[*i].score.mean_cost();
        let open = (0..points.len().saturating_sub(1))
            .filter(|&i| !refused.iter().any(|(set, bins)| (*set, bins) == (points[i].set, &points[i].bins)));
        let Some(index) = open.max_by(|a, b| gap(a).total_cmp(&gap(b))) else { break };
        let (low, high) = (&points[index], &points[index + 1]);
        match between(columns, costs, low, high) {
            Some(point) => points.insert(index + 1, point),
            None => refused.push((low.set, low.bins.clone())),
        }
    }
}

/// A point whose thresholds lie half way between those of its neighbours, over the exits of either.
fn between(columns: &Columns<'_>, costs: &Costs, low: &Point, high: &Point) -> Option<Point> {
    [high.set, low.set].into_iter().find_map(|set| {
        let chain = Chain::new(columns, costs, set);
        let exits: Vec<usize> = set.iter().collect();
        let bins: Vec<u16> = exits[..exits.len() - 1]
            .iter()
            .zip(&chain.columns)
            .map(|(&exit, column)| {
                let most = column.ranges.len() as u16;
                low.bin(exit, most).midpoint(high.bin(exit, most))
            })
            .collect();
        let score = chain.score(&bins, Part::All);
        let (c0, c1) = (low.score.mean_cost(), high.score.mean_cost());
        let share = (score.mean_cost() - c0) / (c1 - c0);
        let line = low.accuracy + share * (high.accuracy - low.accuracy);
        // The samples answered otherwise than by a neighbour are about as many as leave elsewhere, at most all.
        let moved = (share.min(1.0 - share)).max(0.0) * score.samples as f64;
        let error = moved.max(1.0).sqrt() * (line * (1.0 - line)).sqrt() / score.samples as f64;
        let fits = share > 1e-6 && share < 1.0 - 1e-6 && score.accuracy() >= line - error;
        fits.then_some(Point { set, bins, score, accuracy: line })
    })
}

pub(super) fn operating_point(
    records: &Records,
    rows: &[u32],
    columns: &Columns<'_>,
    point: &Point,
    expected: f64,
    tally: &mut Tally,
) -> Result<OperatingPoint, SolveError> {
    let Point { set, bins, .. } = point;
    let chain = Chain::new(columns, records.costs(), *set);
    let mut policy = chain.policy(columns.measure, records.exits().len(), bins)?;
    if set.len() > 1 {
        policy = policy.with_ensemble(columns.ensemble.clone())?;
    }
    let outcomes = replay(&policy, records, rows)?;
    tally.add(&policy, &outcomes);
    let summary = PolicySummary::of(&policy, records.costs(), &outcomes);
    let shares: Vec<f32> = summary.shares.iter().map(|&share| share as f32).collect();
    OperatingPoint::new(policy, expected as f32, summary.cost as f32, &shares)
        .map_err(|error| PolicyError::from(error).into())
}

/// The points sorted by cost, without those that are no more accurate than a cheaper one.
pub(crate) fn increasing(mut points: Vec<OperatingPoint>) -> Vec<OperatingPoint> {
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.accuracy.total_cmp(&a.accuracy)));
    let mut best = f32::NEG_INFINITY;
    points.retain(|point| {
        let better = point.accuracy > best;
        best = best.max(point.accuracy);
        better
    });
    points
}

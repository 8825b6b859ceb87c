//! From calibration records to the frontier.

use std::io;

use thiserror::Error;

use super::columns::{Columns, EvidenceKind, Fitted};
use super::costs::{Costs, ExitMask, exits_of};
use super::hull;
use super::lagrange::{Ladder, NO_FOLD, Part, Score};
use super::random::Random;
use super::records::Records;
use super::simulate::{simulate, summarise};
use crate::exit::{ExitPolicy, ExitRule, Frontier, FrontierError, MAX_POINTS, Measure, OperatingPoint, PolicyError};

/// Prices at which the frontier is first sought, from dear to cheap, in accuracy per cost of the whole network.
const PRICES: usize = 64;
/// Prices at which measures, evidence and sets of exits are compared.
const COMPARED_PRICES: usize = 12;
/// Samples on which they are compared, at most.
const COMPARED_SAMPLES: usize = 10_000;
/// Samples on which sets of exits are sifted, at most.
const SIFTED_SAMPLES: usize = 4_000;
/// A set of exits is kept when at some price it comes so close, in accuracy, to the best one.
const SIFT: f64 = 0.005;
/// Sets of exits kept, at most.
const SETS: usize = 16;
/// What a measure or kind of evidence must gain on held-out samples over a simpler one.
const WORTHWHILE: f64 = 2e-4;
/// Points aimed at.
const ENOUGH_POINTS: usize = 40;

/// What the solver chooses among.
#[derive(Clone, Debug)]
pub struct SolveOptions {
    /// Confidence measures to compare.
    pub measures: Vec<Measure>,
    /// Kinds of evidence to compare; those that the records do not allow are passed over.
    pub evidence: Vec<EvidenceKind>,
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
            evidence: EvidenceKind::ALL.to_vec(),
            subsets: true,
            folds: 5,
            seed: 1,
        }
    }
}

/// A frontier and how it was chosen.
#[derive(Clone, Debug)]
pub struct Solved {
    /// The frontier. Expected accuracies are those on the samples, less the optimism.
    pub frontier: Frontier,
    /// Every combination compared, in the order compared.
    pub compared: Vec<Compared>,
    /// Which of them was chosen.
    pub chosen: usize,
    /// How much better thresholds did on the samples they were fitted to than on held-out ones, in accuracy.
    pub optimism: f64,
}

/// A measure with a kind of evidence, judged on held-out folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The measure.
    pub measure: Measure,
    /// The kind of evidence.
    pub evidence: EvidenceKind,
    /// Held-out accuracy less the price of cost, averaged over prices.
    pub value: f64,
}

/// Why there is no frontier.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SolveError {
    /// There are no samples to learn from.
    #[error("no samples to calibrate on")]
    NoSamples,
    /// No measure or no evidence was allowed.
    #[error("no confidence measure or no evidence to choose from")]
    NothingToChoose,
    /// The logits could not be read.
    #[error("reading logits: {0}")]
    Logits(#[from] io::Error),
    /// A policy that was found is not valid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The points that were found are not a valid frontier.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
}

/// Finds the policies that are best for their cost on `rows` of the records, which are sorted.
///
/// For a price of cost, thresholds over a set of exits are found by dynamic programming with isotonic regression and
/// refined by coordinate ascent; prices and sets are swept, and what is best at some price is kept. Confidence measure
/// and evidence are those that do best on held-out folds.
///
/// # Errors
/// [`SolveError`].
pub fn solve(records: &Records, rows: &[u32], options: &SolveOptions) -> Result<Solved, SolveError> {
    if rows.is_empty() {
        return Err(SolveError::NoSamples);
    }
    let costs = &records.costs;
    let mut fitted = Fitted::new(records, rows)?;
    let masks = sets_of_exits(records, &fitted, rows.len(), options);
    fitted.prepare_means(masks.iter().copied())?;
    let folds = deal(rows.len(), options.folds.max(2), COMPARED_SAMPLES, options.seed);

    let mut compared = vec![];
    let mut best: Option<(usize, Columns<'_>)> = None;
    for kind in fitted.kinds().filter(|kind| options.evidence.contains(kind)) {
        for &measure in &options.measures {
            let mut columns = fitted.columns(kind, measure);
            masks.iter().for_each(|&mask| columns.make(&fitted, mask));
            let value = mean(held_out(&columns, costs, &masks, &folds, options.folds.max(2)).iter().map(|v| v.1));
            let better = |(index, _): &(usize, _)| value > compared_value(&compared, *index) + WORTHWHILE;
            let index = compared.len();
            if best.as_ref().is_none_or(better) {
                best = Some((index, columns));
            }
            compared.push(Compared { measure, evidence: kind, value });
        }
    }
    let (chosen, columns) = best.ok_or(SolveError::NothingToChoose)?;
    let optimism = optimism(&columns, costs, &masks, &folds, options.folds.max(2));

    let mut points = sweep_prices(&columns, costs, &masks);
    fill(&columns, costs, &mut points);
    hull::thin(&mut points, MAX_POINTS, |(_, _, score)| (score.mean_cost(), score.accuracy()));
    let mut operating = vec![];
    for (mask, thresholds, _) in &points {
        operating.push(operating_point(records, rows, &columns, *mask, thresholds, optimism)?);
    }
    let frontier = Frontier::new(costs.unit(), &increasing(operating))?;
    Ok(Solved { frontier, compared, chosen, optimism })
}

/// A set of exits, the bins to leave from at each but the last, and what that gave.
type Point = (ExitMask, Vec<u16>, Score);

fn compared_value(compared: &[Compared], index: usize) -> f64 {
    compared.get(index).map_or(f64::NEG_INFINITY, |c| c.value)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    sum / count.max(1) as f64
}

/// From `dear` to `cheap` in equal ratios, per unit of cost.
fn prices(costs: &Costs, count: usize, dear: f64, cheap: f64) -> impl Iterator<Item = f64> + use<> {
    let full = if costs.full() > 0.0 { costs.full() } else { 1.0 };
    (0..count).map(move |i| dear * (cheap / dear).powf(i as f64 / (count - 1).max(1) as f64) / full)
}

fn compared_prices(costs: &Costs) -> impl Iterator<Item = f64> + use<> {
    prices(costs, COMPARED_PRICES - 1, 2.0, 2e-3).chain([0.0])
}

/// The fold of every sample; those beyond `most` are in none.
fn deal(samples: usize, folds: usize, most: usize, seed: u64) -> Vec<u8> {
    let mut dealt: Vec<u8> =
        (0..samples).map(|i| if i < most { (i % folds.min(200)) as u8 } else { NO_FOLD }).collect();
    Random::new(seed).shuffle(&mut dealt);
    dealt
}

/// Sets of exits worth looking at, by each exit's own word: those near the best at some price. The fewest exits first.
fn sets_of_exits(records: &Records, fitted: &Fitted<'_>, samples: usize, options: &SolveOptions) -> Vec<ExitMask> {
    let exits = records.exits.len();
    let every = (1usize << exits) - 1;
    let costs = &records.costs;
    if !options.subsets {
        // The first exit alone and so on to all: a policy whose first thresholds are 0 leaves there.
        return (0..exits).map(|exit| every >> (exits - 1 - exit)).collect();
    }
    let mut masks: Vec<ExitMask> = (1..=every).collect();
    masks.sort_by_key(|mask| mask.count_ones());
    if masks.len() <= SETS {
        return masks;
    }
    let sifted = deal(samples, 1, SIFTED_SAMPLES, options.seed);
    let part = Part::Only(&sifted, 0);
    let mut columns = fitted.columns(EvidenceKind::Own, Measure::MaxSoftmax);
    columns.make(fitted, every);
    let mut gaps = vec![f64::INFINITY; masks.len()];
    for price in compared_prices(costs) {
        let value = |&mask: &ExitMask| {
            let ladder = Ladder::new(&columns, costs, mask);
            ladder.score(&ladder.solve(price, part, None), part).value(price)
        };
        let values: Vec<f64> = masks.iter().map(value).collect();
        let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for (gap, value) in gaps.iter_mut().zip(values) {
            *gap = gap.min(best - value);
        }
    }
    let cheapest = exits_of(every).min_by(|&a, &b| costs.of(1 << a).total_cmp(&costs.of(1 << b))).unwrap_or(0);
    let mut ranked: Vec<(f64, ExitMask)> = gaps.into_iter().zip(masks).filter(|(gap, _)| *gap <= SIFT).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked.truncate(SETS);
    let mut kept: Vec<ExitMask> = ranked.into_iter().map(|(_, mask)| mask).chain([1 << cheapest, every]).collect();
    kept.sort_by_key(|mask| (mask.count_ones(), *mask));
    kept.dedup();
    kept
}

/// For each compared price: the price, and the value on held-out folds of what was best on the other folds.
fn held_out(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask], folds: &[u8], count: usize) -> Vec<(f64, f64)> {
    let mut totals = vec![Score::default(); COMPARED_PRICES];
    for fold in 0..count as u8 {
        let (train, judge) = (Part::Without(folds, fold), Part::Only(folds, fold));
        for (total, price) in totals.iter_mut().zip(compared_prices(costs)) {
            if let Some((mask, thresholds, _)) = best_at(columns, costs, masks, price, train) {
                *total = total.plus(Ladder::new(columns, costs, mask).score(&thresholds, judge));
            }
        }
    }
    compared_prices(costs).zip(totals).map(|(price, total)| (price, total.value(price))).collect()
}

/// How much the samples fitted to flatter, in accuracy: the mean over prices at which there are thresholds to fit.
fn optimism(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask], folds: &[u8], count: usize) -> f64 {
    let dealt = Part::Without(folds, NO_FOLD - 1);
    let flattery = held_out(columns, costs, masks, folds, count).into_iter().filter_map(|(price, value)| {
        let (_, thresholds, score) = best_at(columns, costs, masks, price, dealt)?;
        (!thresholds.is_empty()).then(|| score.value(price) - value)
    });
    mean(flattery).max(0.0)
}

/// The best thresholds over any of the sets; the set with the fewest exits on a tie.
fn best_at(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask], price: f64, part: Part<'_>) -> Option<Point> {
    let mut best: Option<Point> = None;
    for &mask in masks {
        let ladder = Ladder::new(columns, costs, mask);
        let thresholds = ladder.solve(price, part, None);
        let score = ladder.score(&thresholds, part);
        if best.as_ref().is_none_or(|(_, _, b)| score.value(price) > b.value(price) + 1e-12) {
            best = Some((mask, thresholds, score));
        }
    }
    best
}

/// What is best at some price, in order of cost.
fn sweep_prices(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask]) -> Vec<Point> {
    let coordinates = |(_, _, score): &Point| (score.mean_cost(), score.accuracy());
    let mut points: Vec<Point> = vec![];
    for &mask in masks {
        let ladder = Ladder::new(columns, costs, mask);
        let mut start: Option<Vec<u16>> = None;
        for price in prices(costs, PRICES, 20.0, 2e-4).chain([0.0]) {
            let thresholds = ladder.solve(price, Part::All, start.as_deref());
            points.push((mask, thresholds.clone(), ladder.score(&thresholds, Part::All)));
            start = Some(thresholds);
        }
    }
    hull::upper(&mut points, coordinates);
    // Between two neighbours nothing may be better than their mix; the price at which they tie tells.
    let mut asked = 0;
    let mut index = 0;
    while index + 1 < points.len() && asked < MAX_POINTS {
        let ((c0, a0), (c1, a1)) = (coordinates(&points[index]), coordinates(&points[index + 1]));
        let price = (a1 - a0) / (c1 - c0);
        asked += 1;
        let found = best_at(columns, costs, masks, price, Part::All);
        match found {
            Some(point) if point.2.value(price) > points[index].2.value(price) + 1e-9 => {
                points.push(point);
                hull::upper(&mut points, coordinates);
                index = 0;
            }
            _ => index += 1,
        }
    }
    points
}

/// Adds points between neighbours that are far apart in cost, with thresholds between theirs, until there are enough:
/// they are not better than a mix of the two, but a point of their own.
fn fill(columns: &Columns<'_>, costs: &Costs, points: &mut Vec<Point>) {
    let mut refused = vec![];
    while points.len() < ENOUGH_POINTS {
        let gap = |i: &usize| points[i + 1].2.mean_cost() - points[*i].2.mean_cost();
        let open = (0..points.len().saturating_sub(1))
            .filter(|&i| points[i].0 == points[i + 1].0 && !refused.contains(&points[i].2.right));
        let Some(index) = open.max_by(|a, b| gap(a).total_cmp(&gap(b))) else { break };
        let ((mask, low, below), (_, high, above)) = (&points[index], &points[index + 1]);
        let between: Vec<u16> = low.iter().zip(high).map(|(&l, &h)| l.midpoint(h)).collect();
        let score = Ladder::new(columns, costs, *mask).score(&between, Part::All);
        let inside = |low: f64, middle: f64, high: f64| low < middle && middle < high;
        if inside(below.mean_cost(), score.mean_cost(), above.mean_cost())
            && inside(below.accuracy(), score.accuracy(), above.accuracy())
        {
            points.insert(index + 1, (*mask, between, score));
        } else {
            refused.push(below.right);
        }
    }
}

fn operating_point(
    records: &Records,
    rows: &[u32],
    columns: &Columns<'_>,
    mask: ExitMask,
    thresholds: &[u16],
    optimism: f64,
) -> Result<OperatingPoint, SolveError> {
    let ladder = Ladder::new(columns, &records.costs, mask);
    let mut rules = vec![ExitRule::Skip; records.exits.len()];
    let each = thresholds.iter().zip(&ladder.columns).map(|(&bin, column)| column.threshold(bin as usize));
    for (exit, threshold) in exits_of(mask).zip(each.chain([0.0])) {
        rules[exit] = ExitRule::Leave(threshold);
    }
    let mut policy = ExitPolicy::new(columns.measure, &rules)?;
    if mask.count_ones() > 1 {
        policy = policy.with_evidence(columns.evidence.clone())?;
    }
    let summary = summarise(&policy, &records.costs, &simulate(&policy, records, rows)?);
    let expected = if thresholds.is_empty() { summary.accuracy } else { summary.accuracy - optimism };
    Ok(OperatingPoint {
        policy,
        accuracy: expected.max(0.0) as f32,
        cost: summary.cost as f32,
        shares: summary.shares.into_iter().map(|share| share as f32).collect(),
    })
}

/// The points sorted by cost, without those that are no more accurate than a cheaper one.
pub(super) fn increasing(mut points: Vec<OperatingPoint>) -> Vec<OperatingPoint> {
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.accuracy.total_cmp(&a.accuracy)));
    let mut best = f32::NEG_INFINITY;
    points.retain(|point| {
        let better = point.accuracy > best;
        best = best.max(point.accuracy);
        better
    });
    points
}

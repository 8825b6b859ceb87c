//! From calibration records to the frontier.

use std::io;

use thiserror::Error;

use crate::evaluate::{simulate, summarise};
use crate::random::Random;
use crate::records::Records;
use crate::records::{Costs, ExitMask, exits_of};
use crate::solver::columns::{Columns, EvidenceKind, Fitted};
use crate::solver::hull;
use crate::solver::isotonic;
use crate::solver::lagrange::{Ladder, NO_FOLD, Part, Score};
use dyn_perceiver_core::exit::{
    ExitPolicy, ExitRule, Frontier, FrontierError, MAX_POINTS, Measure, OperatingPoint, PolicyError,
};

/// Prices at which the frontier is first sought, from dear to cheap, in accuracy per cost of the whole network.
const PRICES: usize = 64;
/// Prices at which measures, evidence and sets of exits are compared.
const COMPARED_PRICES: usize = 12;
/// Budgets over which they are compared.
const COMPARED_BUDGETS: usize = 32;
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
    /// The frontier. Expected accuracies are those on the samples, their gains shrunk by the optimism.
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

    let mut candidates = vec![];
    for kind in fitted.kinds().filter(|kind| options.evidence.contains(kind)) {
        for &measure in &options.measures {
            let mut columns = fitted.columns(kind, measure);
            masks.iter().for_each(|&mask| columns.make(&fitted, mask));
            let scores = held_out(&columns, costs, &masks, &folds, options.folds.max(2));
            candidates.push((kind, columns, scores));
        }
    }
    let compared = compare(&candidates, costs);
    let chosen = choose(&compared).ok_or(SolveError::NothingToChoose)?;
    let (_, columns, scores) = candidates.swap_remove(chosen);
    let optimism = optimism(&columns, costs, &masks, &folds, &scores);

    let mut points = sweep_prices(&columns, costs, &masks);
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

/// A policy in terms of columns, and what it gave.
#[derive(Clone, Debug)]
struct Point {
    /// The exits evaluated.
    mask: ExitMask,
    /// Bins to leave from at each of them but the last.
    bins: Vec<u16>,
    /// What that gave on the samples.
    score: Score,
    /// The accuracy it is credited with.
    accuracy: f64,
}

impl Point {
    fn new(ladder: &Ladder<'_>, bins: Vec<u16>, part: Part<'_>) -> Self {
        let score = ladder.score(&bins, part);
        Point { mask: ladder.mask, bins, score, accuracy: score.accuracy() }
    }

    /// Cost and accuracy.
    fn coordinates(&self) -> (f64, f64) {
        (self.score.mean_cost(), self.accuracy)
    }

    /// The bin to leave from at an exit, in a policy that evaluates more exits but does the same: `most`, that nothing
    /// reaches, where this policy passes by; 0 where it leaves at the latest.
    fn bin(&self, exit: usize, most: u16) -> u16 {
        match exits_of(self.mask).position(|own| own == exit) {
            Some(place) => self.bins.get(place).copied().unwrap_or(0),
            None if self.mask >> exit > 1 => most,
            None => 0,
        }
    }
}

/// A kind of evidence, its columns for a measure, and what they gave on held-out folds at every compared price.
type Candidate<'a> = (EvidenceKind, Columns<'a>, Vec<Score>);

/// The mean of each candidate's held-out accuracy over budgets, evenly from the cheapest to what candidates come to at the
/// lowest price. In between, accuracy is interpolated, and smoothed to grow with cost.
fn compare(candidates: &[Candidate<'_>], costs: &Costs) -> Vec<Compared> {
    // The last compared price is 0: what that costs says little, for any gain is worth it.
    let reach = mean(candidates.iter().map(|(_, _, scores)| scores[COMPARED_PRICES - 2].mean_cost()));
    let least = (0..costs.exits()).map(|exit| costs.of(1 << exit)).fold(f64::INFINITY, f64::min);
    candidates
        .iter()
        .map(|(evidence, columns, scores)| {
            let mut points: Vec<(f64, f64)> = scores.iter().map(|s| (s.mean_cost(), s.accuracy())).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (accuracy, weight): (Vec<f64>, Vec<f64>) = points.iter().map(|p| (p.1, 1.0)).unzip();
            points.iter_mut().zip(isotonic(&accuracy, &weight)).for_each(|(point, smooth)| point.1 = smooth);
            points.dedup_by(|b, a| a.0 == b.0);
            let budgets = (0..=COMPARED_BUDGETS).map(|i| least + (reach - least) * i as f64 / COMPARED_BUDGETS as f64);
            let at = |cost| hull::mixed_accuracy(&points, cost).or(points.first().map(|p| p.1)).unwrap_or(0.0);
            Compared { measure: columns.measure, evidence: *evidence, accuracy: mean(budgets.map(at)) }
        })
        .collect()
}

/// The best candidate; an earlier, simpler one where a later one is not worth it.
fn choose(compared: &[Compared]) -> Option<usize> {
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

/// From `dear` to `cheap` in equal ratios, per unit of cost.
fn prices(costs: &Costs, count: usize, dear: f64, cheap: f64) -> impl Iterator<Item = f64> + use<> {
    let full = if costs.full() > 0.0 { costs.full() } else { 1.0 };
    (0..count).map(move |i| dear * (cheap / dear).powf(i as f64 / (count - 1).max(1) as f64) / full)
}

fn compared_prices(costs: &Costs) -> impl Iterator<Item = f64> + use<> {
    prices(costs, COMPARED_PRICES - 1, 2.0, 0.02).chain([0.0])
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

/// For each compared price, what was best on the other folds gave on each fold, all folds together.
fn held_out(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask], folds: &[u8], count: usize) -> Vec<Score> {
    let mut totals = vec![Score::default(); COMPARED_PRICES];
    for fold in 0..count as u8 {
        let (train, judge) = (Part::Without(folds, fold), Part::Only(folds, fold));
        for (total, price) in totals.iter_mut().zip(compared_prices(costs)) {
            if let Some(point) = best_at(columns, costs, masks, price, train) {
                *total = total.plus(Ladder::new(columns, costs, point.mask).score(&point.bins, judge));
            }
        }
    }
    totals
}

/// How much the samples fitted to flatter, in accuracy: the mean over prices at which there are thresholds to fit.
fn optimism(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask], folds: &[u8], scores: &[Score]) -> f64 {
    let dealt = Part::Without(folds, NO_FOLD - 1);
    let flattery = compared_prices(costs).zip(scores).filter_map(|(price, held_out)| {
        let point = best_at(columns, costs, masks, price, dealt)?;
        (!point.bins.is_empty()).then(|| point.score.value(price) - held_out.value(price))
    });
    mean(flattery).max(0.0)
}

/// The best thresholds over any of the sets; the set with the fewest exits on a tie.
fn best_at(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask], price: f64, part: Part<'_>) -> Option<Point> {
    let mut best: Option<Point> = None;
    for &mask in masks {
        let ladder = Ladder::new(columns, costs, mask);
        let point = Point::new(&ladder, ladder.solve(price, part, None), part);
        if best.as_ref().is_none_or(|best| point.score.value(price) > best.score.value(price) + 1e-12) {
            best = Some(point);
        }
    }
    best
}

/// What is best at some price, in order of cost.
fn sweep_prices(columns: &Columns<'_>, costs: &Costs, masks: &[ExitMask]) -> Vec<Point> {
    let mut points: Vec<Point> = vec![];
    for &mask in masks {
        let ladder = Ladder::new(columns, costs, mask);
        let mut start: Option<Vec<u16>> = None;
        for price in prices(costs, PRICES, 20.0, 2e-4).chain([0.0]) {
            let thresholds = ladder.solve(price, Part::All, start.as_deref());
            points.push(Point::new(&ladder, thresholds.clone(), Part::All));
            start = Some(thresholds);
        }
    }
    hull::upper(&mut points, Point::coordinates);
    // Between two neighbours nothing may be better than their mix; the price at which they tie tells.
    let mut asked = 0;
    let mut index = 0;
    while index + 1 < points.len() && asked < MAX_POINTS {
        let ((c0, a0), (c1, a1)) = (points[index].coordinates(), points[index + 1].coordinates());
        let price = (a1 - a0) / (c1 - c0);
        asked += 1;
        let found = best_at(columns, costs, masks, price, Part::All);
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
fn fill(columns: &Columns<'_>, costs: &Costs, points: &mut Vec<Point>) {
    let mut refused: Vec<(ExitMask, Vec<u16>)> = vec![];
    while points.len() < ENOUGH_POINTS {
        let gap = |i: &usize| points[i + 1].score.mean_cost() - points[*i].score.mean_cost();
        let open = (0..points.len().saturating_sub(1))
            .filter(|&i| !refused.iter().any(|(mask, bins)| (*mask, bins) == (points[i].mask, &points[i].bins)));
        let Some(index) = open.max_by(|a, b| gap(a).total_cmp(&gap(b))) else { break };
        let (low, high) = (&points[index], &points[index + 1]);
        match between(columns, costs, low, high) {
            Some(point) => points.insert(index + 1, point),
            None => refused.push((low.mask, low.bins.clone())),
        }
    }
}

/// A point whose thresholds lie half way between those of its neighbours, over the exits of either.
fn between(columns: &Columns<'_>, costs: &Costs, low: &Point, high: &Point) -> Option<Point> {
    [high.mask, low.mask].into_iter().find_map(|mask| {
        let ladder = Ladder::new(columns, costs, mask);
        let exits: Vec<usize> = exits_of(mask).collect();
        let bins: Vec<u16> = exits[..exits.len() - 1]
            .iter()
            .zip(&ladder.columns)
            .map(|(&exit, column)| {
                let most = column.ranges.len() as u16;
                low.bin(exit, most).midpoint(high.bin(exit, most))
            })
            .collect();
        let score = ladder.score(&bins, Part::All);
        let (c0, c1) = (low.score.mean_cost(), high.score.mean_cost());
        let share = (score.mean_cost() - c0) / (c1 - c0);
        let line = low.accuracy + share * (high.accuracy - low.accuracy);
        // The samples answered otherwise than by a neighbour are about as many as leave elsewhere, at most all.
        let moved = (share.min(1.0 - share)).max(0.0) * score.samples as f64;
        let error = moved.max(1.0).sqrt() * (line * (1.0 - line)).sqrt() / score.samples as f64;
        let fits = share > 1e-6 && share < 1.0 - 1e-6 && score.accuracy() >= line - error;
        fits.then_some(Point { mask, bins, score, accuracy: line })
    })
}

fn operating_point(
    records: &Records,
    rows: &[u32],
    columns: &Columns<'_>,
    point: &Point,
    expected: f64,
) -> Result<OperatingPoint, SolveError> {
    let Point { mask, bins, .. } = point;
    let ladder = Ladder::new(columns, &records.costs, *mask);
    let mut rules = vec![ExitRule::Skip; records.exits.len()];
    let each = bins.iter().zip(&ladder.columns).map(|(&bin, column)| column.threshold(bin as usize));
    for (exit, threshold) in exits_of(*mask).zip(each.chain([0.0])) {
        rules[exit] = ExitRule::Leave(threshold);
    }
    let mut policy = ExitPolicy::new(columns.measure, &rules)?;
    if mask.count_ones() > 1 {
        policy = policy.with_evidence(columns.evidence.clone())?;
    }
    let summary = summarise(&policy, &records.costs, &simulate(&policy, records, rows)?);
    Ok(OperatingPoint {
        policy,
        accuracy: expected as f32,
        cost: summary.cost as f32,
        shares: summary.shares.into_iter().map(|share| share as f32).collect(),
    })
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

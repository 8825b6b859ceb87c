//! Policies of a detector replayed on labelled pictures: which exits may end a frame, and to which level boxes are computed.

use std::collections::BTreeMap;

use dyn_perceiver_core::detect::BoundingBox;

use super::average_precision::{AveragePrecision, Detected, Truth, average_precision};
use crate::certify::Limit;

/// Thresholds of one set of exits that are tried at most.
const THRESHOLDS: usize = 24;
/// Overlap from which on a box has found an object.
const FOUND: f32 = 0.5;

/// What a detector says of one labelled picture.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Picture {
    /// Its number, which its true boxes and those found have, too.
    pub image: u64,
    /// Whether nothing is there.
    pub empty: bool,
    /// For each exit that tells an empty picture, in order of cost: whether it says so, and its confidence in [0, 1].
    pub exits: Vec<(bool, f64)>,
    /// For each goal, coarse to fine, the boxes that are found up to it.
    pub found: Vec<Vec<Detected>>,
}

impl Picture {
    /// A picture, what each exit that tells an empty one says of it, and the boxes found up to each goal.
    pub fn new(image: u64, empty: bool, exits: Vec<(bool, f64)>, found: Vec<Vec<Detected>>) -> Picture {
        Picture { image, empty, exits, found }
    }
}

/// Which exits are asked, and how far boxes are computed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LevelPolicy {
    /// For each exit that tells an empty picture, from which confidence on it is believed; none where it is not asked.
    pub gates: Vec<Option<f64>>,
    /// How many goals are computed, coarse to fine.
    pub goals: usize,
}

impl LevelPolicy {
    /// These exits at these thresholds, and so many goals.
    pub fn new(gates: Vec<Option<f64>>, goals: usize) -> LevelPolicy {
        LevelPolicy { gates, goals }
    }

    /// Where a picture ends: the exits that are asked, and whether the last of them ends it.
    fn walk(&self, picture: &Picture) -> (Vec<usize>, bool) {
        let mut asked = vec![];
        for (exit, (threshold, &(nothing, confidence))) in self.gates.iter().zip(&picture.exits).enumerate() {
            let Some(threshold) = threshold else { continue };
            asked.push(exit);
            if confidence >= *threshold {
                return (asked, nothing);
            }
        }
        (asked, false)
    }
}

/// What a policy comes to on labelled pictures.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LevelPoint {
    /// The policy.
    pub policy: LevelPolicy,
    /// Average precision of the boxes that it finds.
    pub precision: AveragePrecision,
    /// Share of the pictures with an object in which at least one is found: a box of its class that overlaps it by half.
    pub frame_recall: Option<f64>,
    /// Share of the pictures with an object that an exit ended.
    pub missed: Option<f64>,
    /// Share of the empty pictures that an exit ended.
    pub spared: Option<f64>,
    /// Mean cost of a picture.
    pub cost: f64,
    /// Share of the pictures that each exit that tells an empty one ended.
    pub gated: Vec<f64>,
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Replays a policy. `cost` is that of a picture for which these exits (of those that tell an empty one) and so many goals
/// are computed.
pub fn replay_levels(
    pictures: &[Picture],
    truths: &[Truth],
    policy: &LevelPolicy,
    cost: impl Fn(&[usize], usize) -> f64,
) -> LevelPoint {
    let mut found = vec![];
    let (mut total, mut gated) = (0.0, vec![0usize; policy.gates.len()]);
    let (mut ended, mut recalled) = ([0usize; 2], 0);
    let mut objects: BTreeMap<u64, Vec<&Truth>> = BTreeMap::new();
    for truth in truths.iter().filter(|truth| !truth.crowd) {
        objects.entry(truth.image).or_default().push(truth);
    }
    for picture in pictures {
        let (asked, empty) = policy.walk(picture);
        let goals = if empty { 0 } else { policy.goals };
        total += cost(&asked, goals);
        if empty {
            ended[usize::from(picture.empty)] += 1;
            gated[asked[asked.len() - 1]] += 1;
            continue;
        }
        let Some(boxes) = goals.checked_sub(1).and_then(|goal| picture.found.get(goal)) else { continue };
        let here = objects.get(&picture.image).map_or(&[][..], Vec::as_slice);
        recalled += usize::from(boxes.iter().any(|found| here.iter().any(|truth| has_found(truth, found))));
        found.extend_from_slice(boxes);
    }
    let empty = pictures.iter().filter(|picture| picture.empty).count();
    let with_object = pictures.len() - empty;
    LevelPoint {
        policy: policy.clone(),
        precision: average_precision(truths, &found),
        frame_recall: share(recalled, with_object),
        missed: share(ended[0], with_object),
        spared: share(ended[1], empty),
        cost: total / pictures.len().max(1) as f64,
        gated: gated.iter().map(|&count| count as f64 / pictures.len().max(1) as f64).collect(),
    }
}

/// Whether a box has found an object.
pub fn has_found(truth: &Truth, found: &Detected) -> bool {
    let corners = |[left, top, width, height]: [f64; 4]| {
        BoundingBox::new(left as f32, top as f32, (left + width) as f32, (top + height) as f32)
    };
    truth.class == found.class && corners(truth.bounds).iou(corners(found.area)) >= FOUND
}

/// Thresholds, the same at each of `exits`, by which with the confidence of `limit` at most its share of pictures with an
/// object is called empty: tried from the highest down until one fails (fixed-sequence testing), so that the confidence
/// holds for all that are returned together.
pub fn certified_gates(pictures: &[Picture], exits: &[usize], limit: &Limit) -> Vec<f64> {
    let of = |picture: &Picture| -> Vec<f64> {
        let said = exits.iter().filter_map(|&exit| picture.exits.get(exit));
        said.filter(|(nothing, _)| *nothing).map(|(_, confidence)| *confidence).collect()
    };
    let mut thresholds: Vec<f64> = pictures.iter().flat_map(of).filter(|confidence| confidence.is_finite()).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let with_object: Vec<&Picture> = pictures.iter().filter(|picture| !picture.empty).collect();
    let most = pictures.iter().map(|picture| picture.exits.len()).max().unwrap_or(0);
    let mut certified = vec![];
    for threshold in thresholds {
        let gates = (0..most).map(|exit| exits.contains(&exit).then_some(threshold)).collect();
        let policy = LevelPolicy::new(gates, 1);
        let missed = with_object.iter().filter(|picture| policy.walk(picture).1).count();
        if !limit.certifies(missed, with_object.len()) {
            break;
        }
        certified.push(threshold);
    }
    certified
}

/// The policies that are best for their cost: those that no cheaper one reaches in AP at an overlap of 0.5. Gates are the
/// ones that keep to `limit`; each set of exits that is tried has its part of what may go wrong, so that the confidence holds
/// for whatever is chosen. By rising cost.
pub fn level_frontier(
    pictures: &[Picture],
    truths: &[Truth],
    limit: &Limit,
    cost: impl Fn(&[usize], usize) -> f64 + Copy,
) -> Vec<LevelPoint> {
    let exits = pictures.iter().map(|picture| picture.exits.len()).max().unwrap_or(0);
    let goals = pictures.iter().map(|picture| picture.found.len()).max().unwrap_or(0);
    let mut gates: Vec<Vec<Option<f64>>> = vec![vec![None; exits]];
    let sets: Vec<Vec<usize>> =
        (1..1usize << exits.min(4)).map(|set| (0..exits).filter(|exit| set >> exit & 1 == 1).collect()).collect();
    let apart = 1.0 - (1.0 - limit.confidence()) / sets.len().max(1) as f64;
    if let Ok(limit) = Limit::new(limit.max_loss(), apart) {
        for set in &sets {
            let certified = certified_gates(pictures, set, &limit);
            let step = certified.len().div_ceil(THRESHOLDS).max(1);
            // The lowest one spares most, so it is among them.
            let chosen = certified.iter().rev().step_by(step);
            gates.extend(
                chosen.map(|threshold| (0..exits).map(|exit| set.contains(&exit).then_some(*threshold)).collect()),
            );
        }
    }
    let tried = gates.iter().flat_map(|gates| (1..=goals).map(|goals| LevelPolicy::new(gates.clone(), goals)));
    let mut points: Vec<LevelPoint> = tried.map(|policy| replay_levels(pictures, truths, &policy, cost)).collect();
    let quality = |point: &LevelPoint| point.precision.ap50.unwrap_or(0.0);
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(quality(b).total_cmp(&quality(a))));
    let mut best = f64::NEG_INFINITY;
    points.retain(|point| {
        let better = quality(point) > best;
        best = best.max(quality(point));
        better
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of the pictures are empty, which the first exit sees with confidence; of the others each has two objects, of
    /// which the coarse level finds one.
    fn world(count: u64) -> (Vec<Picture>, Vec<Truth>) {
        let (mut pictures, mut truths) = (vec![], vec![]);
        for image in 0..count {
            let empty = image % 2 == 0;
            let sure = 0.6 + 0.4 * (image as f64 / count as f64);
            let areas = [[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 8.0, 8.0]];
            if !empty {
                truths.extend(areas.map(|area| Truth::new(image, 0, area)));
            }
            let found = |many: usize| match empty {
                true => vec![Detected::new(image, 0, [5.0, 5.0, 3.0, 3.0], 0.2)],
                false => areas[..many].iter().map(|area| Detected::new(image, 0, *area, 0.9)).collect(),
            };
            pictures.push(Picture::new(image, empty, vec![(empty, sure)], vec![found(1), found(2)]));
        }
        (pictures, truths)
    }

    fn cost(exits: &[usize], goals: usize) -> f64 {
        exits.len() as f64 + 10.0 * goals as f64
    }

    #[test]
    fn a_gate_spares_empty_pictures_and_levels_are_paid_for_in_precision() {
        let (pictures, truths) = world(800);
        let frontier = level_frontier(&pictures, &truths, &Limit::new(0.02, 0.95).unwrap(), cost);
        assert_eq!(frontier.len(), 2, "{frontier:#?}");
        let (coarse, fine) = (&frontier[0], &frontier[1]);
        assert!((coarse.cost, fine.cost) == (6.0, 11.0) && coarse.policy.goals == 1);
        assert!(coarse.precision.ap50 < fine.precision.ap50 && fine.precision.ap50 == Some(1.0));
        assert_eq!((fine.missed, fine.spared, fine.frame_recall), (Some(0.0), Some(1.0), Some(1.0)));
        assert_eq!(fine.gated, [0.5]);
    }

    #[test]
    fn without_enough_pictures_there_is_no_gate() {
        let (pictures, truths) = world(100);
        let limit = Limit::new(0.01, 0.95).unwrap();
        assert!(certified_gates(&pictures, &[0], &limit).is_empty());
        let frontier = level_frontier(&pictures, &truths, &limit, cost);
        assert!(frontier.iter().all(|point| point.policy.gates == [None]));
    }

    #[test]
    fn thresholds_that_pass_are_those_before_the_first_that_fails() {
        // Every fourth picture with an object is called empty, with a confidence below 0.8.
        let (mut pictures, _) = world(800);
        for picture in pictures.iter_mut().filter(|picture| picture.image % 8 == 1) {
            picture.exits = vec![(true, 0.5 + 0.25 * (picture.image as f64 / 800.0))];
        }
        let limit = Limit::new(0.02, 0.95).unwrap();
        let certified = certified_gates(&pictures, &[0], &limit);
        let lowest = certified.last().copied().unwrap();
        assert!(lowest < 0.8 && lowest > 0.7, "{lowest}");
        assert!(certified.windows(2).all(|pair| pair[0] > pair[1]));
    }
}

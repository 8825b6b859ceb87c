//! The policies of a detector that are best for their cost: gates that are certified, levels, and what exits say of them.

use std::collections::BTreeSet;

use super::average_precision::Truth;
use super::policies::{LevelPoint, LevelPolicy, Picture, Unless, replay_levels};
use crate::certify::Limit;

/// Thresholds of one set of exits that are tried at most.
const THRESHOLDS: usize = 24;
/// Confidences from which on a class of the exits may leave levels out.
const CONFIDENCES: [f64; 6] = [0.0, 0.6, 0.8, 0.9, 0.95, 0.99];
/// A rule about a level has to gain so much AP over what mixing simpler policies comes to at its cost.
const WORTH: f64 = 0.002;

/// Thresholds, the same at each of `exits`, by which with the confidence of `limit` at most its share of pictures with an
/// object is called empty: tried from the highest down until one fails (fixed-sequence testing), so that the confidence
/// holds for all that are returned together.
pub fn certified_gates(pictures: &[Picture], exits: &[usize], limit: &Limit) -> Vec<f64> {
    let of = |picture: &Picture| -> Vec<f64> {
        let said = exits.iter().filter_map(|&exit| picture.exits.get(exit));
        said.filter(|said| said.nothing && said.confidence >= 0.0).map(|said| said.confidence).collect()
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
        let missed = with_object.iter().filter(|picture| policy.walk(picture).1 == 0).count();
        if !limit.certifies(missed, with_object.len()) {
            break;
        }
        certified.push(threshold);
    }
    certified
}

/// The policies that are best for their cost: those that no cheaper one reaches in AP at an overlap of 0.5. Gates are the
/// ones that keep to `limit`; each set of exits that is tried has its part of what may go wrong, so that the confidence holds
/// for whatever is chosen. Levels are also left out for what an exit says: a gate's, or one that is asked for that alone.
/// By rising cost.
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
    let replayed = |policies: Vec<LevelPolicy>| -> Vec<LevelPoint> {
        policies.iter().map(|policy| replay_levels(pictures, truths, policy, cost)).collect()
    };
    let fixed = gates.iter().flat_map(|gates| (1..=goals).map(|goals| LevelPolicy::new(gates.clone(), goals)));
    let mut points = best(replayed(fixed.collect()));
    // Exits that end no picture are worth their cost only with rules about levels.
    let asking = |exit: usize| (0..exits).map(|other| (other == exit).then_some(f64::INFINITY)).collect();
    let mut seeds: Vec<LevelPolicy> = (0..exits).map(|exit| LevelPolicy::new(asking(exit), goals)).collect();
    let classes: BTreeSet<usize> = pictures.iter().flat_map(|p| p.exits.iter().map(|said| said.class)).collect();
    // A policy on the frontier gets one more rule in each round.
    for _ in 1..goals {
        seeds.extend(points.iter().map(|point| point.policy.clone()));
        let tried = seeds.drain(..).flat_map(|seed| conditional(&seed, &classes));
        let mut replayed = replayed(tried.collect());
        replayed.retain(|point| quality(point) > mixed(&points, point.cost) + WORTH);
        points = best(points.into_iter().chain(replayed).collect());
    }
    points
}

/// The policies that have one rule about a level more than `seed`, at a level that has none yet.
fn conditional(seed: &LevelPolicy, classes: &BTreeSet<usize>) -> Vec<LevelPolicy> {
    let goals = (1..seed.goals).filter(|goal| seed.asks() && seed.unless.iter().all(|rule| rule.goal != *goal));
    let rules = goals.flat_map(|goal| {
        classes.iter().flat_map(move |&class| CONFIDENCES.map(|confidence| Unless::new(goal, class, confidence)))
    });
    rules.map(|rule| seed.clone().with(rule)).collect()
}

fn quality(point: &LevelPoint) -> f64 {
    point.precision.ap50.unwrap_or(0.0)
}

/// What running some frames by one point and the others by another comes to at a mean cost, at best.
fn mixed(points: &[LevelPoint], cost: f64) -> f64 {
    let (cheaper, dearer) = points.split_at(points.partition_point(|point| point.cost <= cost));
    let between = |low: &LevelPoint, high: &LevelPoint| {
        let share = (cost - low.cost) / (high.cost - low.cost);
        quality(low) + share * (quality(high) - quality(low))
    };
    let pairs = cheaper.iter().flat_map(|low| dearer.iter().map(move |high| between(low, high)));
    pairs.chain(cheaper.iter().map(quality)).fold(f64::NEG_INFINITY, f64::max)
}

/// The points that no cheaper one reaches in AP at an overlap of 0.5, by rising cost.
fn best(mut points: Vec<LevelPoint>) -> Vec<LevelPoint> {
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
    use super::super::{Detected, Said};
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
            let said = Said::new(usize::from(!empty), empty, sure);
            pictures.push(Picture::new(image, empty, vec![said], vec![found(1), found(2)]));
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
        assert!(frontier.iter().all(|point| point.gated == [0.0]));
    }

    #[test]
    fn a_level_that_a_class_does_not_need_is_left_out_for_it() {
        // Of every second picture with an object the coarse level finds all, which the exit says as class 2.
        let (mut pictures, mut truths) = world(800);
        for picture in pictures.iter_mut().filter(|picture| picture.image % 4 == 1) {
            picture.exits[0].class = 2;
            picture.found[1].truncate(1);
            let mut first = true;
            truths.retain(|truth| truth.image != picture.image || std::mem::take(&mut first));
        }
        let limit = Limit::new(0.02, 0.95).unwrap();
        let frontier = level_frontier(&pictures, &truths, &limit, cost);
        let full = frontier.last().unwrap();
        assert_eq!((full.precision.ap50, full.cost), (Some(1.0), 1.0 + 10.0 * 0.25 + 20.0 * 0.25), "{frontier:#?}");
        assert_eq!((&full.gated[..], &full.levels[..]), (&[0.5][..], &[0.25, 0.25][..]));
        assert_eq!((full.policy.unless.len(), full.policy.unless[0].class, full.policy.unless[0].goal), (1, 2, 1));

        // Without enough pictures for a gate the exit is asked for the levels alone. It may say so of empty ones, too.
        let frontier = level_frontier(&pictures[..100], &truths, &Limit::new(0.01, 0.95).unwrap(), cost);
        let full = frontier.iter().find(|point| !point.policy.unless.is_empty()).unwrap();
        assert_eq!(full.policy.gates, [Some(f64::INFINITY)]);
        assert_eq!((&full.gated[..], full.levels.iter().sum::<f64>()), (&[0.0][..], 1.0));
    }

    #[test]
    fn an_exit_without_numbers_decides_nothing() {
        let (pictures, truths) = world(8);
        let silent = |p: &Picture| Picture { exits: vec![Said::new(0, true, -1.0)], ..p.clone() };
        let silent: Vec<Picture> = pictures.iter().map(silent).collect();
        let policy = LevelPolicy::new(vec![Some(0.0)], 2).with(Unless::new(1, 0, 0.0));
        let point = replay_levels(&silent, &truths, &policy, cost);
        assert_eq!((&point.gated[..], &point.levels[..], point.cost), (&[0.0][..], &[0.0, 1.0][..], 21.0));
    }

    #[test]
    fn thresholds_that_pass_are_those_before_the_first_that_fails() {
        // Every fourth picture with an object is called empty, with a confidence below 0.8.
        let (mut pictures, _) = world(800);
        for picture in pictures.iter_mut().filter(|picture| picture.image % 8 == 1) {
            picture.exits = vec![Said::new(0, true, 0.5 + 0.25 * (picture.image as f64 / 800.0))];
        }
        let limit = Limit::new(0.02, 0.95).unwrap();
        let certified = certified_gates(&pictures, &[0], &limit);
        let lowest = certified.last().copied().unwrap();
        assert!(lowest < 0.8 && lowest > 0.7, "{lowest}");
        assert!(certified.windows(2).all(|pair| pair[0] > pair[1]));
    }
}

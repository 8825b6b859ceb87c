//! Policies of a detector replayed on labelled pictures: which exits may end a frame, and to which level boxes are computed.

use std::collections::BTreeMap;

use dyn_perceiver_core::detect::BoundingBox;

use super::average_precision::{AveragePrecision, Detected, Truth, average_precision};

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
    /// What each exit that tells an empty picture says, in order of cost.
    pub exits: Vec<Said>,
    /// For each goal, coarse to fine, the boxes that are found up to it.
    pub found: Vec<Vec<Detected>>,
}

impl Picture {
    /// A picture, what each exit that tells an empty one says of it, and the boxes found up to each goal.
    pub fn new(image: u64, empty: bool, exits: Vec<Said>, found: Vec<Vec<Detected>>) -> Picture {
        Picture { image, empty, exits, found }
    }
}

/// What an exit says of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Said {
    /// Its class.
    pub class: usize,
    /// Whether that class means that nothing is there.
    pub nothing: bool,
    /// With which confidence, in [0, 1]; below 0 where its logits were no numbers.
    pub confidence: f64,
}

impl Said {
    /// This class with this confidence.
    pub fn new(class: usize, nothing: bool, confidence: f64) -> Said {
        Said { class, nothing, confidence }
    }
}

/// A goal that is left out, and finer ones with it, where the exit that was asked last says a class.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Unless {
    /// The first goal that is left out, from 0; never the coarsest.
    pub goal: usize,
    /// The class.
    pub class: usize,
    /// From which confidence on.
    pub confidence: f64,
}

impl Unless {
    /// This goal where this class is said with this confidence or more.
    pub fn new(goal: usize, class: usize, confidence: f64) -> Unless {
        Unless { goal, class, confidence }
    }
}

/// Which exits are asked, and how far boxes are computed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LevelPolicy {
    /// For each exit that tells an empty picture, from which confidence on it is believed; none where it is not asked,
    /// infinite where it ends no picture.
    pub gates: Vec<Option<f64>>,
    /// How many goals are computed at most, coarse to fine.
    pub goals: usize,
    /// Goals that are left out for what an exit says, at most one rule for each.
    pub unless: Vec<Unless>,
}

impl LevelPolicy {
    /// These exits at these thresholds, and so many goals.
    pub fn new(gates: Vec<Option<f64>>, goals: usize) -> LevelPolicy {
        LevelPolicy { gates, goals, unless: vec![] }
    }

    /// The same, with another goal that is left out for what an exit says.
    #[must_use]
    pub fn with(mut self, unless: Unless) -> LevelPolicy {
        self.unless.push(unless);
        self
    }

    /// Where a picture ends: the exits that are asked, and how many goals are computed; none where an exit ends it.
    pub(super) fn walk(&self, picture: &Picture) -> (Vec<usize>, usize) {
        let (mut asked, mut last) = (vec![], None);
        for (exit, (threshold, said)) in self.gates.iter().zip(&picture.exits).enumerate() {
            let Some(threshold) = threshold else { continue };
            asked.push(exit);
            if said.confidence < 0.0 {
                continue;
            }
            last = Some(said);
            if said.confidence >= *threshold {
                if said.nothing {
                    return (asked, 0);
                }
                break;
            }
        }
        let left_out =
            |rule: &&Unless| last.is_some_and(|said| said.class == rule.class && said.confidence >= rule.confidence);
        let first = self.unless.iter().filter(left_out).map(|rule| rule.goal).min();
        (asked, first.map_or(self.goals, |first| first.clamp(1, self.goals)))
    }

    /// Whether any exit is asked.
    pub(super) fn asks(&self) -> bool {
        self.gates.iter().any(Option::is_some)
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
    /// Share of the pictures that ended at each goal.
    pub levels: Vec<f64>,
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
    let (mut total, mut gated, mut levels) = (0.0, vec![0usize; policy.gates.len()], vec![0usize; policy.goals]);
    let (mut ended, mut recalled) = ([0usize; 2], 0);
    let mut objects: BTreeMap<u64, Vec<&Truth>> = BTreeMap::new();
    for truth in truths.iter().filter(|truth| !truth.crowd) {
        objects.entry(truth.image).or_default().push(truth);
    }
    for picture in pictures {
        let (asked, goals) = policy.walk(picture);
        total += cost(&asked, goals);
        let Some(level) = goals.checked_sub(1) else {
            ended[usize::from(picture.empty)] += 1;
            if let Some(exit) = asked.last().and_then(|&exit| gated.get_mut(exit)) {
                *exit += 1;
            }
            continue;
        };
        levels[level] += 1;
        let Some(boxes) = picture.found.get(level) else { continue };
        let here = objects.get(&picture.image).map_or(&[][..], Vec::as_slice);
        recalled += usize::from(boxes.iter().any(|found| here.iter().any(|truth| has_found(truth, found))));
        found.extend_from_slice(boxes);
    }
    let empty = pictures.iter().filter(|picture| picture.empty).count();
    let with_object = pictures.len() - empty;
    let of_all = |counts: Vec<usize>| counts.iter().map(|&n| n as f64 / pictures.len().max(1) as f64).collect();
    LevelPoint {
        policy: policy.clone(),
        precision: average_precision(truths, &found),
        frame_recall: share(recalled, with_object),
        missed: share(ended[0], with_object),
        spared: share(ended[1], empty),
        cost: total / pictures.len().max(1) as f64,
        gated: of_all(gated),
        levels: of_all(levels),
    }
}

/// Whether a box has found an object.
pub fn has_found(truth: &Truth, found: &Detected) -> bool {
    let corners = |[left, top, width, height]: [f64; 4]| {
        BoundingBox::new(left as f32, top as f32, (left + width) as f32, (top + height) as f32)
    };
    truth.class == found.class && corners(truth.bounds).iou(corners(found.area)) >= FOUND
}

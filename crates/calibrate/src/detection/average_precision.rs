//! Average precision and recall over overlaps, classes and sizes, with the definitions of COCO's evaluation.

use std::collections::{BTreeMap, BTreeSet};

use super::matching::{Matched, Range, matched};
use super::{OVERLAPS, overlap};

/// Recalls at which precision is read: 0, 0.01, ..., 1.
const RECALLS: usize = 101;
/// Boxes of a class and picture that count.
const MOST: [usize; 3] = [1, 10, 100];
/// Small is below 32 x 32 pixels, large above 96 x 96.
const SIDES: [f64; 2] = [32.0, 96.0];

/// A true box.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Truth {
    /// The picture it is in.
    pub image: u64,
    /// Its class.
    pub class: u64,
    /// Left, top, width and height, in pixels.
    pub bounds: [f64; 4],
    /// Square pixels of the object, which says whether it is small or large.
    pub area: f64,
    /// Whether it is a crowd: boxes within it count neither way.
    pub crowd: bool,
}

impl Truth {
    /// One object whose area is that of its box, given by left, top, width and height.
    pub fn new(image: u64, class: u64, bounds: [f64; 4]) -> Truth {
        Truth { image, class, bounds, area: bounds[2] * bounds[3], crowd: false }
    }

    /// Replaces the area of the object.
    #[must_use]
    pub fn with_area(mut self, area: f64) -> Truth {
        self.area = area;
        self
    }

    /// Says whether it is a crowd.
    #[must_use]
    pub fn with_crowd(mut self, crowd: bool) -> Truth {
        self.crowd = crowd;
        self
    }
}

/// A box that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Detected {
    /// The picture it is in.
    pub image: u64,
    /// Its class.
    pub class: u64,
    /// Left, top, width and height, in pixels.
    pub area: [f64; 4],
    /// How sure, larger is surer.
    pub score: f64,
}

impl Detected {
    /// A box by left, top, width and height.
    pub fn new(image: u64, class: u64, area: [f64; 4], score: f64) -> Detected {
        Detected { image, class, area, score }
    }
}

/// The figures, each in [0, 1]; none where there is nothing that they could be of.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AveragePrecision {
    /// Mean over overlaps 0.5 to 0.95 and classes.
    pub ap: Option<f64>,
    /// At an overlap of 0.5.
    pub ap50: Option<f64>,
    /// At an overlap of 0.75.
    pub ap75: Option<f64>,
    /// Of objects below 32 x 32 pixels.
    pub small: Option<f64>,
    /// Of objects between.
    pub medium: Option<f64>,
    /// Of objects above 96 x 96 pixels.
    pub large: Option<f64>,
    /// Recall with the best 1, 10 and 100 boxes of a picture and class, mean over overlaps and classes.
    pub recall: [Option<f64>; 3],
    /// The same with 100 boxes, of small, medium and large objects.
    pub recall_by_size: [Option<f64>; 3],
    /// Class by class, those with true boxes.
    pub classes: Vec<ClassPrecision>,
}

/// The figures of one class.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClassPrecision {
    /// The class.
    pub class: u64,
    /// Mean over overlaps 0.5 to 0.95.
    pub ap: Option<f64>,
    /// At an overlap of 0.5.
    pub ap50: Option<f64>,
}

/// True boxes of one class in one picture, and those found.
type Labelled<'a> = (Vec<&'a Truth>, Vec<&'a Detected>);

/// Average precision of the boxes found against the true ones. Pictures are those that either names; a score that is no
/// number drops its box.
pub fn average_precision(truths: &[Truth], found: &[Detected]) -> AveragePrecision {
    let found: Vec<&Detected> = found.iter().filter(|found| !found.score.is_nan()).collect();
    let classes: BTreeSet<u64> = truths.iter().map(|truth| truth.class).chain(found.iter().map(|f| f.class)).collect();
    // Picture by picture, class by class, each in the order given.
    let mut by_image: BTreeMap<(u64, u64), Labelled<'_>> = BTreeMap::new();
    for truth in truths {
        by_image.entry((truth.class, truth.image)).or_default().0.push(truth);
    }
    for found in &found {
        by_image.entry((found.class, found.image)).or_default().1.push(found);
    }
    let most_of_all = 1e10;
    let ranges = [
        (0.0, most_of_all),
        (0.0, SIDES[0] * SIDES[0]),
        (SIDES[0] * SIDES[0], SIDES[1] * SIDES[1]),
        (SIDES[1] * SIDES[1], most_of_all),
    ];
    let ranges = ranges.map(|(least, most)| Range { least, most });
    let curves = |range: Range, most: usize| -> Vec<(u64, Curve)> {
        let of_class = |&class: &u64| {
            let images = by_image.range((class, 0)..=(class, u64::MAX));
            let images: Vec<Matched> = images.map(|(_, (truths, found))| matched(truths, found, range, most)).collect();
            Some((class, Curve::of(&images)?))
        };
        classes.iter().filter_map(of_class).collect()
    };
    let [all, small, medium, large] = ranges.map(|range| curves(range, MOST[2]));
    let precision = |curves: &[(u64, Curve)]| mean(curves.iter().flat_map(|(_, curve)| curve.precision));
    let at = |index: usize| mean(all.iter().map(|(_, curve)| curve.precision[index]));
    let recall = |curves: &[(u64, Curve)]| mean(curves.iter().flat_map(|(_, curve)| curve.recall));
    AveragePrecision {
        ap: precision(&all),
        ap50: at(0),
        ap75: at((0..OVERLAPS).find(|&index| overlap(index) > 0.749).unwrap_or(0)),
        small: precision(&small),
        medium: precision(&medium),
        large: precision(&large),
        recall: [recall(&curves(ranges[0], MOST[0])), recall(&curves(ranges[0], MOST[1])), recall(&all)],
        recall_by_size: [recall(&small), recall(&medium), recall(&large)],
        classes: all
            .iter()
            .map(|(class, curve)| ClassPrecision {
                class: *class,
                ap: mean(curve.precision),
                ap50: Some(curve.precision[0]),
            })
            .collect(),
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.into_iter().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// One class: for each overlap the mean precision over recalls, and the recall reached.
struct Curve {
    precision: [f64; OVERLAPS],
    recall: [f64; OVERLAPS],
}

impl Curve {
    /// None where no true box counts.
    fn of(images: &[Matched]) -> Option<Curve> {
        let truths: usize = images.iter().map(|image| image.truths).sum();
        if truths == 0 {
            return None;
        }
        let mut found: Vec<(f64, &[bool; OVERLAPS], &[bool; OVERLAPS])> = images
            .iter()
            .flat_map(|image| image.scores.iter().zip(&image.right).zip(&image.ignored))
            .map(|((&score, right), ignored)| (score, right, ignored))
            .collect();
        // Stable: of equal scores, picture by picture.
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut curve = Curve { precision: [0.0; OVERLAPS], recall: [0.0; OVERLAPS] };
        for index in 0..OVERLAPS {
            let (mut right, mut wrong) = (0.0, 0.0);
            let mut points: Vec<(f64, f64)> = Vec::with_capacity(found.len());
            for (_, is_right, ignored) in &found {
                if !ignored[index] {
                    if is_right[index] { right += 1.0 } else { wrong += 1.0 }
                }
                // One that counts neither way repeats the point before it.
                points.push((right / truths as f64, right / (right + wrong + f64::EPSILON)));
            }
            curve.recall[index] = points.last().map_or(0.0, |point| point.0);
            // Precision at a recall is the best at it or beyond.
            let mut best = 0.0f64;
            for point in points.iter_mut().rev() {
                best = best.max(point.1);
                point.1 = best;
            }
            let at = |recall: usize| {
                // As the original computes them: a recall of 0.7 does not reach the 0.7000000000000001 of its list.
                let step = 1.0 / (RECALLS - 1) as f64;
                let recall = if recall == RECALLS - 1 { 1.0 } else { recall as f64 * step };
                let place = points.partition_point(|point| point.0 < recall);
                points.get(place).map_or(0.0, |point| point.1)
            };
            curve.precision[index] = (0..RECALLS).map(at).sum::<f64>() / RECALLS as f64;
        }
        Some(curve)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn bounds(value: &Value) -> [f64; 4] {
        std::array::from_fn(|i| value[i].as_f64().unwrap())
    }

    fn reference() -> (Vec<Truth>, Vec<Detected>, Value) {
        let reference: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/detection_average_precision.json")).unwrap();
        let id = |value: &Value, key: &str| value[key].as_u64().unwrap();
        let truth = |v: &Value| Truth::new(id(v, "image_id"), id(v, "category_id"), bounds(&v["bbox"]));
        let found = |v: &Value| {
            let score = v["score"].as_f64().unwrap();
            Detected::new(id(v, "image_id"), id(v, "category_id"), bounds(&v["bbox"]), score)
        };
        let truths = reference["truth"].as_array().unwrap().iter().map(truth).collect();
        let detected = reference["found"].as_array().unwrap().iter().map(found).collect();
        (truths, detected, reference)
    }

    #[test]
    fn figures_are_those_of_pycocotools() {
        let (truths, found, reference) = reference();
        let figures = average_precision(&truths, &found);
        let expected = |key: &str| reference["expected"][key].as_f64().filter(|value| *value >= 0.0);
        let [ar1, ar10, ar100] = figures.recall;
        let [ar_small, ar_medium, ar_large] = figures.recall_by_size;
        for (key, figure) in [
            ("AP", figures.ap),
            ("AP50", figures.ap50),
            ("AP75", figures.ap75),
            ("AP_small", figures.small),
            ("AP_medium", figures.medium),
            ("AP_large", figures.large),
            ("AR1", ar1),
            ("AR10", ar10),
            ("AR100", ar100),
            ("AR_small", ar_small),
            ("AR_medium", ar_medium),
            ("AR_large", ar_large),
        ] {
            let near = match (figure, expected(key)) {
                (Some(figure), Some(expected)) => (figure - expected).abs() < 1e-6,
                (figure, expected) => figure.is_none() && expected.is_none(),
            };
            assert!(near, "{key}: {figure:?}, expected {:?}", expected(key));
        }
        assert_eq!(figures.classes.len(), 3);
        for of_class in &figures.classes {
            let expected = &reference["per_class"][of_class.class.to_string()];
            assert!((of_class.ap.unwrap() - expected["AP"].as_f64().unwrap()).abs() < 1e-6);
            assert!((of_class.ap50.unwrap() - expected["AP50"].as_f64().unwrap()).abs() < 1e-6);
        }
    }

    #[test]
    fn boxes_that_are_the_true_ones_are_worth_one() {
        let (truths, ..) = reference();
        let found: Vec<Detected> = truths.iter().map(|t| Detected::new(t.image, t.class, t.bounds, 0.5)).collect();
        let figures = average_precision(&truths, &found);
        assert!(figures.ap.is_some_and(|ap| (ap - 1.0).abs() < 1e-9));
        assert_eq!(average_precision(&truths, &[]).ap, Some(0.0));
        assert_eq!(average_precision(&[], &found).ap, None);
        let nan = Detected::new(0, 0, [f64::NAN; 4], f64::NAN);
        assert_eq!(average_precision(&truths, &[nan]).ap, Some(0.0));
    }

    #[test]
    fn boxes_within_a_crowd_count_neither_way() {
        let crowd = Truth::new(0, 0, [0.0, 0.0, 100.0, 100.0]).with_crowd(true).with_area(5000.0);
        let one = Truth::new(0, 0, [200.0, 0.0, 10.0, 10.0]);
        let within = |x: f64, score| Detected::new(0, 0, [x, 0.0, 10.0, 10.0], score);
        let figures = average_precision(&[crowd, one], &[within(0.0, 0.9), within(20.0, 0.8), within(200.0, 0.7)]);
        assert!(figures.ap.is_some_and(|ap| (ap - 1.0).abs() < 1e-9), "{figures:?}");
    }
}

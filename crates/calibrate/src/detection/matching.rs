//! Which boxes found in a picture are which of the true ones (the matching of COCO's evaluation).

use super::{Detected, OVERLAPS, Truth, overlap};

/// Objects by the square pixels of their true box.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub least: f64,
    pub most: f64,
}

impl Range {
    fn contains(self, area: f64) -> bool {
        (self.least..=self.most).contains(&area)
    }
}

/// One class in one picture.
pub(crate) struct Matched {
    /// Scores of the boxes found, best first.
    pub scores: Vec<f64>,
    /// For each overlap and each of them: whether it is one of the true boxes.
    pub right: Vec<[bool; OVERLAPS]>,
    /// For each overlap and each of them: whether it counts neither way.
    pub ignored: Vec<[bool; OVERLAPS]>,
    /// True boxes that count.
    pub truths: usize,
}

fn area(b: [f64; 4]) -> f64 {
    b[2] * b[3]
}

/// Of boxes by left, top, width and height; of a crowd, the share of the found box that is within it.
fn iou(found: [f64; 4], truth: [f64; 4], crowd: bool) -> f64 {
    let side = |axis: usize| {
        let end = (found[axis] + found[axis + 2]).min(truth[axis] + truth[axis + 2]);
        end - found[axis].max(truth[axis])
    };
    let (width, height) = (side(0), side(1));
    if !(width > 0.0 && height > 0.0) {
        return 0.0;
    }
    let both = width * height;
    both / if crowd { area(found) } else { area(found) + area(truth) - both }
}

/// Takes boxes in the order of their scores, at most `most` of them, and gives each the free true box that it overlaps
/// most, if that is enough; one that does not count only where none does that counts.
pub(crate) fn matched(truths: &[&Truth], found: &[&Detected], range: Range, most: usize) -> Matched {
    let ignored = |truth: &&Truth| truth.crowd || !range.contains(truth.area);
    let mut truths: Vec<&Truth> = truths.to_vec();
    truths.sort_by_key(ignored);
    let mut found: Vec<&Detected> = found.to_vec();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(most);
    let overlaps: Vec<Vec<f64>> = found
        .iter()
        .map(|found| truths.iter().map(|truth| iou(found.area, truth.bounds, truth.crowd)).collect())
        .collect();
    let mut result = Matched {
        scores: found.iter().map(|found| found.score).collect(),
        right: vec![[false; OVERLAPS]; found.len()],
        ignored: vec![[false; OVERLAPS]; found.len()],
        truths: truths.iter().filter(|truth| !ignored(truth)).count(),
    };
    for index in 0..OVERLAPS {
        let mut taken = vec![false; truths.len()];
        for (i, of_found) in found.iter().enumerate() {
            let mut best = overlap(index).min(1.0 - 1e-10);
            let mut of_truth: Option<usize> = None;
            for (j, truth) in truths.iter().enumerate() {
                if taken[j] && !truth.crowd {
                    continue;
                }
                // Those that do not count stand last: a match that counts is not given up for one of them.
                if of_truth.is_some_and(|of_truth| !ignored(&truths[of_truth])) && ignored(truth) {
                    break;
                }
                if overlaps[i][j] >= best {
                    best = overlaps[i][j];
                    of_truth = Some(j);
                }
            }
            match of_truth {
                Some(j) => {
                    taken[j] = true;
                    result.right[i][index] = true;
                    result.ignored[i][index] = ignored(&truths[j]);
                }
                None => result.ignored[i][index] = !range.contains(area(of_found.area)),
            }
        }
    }
    result
}

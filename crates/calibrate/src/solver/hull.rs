//! The upper concave hull of points in the plane of cost and accuracy: their Pareto frontier once neighbours are mixed.

use crate::evaluate::CostAccuracy;

/// Keeps what is best at some price: the points of the upper concave hull from the cheapest to the most accurate, sorted
/// by cost, each more accurate than the one before. `of` gives the point of an item.
pub(super) fn upper<T>(points: &mut Vec<T>, of: impl Fn(&T) -> CostAccuracy) {
    points.sort_by(|a, b| {
        let (a, b) = (of(a), of(b));
        a.cost.total_cmp(&b.cost).then(b.accuracy.total_cmp(&a.accuracy))
    });
    let mut kept: Vec<T> = Vec::with_capacity(points.len());
    for point in points.drain(..) {
        let at = of(&point);
        if kept.last().is_some_and(|last| of(last).accuracy >= at.accuracy) {
            continue;
        }
        while kept.len() >= 2 && loss(of(&kept[kept.len() - 2]), of(&kept[kept.len() - 1]), at) <= 0.0 {
            kept.pop();
        }
        kept.push(point);
    }
    *points = kept;
}

/// Removes inner points, each time the one whose loss costs the mix of its neighbours the least area, until at most
/// `most` are left.
pub(super) fn thin<T>(points: &mut Vec<T>, most: usize, of: impl Fn(&T) -> CostAccuracy) {
    while points.len() > most.max(2) {
        let area = |i: &usize| loss(of(&points[i - 1]), of(&points[*i]), of(&points[i + 1])).abs();
        match (1..points.len() - 1).min_by(|a, b| area(a).total_cmp(&area(b))) {
            Some(least) => points.remove(least),
            None => break,
        };
    }
}

/// Twice the area of the triangle, positive when `b` lies above the line from `a` to `c`.
fn loss(a: CostAccuracy, b: CostAccuracy, c: CostAccuracy) -> f64 {
    (b.accuracy - a.accuracy) * (c.cost - a.cost) - (c.accuracy - a.accuracy) * (b.cost - a.cost)
}

/// Accuracy at `cost` of a mix of neighbours in `points`, which are sorted by cost; that of the last point beyond it, and
/// none below the first.
pub fn mixed_accuracy(points: &[CostAccuracy], cost: f64) -> Option<f64> {
    let above = points.partition_point(|point| point.cost <= cost);
    let low = points.get(above.checked_sub(1)?)?;
    let Some(high) = points.get(above) else { return Some(low.accuracy) };
    Some(low.accuracy + (high.accuracy - low.accuracy) * (cost - low.cost) / (high.cost - low.cost))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(of: &[(f64, f64)]) -> Vec<CostAccuracy> {
        of.iter().map(|&(cost, accuracy)| CostAccuracy::new(cost, accuracy)).collect()
    }

    #[test]
    fn upper_hull_drops_a_point_below_a_mix() {
        let mut found = points(&[(3.0, 0.9), (1.0, 0.5), (2.0, 0.6), (1.5, 0.75), (4.0, 0.9), (1.0, 0.4)]);
        upper(&mut found, |p| *p);
        assert_eq!(found, points(&[(1.0, 0.5), (1.5, 0.75), (3.0, 0.9)]));
        assert_eq!(mixed_accuracy(&found, 0.9), None);
        assert!((mixed_accuracy(&found, 2.25).unwrap() - 0.825).abs() < 1e-12);
        assert_eq!(mixed_accuracy(&found, 9.0), Some(0.9));
    }

    proptest! {
        #[test]
        fn upper_hull_lies_above_every_point(given in proptest::collection::vec((0f64..10.0, 0f64..1.0), 1..50)) {
            let given = points(&given);
            let mut kept = given.clone();
            upper(&mut kept, |p| *p);
            prop_assert!(kept.windows(2).all(|w| w[0].cost < w[1].cost && w[0].accuracy < w[1].accuracy));
            for point in given {
                prop_assert!(mixed_accuracy(&kept, point.cost).is_some_and(|best| best >= point.accuracy - 1e-9));
            }
            let ends = (kept[0], kept[kept.len() - 1]);
            thin(&mut kept, 3, |p| *p);
            prop_assert!(kept.len() <= 3 && ends == (kept[0], kept[kept.len() - 1]));
        }
    }
}

//! The upper hull of points in the plane of cost and accuracy.

/// Keeps what is best at some price: the points of the upper concave hull from the cheapest to the most accurate, sorted
/// by cost, each more accurate than the one before. `of` gives (cost, accuracy).
pub(crate) fn upper<T>(points: &mut Vec<T>, of: impl Fn(&T) -> (f64, f64)) {
    points.sort_by(|a, b| {
        let ((ca, aa), (cb, ab)) = (of(a), of(b));
        ca.total_cmp(&cb).then(ab.total_cmp(&aa))
    });
    let mut kept: Vec<T> = Vec::with_capacity(points.len());
    for point in points.drain(..) {
        let (cost, accuracy) = of(&point);
        if kept.last().is_some_and(|last| of(last).1 >= accuracy) {
            continue;
        }
        while kept.len() >= 2 && loss(of(&kept[kept.len() - 2]), of(&kept[kept.len() - 1]), (cost, accuracy)) <= 0.0 {
            kept.pop();
        }
        kept.push(point);
    }
    *points = kept;
}

/// Removes inner points, each time the one whose loss costs the mix of its neighbours the least area, until at most
/// `most` are left.
pub(crate) fn thin<T>(points: &mut Vec<T>, most: usize, of: impl Fn(&T) -> (f64, f64)) {
    while points.len() > most.max(2) {
        let area = |i: &usize| loss(of(&points[i - 1]), of(&points[*i]), of(&points[i + 1])).abs();
        match (1..points.len() - 1).min_by(|a, b| area(a).total_cmp(&area(b))) {
            Some(least) => points.remove(least),
            None => break,
        };
    }
}

/// Twice the area of the triangle, positive when `b` lies above the line from `a` to `c`.
fn loss(a: (f64, f64), b: (f64, f64), c: (f64, f64)) -> f64 {
    (b.1 - a.1) * (c.0 - a.0) - (c.1 - a.1) * (b.0 - a.0)
}

/// Accuracy at `cost` of a mix of neighbours in `points`, (cost, accuracy) sorted by cost; that of the last point beyond
/// it, and none below the first.
pub fn mixed_accuracy(points: &[(f64, f64)], cost: f64) -> Option<f64> {
    let above = points.partition_point(|point| point.0 <= cost);
    let low = points.get(above.checked_sub(1)?)?;
    Some(points.get(above).map_or(low.1, |high| low.1 + (high.1 - low.1) * (cost - low.0) / (high.0 - low.0)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_point_below_a_mix_is_dropped() {
        let mut points = vec![(3.0, 0.9), (1.0, 0.5), (2.0, 0.6), (1.5, 0.75), (4.0, 0.9), (1.0, 0.4)];
        upper(&mut points, |p| *p);
        assert_eq!(points, [(1.0, 0.5), (1.5, 0.75), (3.0, 0.9)]);
        assert_eq!(mixed_accuracy(&points, 0.9), None);
        assert!((mixed_accuracy(&points, 2.25).unwrap() - 0.825).abs() < 1e-12);
        assert_eq!(mixed_accuracy(&points, 9.0), Some(0.9));
    }

    proptest! {
        #[test]
        fn the_hull_lies_above_every_point(points in proptest::collection::vec((0f64..10.0, 0f64..1.0), 1..50)) {
            let mut kept = points.clone();
            upper(&mut kept, |p| *p);
            prop_assert!(kept.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
            for (cost, accuracy) in points {
                prop_assert!(mixed_accuracy(&kept, cost).is_some_and(|best| best >= accuracy - 1e-9));
            }
            let ends = (kept[0], kept[kept.len() - 1]);
            thin(&mut kept, 3, |p| *p);
            prop_assert!(kept.len() <= 3 && ends == (kept[0], kept[kept.len() - 1]));
        }
    }
}

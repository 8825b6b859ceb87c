//! How sure an accuracy is that was counted on few images.

use crate::binomial::tail;

/// An accuracy and the interval it lies in: Clopper and Pearson's, which is exact for any number of images.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The share that was right.
    pub accuracy: f64,
    /// Lower and upper end of the interval.
    pub low: f64,
    /// See `low`.
    pub high: f64,
}

impl Estimate {
    /// Of so many right among so many images, with a confidence in (0, 1).
    pub fn new(right: usize, images: usize, confidence: f64) -> Self {
        let side = (1.0 - confidence) / 2.0;
        if images == 0 {
            return Estimate { accuracy: 0.0, low: 0.0, high: 1.0 };
        }
        let right = right.min(images);
        // P(X <= right) falls as p grows: the upper end is where it has fallen to `side`.
        let high = if right == images { 1.0 } else { root(|p| tail(right, images, p) - side) };
        let wrong = images - right;
        let low = if right == 0 { 0.0 } else { 1.0 - root(|p| tail(wrong, images, p) - side) };
        Estimate { accuracy: right as f64 / images as f64, low, high }
    }
}

/// Where a falling function of [0, 1] crosses 0.
fn root(f: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if f(middle) > 0.0 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_tables() {
        // Clopper-Pearson 95 % intervals as tables of the binomial distribution give them.
        for (right, images, low, high) in [(9, 10, 0.5550, 0.9975), (0, 10, 0.0, 0.3085), (50, 100, 0.3983, 0.6017)] {
            let found = Estimate::new(right, images, 0.95);
            assert!((found.low - low).abs() < 1e-4 && (found.high - high).abs() < 1e-4, "{found:?}");
        }
        assert_eq!(Estimate::new(5, 5, 0.95).high, 1.0);
        assert_eq!((Estimate::new(0, 0, 0.9).low, Estimate::new(0, 0, 0.9).high), (0.0, 1.0));
    }
}

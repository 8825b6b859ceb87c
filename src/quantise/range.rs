//! Which values the bytes of a layer's input stand for, from what calibration images made of it.

use std::fmt;

/// Bins of a histogram.
const BINS: usize = 2048;
/// Shares of the values that stay within the range, tried by [`Histogram::range`].
const PERCENTILES: [f64; 2] = [0.9999, 0.999];
/// Parts of the whole range that the search for the least squared error tries, on each side.
const PARTS: [f32; 12] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];
/// Bytes have so many steps.
const STEPS: f32 = 255.0;

/// How a range was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeMethod {
    /// From the smallest to the largest value seen.
    MinMax,
    /// Without the outermost 0.01 % or 0.1 % of the values.
    Percentile,
    /// Where the mean squared error of rounding and cutting off is least.
    Mse,
}

impl fmt::Display for RangeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RangeMethod::MinMax => "min-max",
            RangeMethod::Percentile => "percentile",
            RangeMethod::Mse => "mse",
        })
    }
}

/// A range of values, 0 among them, and how it was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Range {
    /// The value of byte 0, at most 0.
    pub low: f32,
    /// The value of byte 255, at least 0.
    pub high: f32,
    /// How it was chosen.
    pub method: RangeMethod,
}

impl Range {
    /// What one step of the bytes stands for, and the byte that stands for 0: exactly 0, since zeros are common.
    pub(super) fn scheme(&self) -> (f32, u8) {
        let scale = ((self.high - self.low) / STEPS).max(f32::MIN_POSITIVE);
        (scale, (-self.low / scale).round().clamp(0.0, STEPS) as u8)
    }
}

/// Values of a tensor between its smallest and its largest.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    low: f32,
    high: f32,
    counts: Vec<u64>,
}

impl Histogram {
    /// None when there was no value, or one that is not finite.
    pub(super) fn new(low: f32, high: f32) -> Option<Histogram> {
        // 0 is always among them: padding and rectified values are.
        let (low, high) = (low.min(0.0), high.max(0.0));
        (low.is_finite() && high.is_finite()).then(|| Histogram { low, high, counts: vec![0; BINS] })
    }

    pub(super) fn add(&mut self, values: &[f32]) {
        let per_bin = BINS as f32 / (self.high - self.low).max(f32::MIN_POSITIVE);
        for value in values {
            let bin = ((value - self.low) * per_bin) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    fn centre(&self, bin: usize) -> f32 {
        self.low + (bin as f32 + 0.5) * (self.high - self.low) / BINS as f32
    }

    /// Mean squared error of rounding to the range's steps and of cutting off what is outside.
    fn error(&self, low: f32, high: f32) -> f64 {
        let step = f64::from((high - low) / STEPS);
        let inside = step * step / 12.0;
        let error = |(bin, count): (usize, &u64)| {
            let centre = self.centre(bin);
            let outside = f64::from((low - centre).max(centre - high).max(0.0));
            *count as f64 * (outside * outside + inside)
        };
        self.counts.iter().enumerate().map(error).sum()
    }

    /// The value below which this share lies.
    fn quantile(&self, share: f64) -> f32 {
        let wanted = share * self.counts.iter().sum::<u64>() as f64;
        let mut seen = 0.0;
        for (bin, count) in self.counts.iter().enumerate() {
            seen += *count as f64;
            if seen >= wanted {
                return self.centre(bin);
            }
        }
        self.high
    }

    /// The range with the least mean squared error among min-max, percentiles and a search.
    pub(super) fn range(&self) -> Range {
        let percentile = |share: f64| Range {
            low: self.quantile(1.0 - share).min(0.0),
            high: self.quantile(share).max(0.0),
            method: RangeMethod::Percentile,
        };
        let searched = PARTS.iter().flat_map(|low| {
            PARTS.map(|high| Range { low: low * self.low, high: high * self.high, method: RangeMethod::Mse })
        });
        let simple = [Range { low: self.low, high: self.high, method: RangeMethod::MinMax }];
        let all = simple.into_iter().chain(PERCENTILES.map(percentile)).chain(searched);
        let judged = all.map(|range| (self.error(range.low, range.high), range));
        // The first of several equally good ones: the simplest.
        let best = judged.reduce(|best, next| if next.0 < best.0 { next } else { best });
        best.map_or(simple[0], |(_, range)| range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let (low, high) = values.iter().fold((0.0_f32, 0.0_f32), |(l, h), v| (l.min(*v), h.max(*v)));
        let mut histogram = Histogram::new(low, high).unwrap();
        histogram.add(values);
        histogram
    }

    #[test]
    fn values_that_fill_their_range_keep_it() {
        let values: Vec<f32> = (0..10_000).map(|i| i as f32 / 5000.0 - 1.0).collect();
        let range = histogram(&values).range();
        assert!(range.low < -0.94 && range.high > 0.94, "{range:?}");
        let (scale, zero_point) = range.scheme();
        assert!((scale - 2.0 / 255.0).abs() < 1e-3 && (120..=135).contains(&zero_point));
    }

    #[test]
    fn one_outlier_does_not_take_the_steps_of_all_others() {
        let values: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        let mut histogram = Histogram::new(0.0, 20.0).unwrap();
        (0..30).for_each(|_| histogram.add(&values));
        histogram.add(&[20.0]);
        let range = histogram.range();
        assert!(range.high < 10.0 && range.method != RangeMethod::MinMax, "{range:?}");
        assert_eq!(range.low, 0.0);
        assert_eq!(range.scheme().1, 0);
    }

    #[test]
    fn tensors_of_zeros_and_of_no_numbers() {
        assert!(Histogram::new(f32::NEG_INFINITY, 1.0).is_none());
        assert!(Histogram::new(f32::INFINITY, f32::NAN).is_none_or(|h| h.range().scheme().0 > 0.0));
        let (scale, zero_point) = histogram(&[0.0; 10]).range().scheme();
        assert!(scale > 0.0 && zero_point == 0);
    }
}

//! Times from frame to frame that a device offers, and the one that fits a wanted rate.

use std::cmp::Ordering;
use std::fmt;

/// Time from one frame to the next, as a fraction of seconds: `1/30` is thirty frames a second.
#[derive(Clone, Copy, Debug)]
pub struct FrameInterval {
    numerator: u32,
    denominator: u32,
}

impl FrameInterval {
    /// `numerator / denominator` seconds; `None` where that is no time or has no end.
    ///
    /// ```
    /// use dyn_perceiver::camera::FrameInterval;
    ///
    /// assert_eq!(FrameInterval::new(2, 15).map(FrameInterval::fps), Some(7.5));
    /// assert!(FrameInterval::new(0, 1).is_none() && FrameInterval::new(1, 0).is_none());
    /// ```
    #[must_use]
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (numerator > 0 && denominator > 0).then_some(Self { numerator, denominator })
    }

    /// Of so many whole frames per second; `None` for none.
    #[must_use]
    pub fn per_second(fps: u32) -> Option<Self> {
        Self::new(1, fps)
    }

    /// Numerator and denominator, in seconds.
    #[must_use]
    pub fn fraction(self) -> (u32, u32) {
        (self.numerator, self.denominator)
    }

    /// Frames per second.
    #[must_use]
    pub fn fps(self) -> f64 {
        f64::from(self.denominator) / f64::from(self.numerator)
    }
}

impl Ord for FrameInterval {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        product(self.numerator, other.denominator).cmp(&product(other.numerator, self.denominator))
    }
}

impl PartialOrd for FrameInterval {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By its length: `1/5` is `2/10`.
impl PartialEq for FrameInterval {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FrameInterval {}

/// As frames per second.
impl fmt::Display for FrameInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fps = self.fps();
        if fps.fract() == 0.0 { write!(f, "{fps} fps") } else { write!(f, "{fps:.2} fps") }
    }
}

/// One interval that a device offers in a format and size, or a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntervalRange {
    /// The shortest: most frames per second.
    pub shortest: FrameInterval,
    /// The longest; the shortest again for a single one.
    pub longest: FrameInterval,
}

impl IntervalRange {
    /// One interval alone.
    #[must_use]
    pub fn one(interval: FrameInterval) -> Self {
        Self { shortest: interval, longest: interval }
    }

    /// All from one to another, whichever is given first. A device that knows only some of them takes the nearest.
    #[must_use]
    pub fn between(one: FrameInterval, other: FrameInterval) -> Self {
        Self { shortest: one.min(other), longest: one.max(other) }
    }

    /// The longest interval that is not longer than `wanted`.
    fn at_most(&self, wanted: FrameInterval) -> Option<FrameInterval> {
        (self.shortest <= wanted).then(|| self.longest.min(wanted))
    }
}

/// What to ask of a device for `fps` frames a second: the longest offered interval that still brings as many, or the
/// shortest where none does. `None` where nothing is offered or no frame is wanted.
pub(in crate::camera) fn lowest_rate(offered: &[IntervalRange], fps: u32) -> Option<FrameInterval> {
    let wanted = FrameInterval::per_second(fps)?;
    let enough = offered.iter().filter_map(|range| range.at_most(wanted)).max();
    enough.or_else(|| offered.iter().map(|range| range.shortest).min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numerator: u32, denominator: u32) -> FrameInterval {
        FrameInterval::new(numerator, denominator).unwrap()
    }

    fn asked(offered: &[IntervalRange], fps: u32) -> Option<f64> {
        lowest_rate(offered, fps).map(FrameInterval::fps)
    }

    #[test]
    fn the_lowest_offered_rate_that_brings_enough_is_asked_for() {
        let webcam: Vec<_> =
            [(1, 30), (1, 15), (2, 15), (1, 5)].into_iter().map(|(n, d)| IntervalRange::one(of(n, d))).collect();
        assert_eq!(
            [1, 5, 6, 7, 8, 15, 16].map(|fps| asked(&webcam, fps)),
            [Some(5.0), Some(5.0), Some(7.5), Some(7.5), Some(15.0), Some(15.0), Some(30.0)]
        );
        // More than it can: as many as it can.
        assert_eq!(asked(&webcam, 60), Some(30.0));
        assert_eq!(asked(&[], 5), None);
        assert_eq!(asked(&webcam, 0), None);
    }

    #[test]
    fn a_range_brings_exactly_what_is_wanted() {
        let range = [IntervalRange::between(of(1, 2), of(1, 60))];
        assert_eq!([1, 2, 7, 60, 90].map(|fps| asked(&range, fps)), [2.0, 2.0, 7.0, 60.0, 60.0].map(Some));
        // vivid's range, whose longest interval is beyond any wish.
        let range = [IntervalRange::between(of(1, u32::MAX), of(u32::MAX, 1))];
        assert_eq!([1, 30].map(|fps| asked(&range, fps)), [1.0, 30.0].map(Some));
    }

    #[test]
    fn intervals_are_compared_by_their_length() {
        assert_eq!(of(1, 5), of(200, 1000));
        assert!(of(1001, 30000) > of(1, 30));
        assert_eq!((of(1, 30).to_string(), of(1001, 30000).to_string()), ("30 fps".into(), "29.97 fps".into()));
    }
}

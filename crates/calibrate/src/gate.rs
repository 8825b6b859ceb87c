//! The threshold of the gate behind the first exit, from pairs of frames.
//!
//! A gate lets an answer hold while a frame's code lies near that of the frame which was answered. How near that is depends
//! on the network and on what the camera sees: pairs of frames tell, of which the network answered both.

use thiserror::Error;

use crate::certify::Limit;

/// Thresholds that are tried, from the smallest on, each larger than the one before by this factor; fixed before any pair is
/// seen.
const STEP: f64 = 1.1;
const SMALLEST: f64 = 1e-3;
const LARGEST: f64 = 2.0;

/// Two frames of one camera, the later one at most as much later as an answer may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// How far their codes are apart, see [`code_distance`](dyn_perceiver_core::gate::code_distance).
    pub distance: f32,
    /// Whether the whole network gives both the same class.
    pub agrees: bool,
}

/// A threshold, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GateThreshold {
    /// The distance up to which an answer may hold.
    pub threshold: f32,
    /// Pairs no farther apart.
    pub held: usize,
    /// Pairs of those that the network answers differently.
    pub wrong: usize,
}

/// Why there is no threshold.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// With so few pairs nothing can be said.
    #[error("{pairs} pairs of frames are too few: at least {needed} are needed")]
    TooFewPairs {
        /// Pairs given.
        pairs: usize,
        /// Pairs needed, at least.
        needed: usize,
    },
    /// Even the nearest pairs differ too often.
    #[error(
        "codes do not tell when an answer changes: of the {held} nearest pairs the network answers {wrong} differently"
    )]
    NotCertified {
        /// Pairs within the smallest threshold that could be tested.
        held: usize,
        /// Pairs of those that are answered differently.
        wrong: usize,
    },
}

/// The largest threshold at which, with the limit's confidence, at most `limit.max_loss()` of the answers that hold are not
/// what the network would have said.
///
/// Thresholds are tested from the smallest on which enough pairs lie to the largest, each by the exact binomial test at the
/// full level, and testing stops at the first that fails. The confidence is that of pairs which are independent; those of
/// one recording are less than that, so a recording should show as much of the place as can be had.
///
/// # Errors
/// [`GateError`].
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::certify::Limit;
/// use dyn_perceiver_calibrate::gate::{Pair, threshold};
///
/// let pair = |n: u32| Pair { distance: n as f32 / 1000.0, agrees: n < 600 };
/// let pairs: Vec<Pair> = (0..1000).map(pair).collect();
/// let found = threshold(&pairs, Limit::new(0.01, 0.95)?)?;
/// assert!(found.threshold > 0.5 && found.threshold < 0.62);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn threshold(pairs: &[Pair], limit: Limit) -> Result<GateThreshold, GateError> {
    let needed = limit.samples_needed();
    if pairs.len() < needed {
        return Err(GateError::TooFewPairs { pairs: pairs.len(), needed });
    }
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance));
    let thresholds = std::iter::successors(Some(SMALLEST), |at| Some(at * STEP)).take_while(|at| *at <= LARGEST);
    let within = |at: f64| {
        let threshold = at as f32;
        let held = sorted.partition_point(|pair| pair.distance <= threshold);
        let wrong = sorted[..held].iter().filter(|pair| !pair.agrees).count();
        GateThreshold { threshold, held, wrong }
    };
    let mut best = None;
    // Which thresholds have too few pairs is told by distances alone, so that passing over them tests nothing.
    for tried in thresholds.map(within).filter(|tried| tried.held >= needed) {
        if !limit.certifies(tried.wrong, tried.held) {
            let GateThreshold { held, wrong, .. } = tried;
            return best.ok_or(GateError::NotCertified { held, wrong });
        }
        best = Some(tried);
    }
    best.ok_or(GateError::TooFewPairs { pairs: sorted.iter().filter(|pair| pair.distance <= 2.0).count(), needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        Limit::new(0.01, 0.95).unwrap()
    }

    fn pairs(count: usize, agrees: impl Fn(usize) -> bool) -> Vec<Pair> {
        (0..count).map(|n| Pair { distance: n as f32 / count as f32, agrees: agrees(n) }).collect()
    }

    #[test]
    fn the_threshold_ends_before_answers_that_differ() {
        let found = threshold(&pairs(10_000, |n| n < 5000), limit()).unwrap();
        assert!((0.45..0.506).contains(&found.threshold), "{found:?}");
        assert!(limit().certifies(found.wrong, found.held));
        let all = threshold(&pairs(10_000, |_| true), limit()).unwrap();
        assert!(all.threshold > 1.8 && all.held == 10_000);
    }

    #[test]
    fn what_cannot_be_known_has_no_threshold() {
        let few = threshold(&pairs(298, |_| true), limit()).unwrap_err();
        assert_eq!(few, GateError::TooFewPairs { pairs: 298, needed: 299 });
        let random = threshold(&pairs(10_000, |n| n % 10 > 0), limit()).unwrap_err();
        assert!(matches!(random, GateError::NotCertified { .. }), "{random}");
        // Distances that are no numbers lie within no threshold.
        let none = vec![Pair { distance: f32::NAN, agrees: true }; 400];
        assert!(threshold(&none, limit()).is_err());
    }
}

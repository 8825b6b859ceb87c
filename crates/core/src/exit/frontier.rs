//! Pareto frontier of accuracy over cost: the operating points worth using, and the choice among them.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{ExitCountError, ExitPolicy, PerExit};
use crate::inline::LongVec;

/// The most operating points a frontier holds.
pub const MAX_POINTS: usize = 64;

/// What the costs of a frontier are counted in, per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum CostUnit {
    /// Multiply-accumulates.
    Macs,
    /// Seconds of latency.
    Seconds,
    /// Joules.
    Joules,
}

impl CostUnit {
    /// The name used in files and on plots.
    pub const fn name(self) -> &'static str {
        match self {
            CostUnit::Macs => "macs",
            CostUnit::Seconds => "seconds",
            CostUnit::Joules => "joules",
        }
    }
}

impl fmt::Display for CostUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One policy with what is to be expected of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct OperatingPoint {
    /// The policy.
    pub policy: ExitPolicy,
    /// Expected share of frames answered rightly, in [0, 1].
    pub accuracy: f32,
    /// Expected mean cost of a frame, in the frontier's unit.
    pub cost: f32,
    /// Expected share of frames that leave at each exit; they sum to 1.
    pub shares: PerExit<f32>,
}

impl OperatingPoint {
    /// A policy with its expected accuracy in [0, 1], its mean cost per frame, and the share of frames that leave at each
    /// exit. [`Frontier::new`] checks the figures.
    ///
    /// # Errors
    /// [`ExitCountError`] without shares, or with more than a network may have exits.
    pub fn new(policy: ExitPolicy, accuracy: f32, cost: f32, shares: &[f32]) -> Result<Self, ExitCountError> {
        Ok(OperatingPoint { policy, accuracy, cost, shares: PerExit::new(shares)? })
    }

    /// Standard error of the expected accuracy, which was counted on so many samples: other samples of the same kind deviate from it
    /// by about as much again. 1 where there were none.
    pub fn accuracy_error(&self, samples: u32) -> f32 {
        let variance = (self.accuracy * (1.0 - self.accuracy)).max(0.0);
        if samples == 0 { 1.0 } else { libm::sqrtf(variance / samples as f32) }
    }
}

/// Operating points sorted by cost; each costs more than the one before and is more accurate: a Pareto frontier.
///
/// ```
/// use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, Frontier, Measure, OperatingPoint};
/// let policy = |threshold| ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[threshold]);
/// let frontier = Frontier::new(CostUnit::Joules, &[
///     OperatingPoint::new(policy(0.5)?, 0.90, 0.10, &[0.8, 0.2])?,
///     OperatingPoint::new(policy(0.9)?, 0.94, 0.25, &[0.3, 0.7])?,
/// ])?;
/// assert_eq!(frontier.by_budget(0.2), Some(0));
/// assert_eq!(frontier.by_accuracy(0.92), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Frontier {
    unit: CostUnit,
    points: LongVec<OperatingPoint, MAX_POINTS>,
}

/// Two neighbouring points and how often to use the dearer one, so that mean cost meets a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Mix {
    /// Index of the cheaper point.
    pub low: usize,
    /// Index of the dearer point; the same as `low` at the ends of the frontier.
    pub high: usize,
    /// Share of frames, in [0, 1], for `high`.
    pub share_of_high: f32,
}

impl Frontier {
    /// A frontier of points in order of cost.
    ///
    /// # Errors
    /// [`FrontierError`] without points, with more than [`MAX_POINTS`], when cost or accuracy does not increase from
    /// point to point, when a number is not finite or out of range, or when the points are not for the same exits.
    pub fn new(unit: CostUnit, points: &[OperatingPoint]) -> Result<Self, FrontierError> {
        if points.is_empty() {
            return Err(FrontierError::NoPoints);
        }
        match LongVec::from_slice(points) {
            Ok(points) => Self::checked(unit, points),
            Err(_) => Err(FrontierError::TooManyPoints { points: points.len() }),
        }
    }

    fn checked(unit: CostUnit, points: LongVec<OperatingPoint, MAX_POINTS>) -> Result<Self, FrontierError> {
        let Some(first) = points.first() else { return Err(FrontierError::NoPoints) };
        let exits = first.policy.rules().len();
        let mut before: Option<&OperatingPoint> = None;
        for (index, point) in points.iter().enumerate() {
            let OperatingPoint { policy, accuracy, cost, shares } = point;
            if policy.rules().len() != exits || shares.len() != exits {
                return Err(FrontierError::Exits { point: index, expected: exits });
            }
            if !cost.is_finite() || *cost < 0.0 {
                return Err(FrontierError::Cost { point: index, cost: *cost });
            }
            if !(0.0..=1.0).contains(accuracy) {
                return Err(FrontierError::Accuracy { point: index, accuracy: *accuracy });
            }
            let total: f32 = shares.iter().sum();
            let sums_to_one = (0.999..=1.001).contains(&total);
            if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || !sums_to_one {
                return Err(FrontierError::Shares { point: index });
            }
            if before.is_some_and(|b| b.cost >= *cost || b.accuracy >= *accuracy) {
                return Err(FrontierError::Order { point: index });
            }
            before = Some(point);
        }
        Ok(Frontier { unit, points })
    }

    /// What costs are counted in.
    pub fn unit(&self) -> CostUnit {
        self.unit
    }

    /// The points, cheapest first. There is at least one.
    pub fn points(&self) -> &[OperatingPoint] {
        &self.points
    }

    /// Exits of the network the points are for.
    pub fn exits(&self) -> usize {
        self.points.first().map_or(0, |point| point.policy.rules().len())
    }

    /// The most accurate point whose expected cost is within `budget`; none when even the cheapest costs more.
    pub fn by_budget(&self, budget: f32) -> Option<usize> {
        self.points.partition_point(|point| point.cost <= budget).checked_sub(1)
    }

    /// The cheapest point expected to be at least so accurate; none when no point is.
    pub fn by_accuracy(&self, accuracy: f32) -> Option<usize> {
        let index = self.points.partition_point(|point| point.accuracy < accuracy);
        (index < self.points.len()).then_some(index)
    }

    /// The neighbours to mix so that mean cost meets `budget`: below the cheapest point that point alone, above the
    /// dearest that one.
    pub fn mix(&self, budget: f32) -> Mix {
        let alone = |index| Mix { low: index, high: index, share_of_high: 0.0 };
        let Some(low) = self.by_budget(budget) else { return alone(0) };
        match (self.points.get(low), self.points.get(low + 1)) {
            (Some(cheap), Some(dear)) => {
                let share = (budget - cheap.cost) / (dear.cost - cheap.cost);
                Mix { low, high: low + 1, share_of_high: share.clamp(0.0, 1.0) }
            }
            _ => alone(low),
        }
    }
}

impl<'de> Deserialize<'de> for Frontier {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unchecked {
            unit: CostUnit,
            points: LongVec<OperatingPoint, MAX_POINTS>,
        }
        let Unchecked { unit, points } = Unchecked::deserialize(deserializer)?;
        Frontier::checked(unit, points).map_err(serde::de::Error::custom)
    }
}

/// Why points are no frontier. Points and exits are counted from 0 in the fields, from 1 in the text.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FrontierError {
    /// A frontier has at least one point.
    NoPoints,
    /// More points than [`MAX_POINTS`].
    TooManyPoints {
        /// How many there are.
        points: usize,
    },
    /// A point's policy or shares are for another number of exits than the first point's policy.
    Exits {
        /// The point.
        point: usize,
        /// Exits of the first point.
        expected: usize,
    },
    /// A cost is negative or not finite.
    Cost {
        /// The point.
        point: usize,
        /// What was given.
        cost: f32,
    },
    /// An accuracy is outside [0, 1].
    Accuracy {
        /// The point.
        point: usize,
        /// What was given.
        accuracy: f32,
    },
    /// The shares of a point are outside [0, 1] or do not sum to 1.
    Shares {
        /// The point.
        point: usize,
    },
    /// A point does not cost more than the one before, or is not more accurate.
    Order {
        /// The later of the two.
        point: usize,
    },
}

impl fmt::Display for FrontierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrontierError::NoPoints => f.write_str("a frontier needs at least one operating point"),
            FrontierError::TooManyPoints { points } => {
                write!(f, "{points} operating points, at most {MAX_POINTS} are supported")
            }
            FrontierError::Exits { point, expected } => {
                write!(f, "operating point {} is not for {expected} exits as the first one is", point + 1)
            }
            FrontierError::Cost { point, cost } => {
                write!(f, "the cost of operating point {} is {cost}, expected a number not below 0", point + 1)
            }
            FrontierError::Accuracy { point, accuracy } => {
                write!(f, "the accuracy of operating point {} is {accuracy}, expected a number in [0, 1]", point + 1)
            }
            FrontierError::Shares { point } => {
                write!(f, "the exit shares of operating point {} are not numbers in [0, 1] that sum to 1", point + 1)
            }
            FrontierError::Order { point } => {
                write!(f, "operating point {} must cost more and be more accurate than the one before", point + 1)
            }
        }
    }
}

impl core::error::Error for FrontierError {}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::{Curve, Ensemble, ExitRule, MAX_EXITS, Measure};

    pub(crate) fn point(threshold: f32, accuracy: f32, cost: f32) -> OperatingPoint {
        let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[threshold]).unwrap();
        OperatingPoint::new(policy, accuracy, cost, &[1.0 - threshold, threshold]).unwrap()
    }

    pub(crate) fn three() -> Frontier {
        let points = [point(0.0, 0.5, 10.0), point(0.5, 0.7, 20.0), point(1.0, 0.8, 40.0)];
        Frontier::new(CostUnit::Macs, &points).unwrap()
    }

    /// As many points with as many exits as there may be.
    pub(crate) fn full() -> Frontier {
        let ensemble = Ensemble::recall(&[Curve::new(1.5, -0.5); MAX_EXITS]).unwrap();
        let rules = [ExitRule::Unless { class: u8::MAX, confidence: 0.7 }; MAX_EXITS];
        let policy = ExitPolicy::new(Measure::MaxSoftmax, &rules).unwrap().with_ensemble(ensemble).unwrap();
        let point = OperatingPoint::new(policy, 0.0, 0.0, &[1.0 / MAX_EXITS as f32; MAX_EXITS]).unwrap();
        let points: std::vec::Vec<_> = (0..MAX_POINTS)
            .map(|i| OperatingPoint { accuracy: i as f32 / MAX_POINTS as f32, cost: i as f32, ..point.clone() })
            .collect();
        Frontier::new(CostUnit::Macs, &points).unwrap()
    }

    #[test]
    fn frontier_points_are_found_by_budget_and_by_accuracy() {
        let frontier = three();
        assert_eq!(frontier.by_budget(9.9), None);
        assert_eq!(frontier.by_budget(f32::NAN), None);
        assert_eq!(frontier.by_budget(10.0), Some(0));
        assert_eq!(frontier.by_budget(39.0), Some(1));
        assert_eq!(frontier.by_budget(f32::INFINITY), Some(2));
        assert_eq!(frontier.by_accuracy(0.0), Some(0));
        assert_eq!(frontier.by_accuracy(0.7), Some(1));
        assert_eq!(frontier.by_accuracy(0.81), None);
        assert_eq!(frontier.mix(5.0), Mix { low: 0, high: 0, share_of_high: 0.0 });
        assert_eq!(frontier.mix(30.0), Mix { low: 1, high: 2, share_of_high: 0.5 });
        assert_eq!(frontier.mix(99.0), Mix { low: 2, high: 2, share_of_high: 0.0 });
    }

    #[test]
    fn frontier_refuses_what_is_none() {
        let refused = |points: &[OperatingPoint]| Frontier::new(CostUnit::Macs, points).unwrap_err();
        assert_eq!(refused(&[]), FrontierError::NoPoints);
        assert_eq!(refused(&std::vec![point(0.0, 0.5, 1.0); 65]), FrontierError::TooManyPoints { points: 65 });
        assert_eq!(refused(&[point(0.0, 0.5, 1.0), point(0.0, 0.5, 2.0)]), FrontierError::Order { point: 1 });
        assert_eq!(refused(&[point(0.0, 0.5, 2.0), point(0.0, 0.6, 2.0)]), FrontierError::Order { point: 1 });
        assert_eq!(refused(&[point(0.0, 1.5, 1.0)]), FrontierError::Accuracy { point: 0, accuracy: 1.5 });
        assert!(matches!(refused(&[point(0.0, 0.5, f32::NAN)]), FrontierError::Cost { point: 0, .. }));
        let mut odd = point(0.0, 0.5, 1.0);
        odd.shares = PerExit::new(&[0.5, f32::NAN]).unwrap();
        assert_eq!(refused(&[odd.clone()]), FrontierError::Shares { point: 0 });
        odd.shares = PerExit::new(&[1.0]).unwrap();
        assert_eq!(refused(&[odd]), FrontierError::Exits { point: 0, expected: 2 });
    }

    #[test]
    fn frontier_round_trips_in_postcard_and_json() {
        let frontier = three();
        let bytes = postcard::to_allocvec(&frontier).unwrap();
        assert_eq!(postcard::from_bytes::<Frontier>(&bytes).unwrap(), frontier);
        let json = serde_json::to_string(&frontier).unwrap();
        assert_eq!(serde_json::from_str::<Frontier>(&json).unwrap(), frontier);
        let swapped = json.replace("0.7", "0.3");
        assert!(
            std::format!("{}", serde_json::from_str::<Frontier>(&swapped).unwrap_err()).contains("operating point 2")
        );
    }

    proptest! {
        #[test]
        fn corrupted_bytes_never_make_a_bad_frontier(flips in proptest::collection::vec((0usize..256, any::<u8>()), 1..8)) {
            let mut bytes = postcard::to_allocvec(&three()).unwrap();
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Ok(frontier) = postcard::from_bytes::<Frontier>(&bytes) {
                prop_assert_eq!(Frontier::new(frontier.unit(), frontier.points()), Ok(frontier));
            }
        }

        #[test]
        fn frontier_mix_meets_its_budget(budget in 10f32..40.0) {
            let frontier = three();
            let Mix { low, high, share_of_high } = frontier.mix(budget);
            let cost = |index: usize| frontier.points()[index].cost;
            prop_assert!(((1.0 - share_of_high) * cost(low) + share_of_high * cost(high) - budget).abs() < 1e-3);
        }
    }
}

//! The Pareto frontier in joules: what each operating point costs on a board, reduced to its upper concave hull.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::energy::PowerModel;
use crate::exit::{Frontier, MAX_POINTS, OperatingPoint};
use crate::inline::InlineVec;

/// One operating point with what it costs on this board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Rung {
    /// Index of the operating point in the frontier.
    pub point: usize,
    /// Expected share of frames answered rightly, in [0, 1].
    pub accuracy: f32,
    /// Joules that a frame adds on average.
    pub joules: f32,
    /// Standard deviation of the joules from frame to frame: where it is 0, all frames leave at one exit.
    pub spread: f32,
}

/// The operating points on the upper concave hull of accuracy over joules, cheapest first.
///
/// Mixing two neighbours of the hull is at least as accurate as any other point of the same cost, so a governor needs no
/// others. There is at least one rung; joules and accuracy both rise from rung to rung.
///
/// ```
/// # use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, Frontier, Measure, OperatingPoint};
/// use dyn_perceiver_core::energy::{JoulesSource, Ladder, PowerModel};
/// # let policy = |threshold| ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[threshold]);
/// # let frontier = Frontier::new(CostUnit::Macs, &[
/// #     OperatingPoint::new(policy(0.0)?, 0.5, 1.0, &[1.0, 0.0])?,
/// #     OperatingPoint::new(policy(1.0)?, 0.9, 10.0, &[0.0, 1.0])?,
/// # ])?;
/// let power = PowerModel::new(0.5, &[1.0, 9.0], JoulesSource::Measured)?;
/// let ladder = Ladder::new(&frontier, &power)?;
/// assert_eq!(ladder.position(5.5), 0.5);
/// assert_eq!(ladder.rung(ladder.top()).joules, 10.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ladder {
    rungs: InlineVec<Rung, MAX_POINTS>,
}

/// A frontier and a power model that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LadderError {
    /// The power model is for another number of stages than the frontier has exits.
    Stages {
        /// Exits of the frontier.
        expected: usize,
        /// Stages of the power model.
        actual: usize,
    },
    /// The frontier has no points.
    NoPoints,
}

impl fmt::Display for LadderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LadderError::Stages { expected, actual } => {
                write!(
                    f,
                    "the power model has {actual} stages, expected one for each of the frontier's {expected} exits"
                )
            }
            LadderError::NoPoints => f.write_str("the frontier has no operating points"),
        }
    }
}

impl core::error::Error for LadderError {}

/// Joules that a frame adds on average at `point`: over the exits, the share leaving there times the joules of all the
/// stages the policy runs up to it.
pub fn point_joules(point: &OperatingPoint, power: &PowerModel) -> f32 {
    point.shares.iter().enumerate().map(|(exit, share)| share * power.policy_joules(&point.policy, exit)).sum()
}

/// Standard deviation of the joules that frames add at `point`.
fn point_spread(point: &OperatingPoint, power: &PowerModel) -> f32 {
    let mean = point_joules(point, power);
    let apart = |exit: usize| power.policy_joules(&point.policy, exit) - mean;
    let variance: f32 = point.shares.iter().enumerate().map(|(exit, share)| share * apart(exit) * apart(exit)).sum();
    libm::sqrtf(variance.max(0.0))
}

impl Ladder {
    /// The ladder of a frontier on a board.
    ///
    /// # Errors
    /// [`LadderError::Stages`] when the power model is for another network.
    pub fn new(frontier: &Frontier, power: &PowerModel) -> Result<Self, LadderError> {
        if frontier.exits() != power.stages().len() {
            return Err(LadderError::Stages { expected: frontier.exits(), actual: power.stages().len() });
        }
        let rungs = || {
            let points = frontier.points().iter().enumerate();
            points.map(|(index, point)| Rung {
                point: index,
                accuracy: point.accuracy,
                joules: point_joules(point, power),
                spread: point_spread(point, power),
            })
        };
        // The hull, walked from the cheapest point: always on to the point with the steepest gain.
        let cheaper =
            |best: &Rung, r: &Rung| r.joules < best.joules || (r.joules == best.joules && r.accuracy > best.accuracy);
        let steepest = |from: Rung| {
            let slope = |r: &Rung| (r.accuracy - from.accuracy) / (r.joules - from.joules);
            let gains = rungs().filter(|r| r.joules > from.joules && r.accuracy > from.accuracy);
            gains.reduce(|best, r| if slope(&r) > slope(&best) { r } else { best })
        };
        let cheapest = rungs().reduce(|best, r| if cheaper(&best, &r) { r } else { best });
        let mut rung = cheapest.ok_or(LadderError::NoPoints)?;
        let mut hull = InlineVec::one(rung);
        while let Some(next) = steepest(rung) {
            if hull.push(next).is_err() {
                break;
            }
            rung = next;
        }
        Ok(Ladder { rungs: hull })
    }

    /// The rungs, cheapest first.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// Index of the most accurate rung.
    pub fn top(&self) -> usize {
        self.rungs.len().saturating_sub(1)
    }

    /// The rung at `index`, or the nearest one.
    pub fn rung(&self, index: usize) -> Rung {
        let none = Rung { point: 0, accuracy: 0.0, joules: 0.0, spread: 0.0 };
        self.rungs.get(index).or(self.rungs.last()).copied().unwrap_or(none)
    }

    /// Where on the ladder a frame costs `joules` on average: 1.25 is a quarter of the way from rung 1 to rung 2.
    pub fn position(&self, joules: f32) -> f32 {
        self.locate(joules, |rung| rung.joules)
    }

    /// Where on the ladder the accuracy is `accuracy`; the top when none reaches it.
    pub fn position_of_accuracy(&self, accuracy: f32) -> f32 {
        self.locate(accuracy, |rung| rung.accuracy)
    }

    fn locate(&self, value: f32, of: impl Fn(&Rung) -> f32) -> f32 {
        let mut position = 0.0;
        for pair in self.rungs.windows(2) {
            if let [low, high] = pair {
                let share = (value - of(low)) / (of(high) - of(low));
                position += if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
            }
        }
        position
    }

    /// Joules of a frame at a position between rungs.
    pub fn joules_at(&self, position: f32) -> f32 {
        self.between(position, |rung| rung.joules)
    }

    /// Accuracy at a position between rungs.
    pub fn accuracy_at(&self, position: f32) -> f32 {
        self.between(position, |rung| rung.accuracy)
    }

    fn between(&self, position: f32, of: impl Fn(&Rung) -> f32) -> f32 {
        // A float saturates when it becomes an integer, and NaN becomes 0, so that any position gives a rung.
        let low = position as usize;
        let share = if position.is_nan() { 0.0 } else { (position - low as f32).clamp(0.0, 1.0) };
        let (a, b) = (of(&self.rung(low)), of(&self.rung(low.saturating_add(1))));
        a + share * (b - a)
    }

    /// The position that gives most right answers per joule, not below `floor`.
    ///
    /// On a concave hull accuracy per joule first rises, then falls, so that the best position is a rung or the floor.
    pub fn most_per_joule(&self, floor: f32) -> f32 {
        let ratio = |position: f32| self.accuracy_at(position) / self.joules_at(position).max(f32::MIN_POSITIVE);
        let rungs = (0..self.rungs.len()).map(|index| index as f32).filter(|position| *position > floor);
        rungs.fold(floor, |best, position| if ratio(position) > ratio(best) { position } else { best })
    }

    /// A position as good as [`most_per_joule`](Self::most_per_joule) but for `loss` of its right answers per joule, at which
    /// joules differ most from frame to frame: there easy frames can be told from hard ones.
    pub fn most_telling(&self, floor: f32, loss: f32) -> f32 {
        let ratio = |position: f32| self.accuracy_at(position) / self.joules_at(position).max(f32::MIN_POSITIVE);
        let best = self.most_per_joule(floor);
        let least = ratio(best) * (1.0 - loss);
        let telling = |position: f32| {
            let rung = self.rung(position as usize);
            rung.spread / rung.joules.max(f32::MIN_POSITIVE)
        };
        let rungs = (0..self.rungs.len()).map(|index| index as f32).filter(|position| *position >= floor);
        rungs
            .filter(|position| ratio(*position) >= least)
            .fold(best, |best, position| if telling(position) > telling(best) { position } else { best })
    }
}

impl<'de> Deserialize<'de> for Ladder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Unchecked {
            rungs: InlineVec<Rung, MAX_POINTS>,
        }
        let Unchecked { rungs } = Unchecked::deserialize(deserializer)?;
        let sound = |rung: &Rung| {
            (0.0..=1.0).contains(&rung.accuracy) && rung.joules.is_finite() && rung.joules >= 0.0 && rung.spread >= 0.0
        };
        let rises =
            |pair: &[Rung]| matches!(pair, [low, high] if low.joules < high.joules && low.accuracy < high.accuracy);
        if rungs.iter().all(sound) && rungs.windows(2).all(rises) {
            Ok(Ladder { rungs })
        } else {
            Err(serde::de::Error::custom("expected rungs whose joules and accuracy rise"))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::energy::JoulesSource;
    use crate::exit::{CostUnit, ExitPolicy, Measure};

    /// A frontier of two exits from (share that goes on to the second exit, accuracy) pairs.
    pub(crate) fn frontier(points: &[(f32, f32)]) -> Frontier {
        let point = |&(onwards, accuracy): &(f32, f32)| {
            let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[onwards]).unwrap();
            OperatingPoint::new(policy, accuracy, 1.0 + 9.0 * onwards, &[1.0 - onwards, onwards]).unwrap()
        };
        let points: Vec<_> = points.iter().map(point).collect();
        Frontier::new(CostUnit::Macs, &points).unwrap()
    }

    pub(crate) fn power() -> PowerModel {
        PowerModel::new(0.5, &[1.0, 9.0], JoulesSource::Measured).unwrap()
    }

    #[test]
    fn ladder_joules_are_shares_times_stages_and_dominated_points_go() {
        let frontier = frontier(&[(0.0, 0.5), (0.25, 0.55), (0.5, 0.8), (1.0, 0.9)]);
        let ladder = Ladder::new(&frontier, &power()).unwrap();
        let rungs: Vec<_> = ladder.rungs().iter().map(|r| (r.point, r.joules)).collect();
        assert_eq!(rungs, [(0, 1.0), (2, 5.5), (3, 10.0)]);
        assert_eq!(ladder.position(0.0), 0.0);
        assert_eq!(ladder.position(3.25), 0.5);
        assert_eq!(ladder.position(f32::INFINITY), 2.0);
        assert_eq!(ladder.joules_at(1.5), 7.75);
        assert_eq!(ladder.joules_at(f32::NAN), 1.0);
        assert!((ladder.position_of_accuracy(0.85) - 1.5).abs() < 1e-5);
        assert_eq!(ladder.most_per_joule(0.0), 0.0);
        assert_eq!(ladder.most_per_joule(0.5), 0.5);
    }

    #[test]
    fn ladder_in_a_file_is_the_ladder_and_one_that_falls_is_refused() {
        let ladder = Ladder::new(&frontier(&[(0.0, 0.5), (0.5, 0.8), (1.0, 0.9)]), &power()).unwrap();
        let text = serde_json::to_string(&ladder).unwrap();
        assert_eq!(serde_json::from_str::<Ladder>(&text).unwrap(), ladder);
        assert!(serde_json::from_str::<Ladder>(&text.replace("10.0", "0.5")).is_err(), "{text}");
        assert!(serde_json::from_str::<Ladder>(r#"{"rungs":[]}"#).is_err());
    }

    #[test]
    fn ladder_refuses_the_power_model_of_another_network() {
        let other = PowerModel::new(0.5, &[1.0], JoulesSource::Measured).unwrap();
        let error = Ladder::new(&frontier(&[(0.0, 0.5)]), &other).unwrap_err();
        assert_eq!(error, LadderError::Stages { expected: 2, actual: 1 });
    }

    proptest! {
        #[test]
        fn ladder_hull_is_concave_and_nothing_is_above_it(
            raw in proptest::collection::vec((1u32..1000, 1u32..1000), 1..64),
        ) {
            let mut costs: Vec<_> = raw.iter().map(|r| r.0).collect();
            let mut gains: Vec<_> = raw.iter().map(|r| r.1).collect();
            costs.sort_unstable();
            costs.dedup();
            gains.sort_unstable();
            gains.dedup();
            let points: Vec<_> =
                costs.iter().zip(&gains).map(|(&c, &g)| (c as f32 / 1000.0, g as f32 / 1000.0)).collect();
            let ladder = Ladder::new(&frontier(&points), &power()).unwrap();
            for three in ladder.rungs().windows(3) {
                let slope = |a: &Rung, b: &Rung| (b.accuracy - a.accuracy) / (b.joules - a.joules);
                prop_assert!(slope(&three[0], &three[1]) >= slope(&three[1], &three[2]) - 1e-4);
            }
            for (onwards, accuracy) in points {
                let joules = 1.0 + 9.0 * onwards;
                prop_assert!(ladder.accuracy_at(ladder.position(joules)) >= accuracy - 1e-4);
            }
        }
    }
}

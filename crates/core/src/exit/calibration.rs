//! From the confidence that a policy acted on to the probability that its answer is right.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Curve, Ensemble, EnsembleKind, ExitPolicy, MAX_EXITS, Measure, PerExit};

/// How probable it is that an answer is right, by the exit at which a frame left and the confidence there.
///
/// Confidence orders answers, which is all that a threshold needs; it is no probability, least of all where it is a margin. Calibration
/// fits to labelled samples how often answers of a confidence were right: one curve per exit for frames whose first exit it is, and one
/// for those that earlier exits let pass, since these are the harder ones. The curves are for policies of one measure and kind of
/// ensemble.
///
/// ```
/// use dyn_perceiver_core::exit::{Calibration, Curve, EnsembleKind, ExitPolicy, Measure};
/// let first = [Curve::new(1.0, 0.0), Curve::new(1.0, 1.0)];
/// let later = [Curve::new(1.0, 0.0), Curve::new(1.0, -1.0)];
/// let calibration = Calibration::new(Measure::Margin, EnsembleKind::Own, &first, &later)?;
/// let both = ExitPolicy::with_thresholds(Measure::Margin, 2, &[0.9])?;
/// assert!(calibration.probability(&both, 1, 0.5).is_some_and(|right| right < 0.5), "the first exit was unsure");
/// let other = ExitPolicy::with_thresholds(Measure::Entropy, 2, &[0.9])?;
/// assert_eq!(calibration.probability(&other, 1, 0.5), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Calibration {
    measure: Measure,
    // The name in files, as of policies.
    #[serde(rename = "evidence")]
    ensemble: EnsembleKind,
    first: PerExit<Curve>,
    later: PerExit<Curve>,
}

impl Calibration {
    /// The longest form in postcard: two enums, and twice a count and two numbers per exit.
    pub(super) const MAX_BYTES: usize = 4 + 2 * (1 + 8 * MAX_EXITS);

    /// Curves of the confidence that policies of this measure and ensemble act on: `first` for the exit evaluated first, which speaks
    /// alone, and `later` for one that follows others; one of each per exit.
    ///
    /// # Errors
    /// [`CalibrationError`] without curves, with more than there may be exits, with more of one than of the other, or when a slope is
    /// negative or a number not finite.
    pub fn new(
        measure: Measure,
        ensemble: EnsembleKind,
        first: &[Curve],
        later: &[Curve],
    ) -> Result<Self, CalibrationError> {
        let of = |curves: &[Curve]| PerExit::new(curves).map_err(|_| CalibrationError { curves: curves.len() });
        Calibration { measure, ensemble, first: of(first)?, later: of(later)? }.checked()
    }

    fn checked(self) -> Result<Self, CalibrationError> {
        let sound = self.first.iter().chain(&self.later).all(Curve::is_sound);
        match sound && self.first.len() == self.later.len() {
            true => Ok(self),
            false => Err(CalibrationError { curves: self.first.len() }),
        }
    }

    /// Exits of the network.
    pub fn exits(&self) -> usize {
        self.first.len()
    }

    /// Probability in [0, 1] that the answer of a frame is right that left at `exit` with this confidence under `policy`; none for a
    /// policy of another measure, ensemble or number of exits, and for an exit that it does not evaluate.
    pub fn probability(&self, policy: &ExitPolicy, exit: usize, confidence: f32) -> Option<f32> {
        if policy.measure() != self.measure || policy.rules().len() != self.exits() || !policy.evaluates(exit) {
            return None;
        }
        let is_first = (0..exit).all(|earlier| !policy.evaluates(earlier));
        let same = policy.ensemble().kind() == self.ensemble;
        match (is_first, policy.ensemble()) {
            // Its confidence is the probability already, of curves that were fitted to every sample.
            (true, Ensemble::Recall(_)) => same.then_some(confidence),
            // Whatever the ensemble, the first exit speaks alone.
            (true, _) => self.first.get(exit).map(|curve| curve.probability(confidence)),
            (false, _) if same => self.later.get(exit).map(|curve| curve.probability(confidence)),
            (false, _) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Calibration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unchecked {
            measure: Measure,
            #[serde(rename = "evidence")]
            ensemble: EnsembleKind,
            first: PerExit<Curve>,
            later: PerExit<Curve>,
        }
        let Unchecked { measure, ensemble, first, later } = Unchecked::deserialize(deserializer)?;
        Calibration { measure, ensemble, first, later }.checked().map_err(serde::de::Error::custom)
    }
}

/// The curves are no calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct CalibrationError {
    /// Curves given.
    pub curves: usize,
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} curves of probability, expected two sound ones for each of 1 to {MAX_EXITS} exits", self.curves)
    }
}

impl core::error::Error for CalibrationError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitRule;

    fn calibration(ensemble: EnsembleKind) -> Calibration {
        let (first, later) = ([Curve::new(1.0, 1.0); 3], [Curve::new(0.5, -1.0); 3]);
        Calibration::new(Measure::Margin, ensemble, &first, &later).unwrap()
    }

    #[test]
    fn what_earlier_exits_let_pass_has_a_curve_of_its_own() {
        let leave = ExitRule::Leave(0.9);
        let policy = ExitPolicy::new(Measure::Margin, &[ExitRule::Skip, leave, leave]).unwrap();
        let own = calibration(EnsembleKind::Own);
        assert_eq!(own.probability(&policy, 0, 0.5), None, "the policy does not evaluate it");
        assert_eq!(own.probability(&policy, 1, 0.5), Some(Curve::new(1.0, 1.0).probability(0.5)));
        assert_eq!(own.probability(&policy, 2, 0.5), Some(Curve::new(0.5, -1.0).probability(0.5)));
        assert_eq!(own.probability(&policy, 3, 0.5), None);
        let mean = calibration(EnsembleKind::Mean);
        assert!(mean.probability(&policy, 1, 0.5).is_some(), "the first exit speaks alone");
        assert_eq!(mean.probability(&policy, 2, 0.5), None);
        let other = ExitPolicy::with_thresholds(Measure::Margin, 2, &[0.9]).unwrap();
        assert_eq!(own.probability(&other, 1, 0.5), None);
    }

    #[test]
    fn the_confidence_of_recall_is_the_probability_at_the_first_exit() {
        let curves = [Curve::new(2.0, 0.5); 3];
        let policy = ExitPolicy::with_thresholds(Measure::Margin, 3, &[0.9, 0.9]).unwrap();
        let policy = policy.with_ensemble(Ensemble::recall(&curves).unwrap()).unwrap();
        let recall = calibration(EnsembleKind::Recall);
        assert_eq!(recall.probability(&policy, 0, 0.625), Some(0.625));
        assert_eq!(recall.probability(&policy, 1, 0.5), Some(Curve::new(0.5, -1.0).probability(0.5)));
        assert_eq!(calibration(EnsembleKind::Own).probability(&policy, 0, 0.625), None);
    }

    #[test]
    fn curves_that_make_no_sense_are_refused() {
        let sound = [Curve::new(1.0, 0.0); 2];
        let new = |first: &[Curve], later: &[Curve]| Calibration::new(Measure::Margin, EnsembleKind::Own, first, later);
        assert!(new(&sound, &sound).is_ok());
        assert!(new(&sound, &sound[..1]).is_err() && new(&[], &[]).is_err());
        assert!(
            new(&[Curve::new(-1.0, 0.0); 2], &sound).is_err() && new(&sound, &[Curve::new(1.0, f32::NAN); 2]).is_err()
        );
        let too_many = std::vec![sound[0]; MAX_EXITS + 1];
        assert_eq!(new(&too_many, &too_many), Err(CalibrationError { curves: MAX_EXITS + 1 }));
        let json = serde_json::to_string(&calibration(EnsembleKind::Mean)).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&json).unwrap(), calibration(EnsembleKind::Mean));
        assert!(serde_json::from_str::<Calibration>(&json.replace("0.5", "-0.5")).is_err());
    }
}

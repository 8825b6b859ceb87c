//! Exit ensembling: predictions of the exits evaluated so far, combined with that of the exit reached.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::PerExit;

/// How the exits evaluated so far are combined when an exit is reached. Thresholds act on the confidence that results.
///
/// ```
/// use dyn_perceiver_core::exit::{Ensemble, ExitPolicy, Measure};
/// let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[0.9])?;
/// let policy = policy.with_ensemble(Ensemble::mean(&[0.0, 0.25])?)?;
/// assert_eq!(policy.ensemble().name(), "mean");
/// # Ok::<(), dyn_perceiver_core::exit::PolicyError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ensemble {
    /// No ensemble: the exit reached answers alone.
    #[default]
    Own,
    /// The exit with the highest calibrated probability of being right, of those seen, answers, and that probability is
    /// the confidence. One curve per exit.
    Recall(PerExit<Curve>),
    /// A weighted geometric mean of the softmaxes seen: `m_k = w_k m_before + (1 - w_k) logits_k`, where `m_before` is
    /// the mean at the exit evaluated before and the mean at the first one evaluated is its logits (a weighted sum of
    /// logits is the logarithm of a weighted geometric mean of softmaxes, but for a constant). One `w_k` in [0, 1] per
    /// exit. After Wołczyk et al., Zero Time Waste, NeurIPS 2021.
    Mean(PerExit<f32>),
}

/// The kinds of [`Ensemble`], without their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EnsembleKind {
    /// [`Ensemble::Own`].
    Own,
    /// [`Ensemble::Recall`].
    Recall,
    /// [`Ensemble::Mean`].
    Mean,
}

impl EnsembleKind {
    /// Every kind, simplest first.
    pub const ALL: [EnsembleKind; 3] = [EnsembleKind::Own, EnsembleKind::Recall, EnsembleKind::Mean];

    /// The name used on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            EnsembleKind::Own => "own",
            EnsembleKind::Recall => "recall",
            EnsembleKind::Mean => "mean",
        }
    }
}

impl Ensemble {
    /// [`Ensemble::Recall`] with one calibration curve per exit.
    ///
    /// # Errors
    /// [`EnsembleError::TooMany`] without curves or with more than there may be exits.
    pub fn recall(curves: &[Curve]) -> Result<Self, EnsembleError> {
        let too_many = |error: super::ExitCountError| EnsembleError::TooMany { entries: error.count };
        PerExit::new(curves).map(Ensemble::Recall).map_err(too_many)
    }

    /// [`Ensemble::Mean`] with one weight in [0, 1] per exit.
    ///
    /// # Errors
    /// [`EnsembleError::TooMany`] without weights or with more than there may be exits.
    pub fn mean(weights: &[f32]) -> Result<Self, EnsembleError> {
        let too_many = |error: super::ExitCountError| EnsembleError::TooMany { entries: error.count };
        PerExit::new(weights).map(Ensemble::Mean).map_err(too_many)
    }

    /// Which kind it is.
    pub const fn kind(&self) -> EnsembleKind {
        match self {
            Ensemble::Own => EnsembleKind::Own,
            Ensemble::Recall(_) => EnsembleKind::Recall,
            Ensemble::Mean(_) => EnsembleKind::Mean,
        }
    }

    /// The name used on the command line and in reports.
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Why this cannot be the ensemble of a network with `exits` exits.
    pub(super) fn check(&self, exits: usize) -> Result<(), EnsembleError> {
        let (entries, sound) = match self {
            Ensemble::Own => return Ok(()),
            Ensemble::Recall(curves) => (curves.len(), curves.iter().position(|c| !c.is_sound())),
            Ensemble::Mean(weights) => (weights.len(), weights.iter().position(|w| !(0.0..=1.0).contains(w))),
        };
        match sound {
            _ if entries != exits => Err(EnsembleError::Count { exits, entries }),
            Some(exit) => Err(EnsembleError::Parameter { exit }),
            None => Ok(()),
        }
    }
}

/// Calibrated probability of being right as a function of confidence c:
/// `1 / (1 + exp(-(slope * ln(c / (1 - c)) + offset)))` (Platt scaling of the log odds).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Curve {
    /// How the log odds of being right grow with those of confidence; not negative.
    pub slope: f32,
    /// The log odds of being right at confidence one half.
    pub offset: f32,
}

impl Curve {
    /// A curve with this slope and offset, both of the log odds.
    pub const fn new(slope: f32, offset: f32) -> Self {
        Curve { slope, offset }
    }

    /// Log odds of a confidence, kept finite at 0 and 1.
    pub fn log_odds(confidence: f32) -> f32 {
        let c = confidence.clamp(1e-6, 1.0 - 1e-6);
        libm::logf(c / (1.0 - c))
    }

    /// The probability, in [0, 1], that an exit with this confidence is right.
    pub fn probability(&self, confidence: f32) -> f32 {
        1.0 / (1.0 + libm::expf(-(self.slope * Self::log_odds(confidence) + self.offset)))
    }

    pub(super) fn is_sound(&self) -> bool {
        // The bound keeps slope times log odds finite.
        (0.0..=1e6).contains(&self.slope) && self.offset.abs() <= 1e6
    }
}

/// Why parameters cannot be the ensemble of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EnsembleError {
    /// There must be one weight or curve per exit.
    Count {
        /// Exits of the network.
        exits: usize,
        /// Weights or curves given.
        entries: usize,
    },
    /// There are no weights or curves, or more than a network may have exits.
    TooMany {
        /// Weights or curves given.
        entries: usize,
    },
    /// A weight is outside [0, 1], or a curve's slope is negative or not finite.
    Parameter {
        /// Its exit, from 0.
        exit: usize,
    },
}

impl fmt::Display for EnsembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EnsembleError::Count { exits, entries } => {
                write!(f, "expected one weight or curve for each of {exits} exits, got {entries}")
            }
            EnsembleError::TooMany { entries } => {
                write!(f, "{entries} weights or curves, expected one per exit, 1 to {}", super::MAX_EXITS)
            }
            EnsembleError::Parameter { exit } => {
                write!(f, "the weight or curve of exit {} is outside its range", exit + 1)
            }
        }
    }
}

impl core::error::Error for EnsembleError {}

/// One step of [`Ensemble::Mean`]: `mean = weight * mean + (1 - weight) * logits`.
pub fn mix_logits(mean: &mut [f32], logits: &[f32], weight: f32) {
    for (m, &logit) in mean.iter_mut().zip(logits) {
        // Whatever the scratch held before the first exit, even NaN, has no part in the mean.
        *m = if weight == 0.0 { logit } else { weight * *m + (1.0 - weight) * logit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{ExitPolicy, MAX_EXITS, Measure, PolicyError};

    #[test]
    fn ensemble_that_does_not_fit_is_refused() {
        let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[1.0]).unwrap();
        let with = |weights: &[f32]| policy.clone().with_ensemble(Ensemble::mean(weights).unwrap());
        assert_eq!(with(&[0.5]), Err(PolicyError::Ensemble(EnsembleError::Count { exits: 2, entries: 1 })));
        assert_eq!(with(&[0.5, 1.5]), Err(PolicyError::Ensemble(EnsembleError::Parameter { exit: 1 })));
        assert!(with(&[f32::NAN, 0.5]).is_err());
        assert_eq!(Ensemble::mean(&[0.5; MAX_EXITS + 1]), Err(EnsembleError::TooMany { entries: MAX_EXITS + 1 }));
        assert_eq!(Ensemble::recall(&[]), Err(EnsembleError::TooMany { entries: 0 }));
    }
}

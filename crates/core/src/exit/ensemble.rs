//! Using what was paid for: exits evaluated before the present one are evidence too.

use core::fmt;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{Decision, ExitPolicy, LogitsError, MAX_EXITS, Reading};

/// Which of the exits seen so far speak when an exit is reached. Thresholds act on the confidence that results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evidence {
    /// The exit reached speaks alone.
    #[default]
    Own,
    /// The exit with the highest calibrated probability of being right, of those seen, answers, and that probability is
    /// the confidence. One curve per exit.
    Recall(Vec<Curve, MAX_EXITS>),
    /// A weighted geometric mean of the soft-maxes seen: `m_k = w_k m_before + (1 - w_k) logits_k`, where `m_before` is
    /// the mean at the exit evaluated before and the mean at the first one evaluated is its logits (a weighted sum of
    /// logits is the logarithm of a weighted geometric mean of soft-maxes, but for a constant). One `w_k` in [0, 1] per
    /// exit. After Wołczyk et al., Zero Time Waste, NeurIPS 2021.
    Mean(Vec<f32, MAX_EXITS>),
}

impl Evidence {
    /// The name used on the command line and in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Evidence::Own => "own",
            Evidence::Recall(_) => "recall",
            Evidence::Mean(_) => "mean",
        }
    }

    /// Why this cannot be evidence of a network with `exits` exits.
    pub(super) fn check(&self, exits: usize) -> Result<(), EvidenceError> {
        let (entries, sound) = match self {
            Evidence::Own => return Ok(()),
            Evidence::Recall(curves) => (curves.len(), curves.iter().position(|c| !c.is_sound())),
            Evidence::Mean(weights) => (weights.len(), weights.iter().position(|w| !(0.0..=1.0).contains(w))),
        };
        match sound {
            _ if entries != exits => Err(EvidenceError::Count { exits, entries }),
            Some(exit) => Err(EvidenceError::Parameter { exit }),
            None => Ok(()),
        }
    }
}

/// Calibrated probability of being right as a function of confidence c:
/// `1 / (1 + exp(-(slope * ln(c / (1 - c)) + offset)))` (Platt scaling of the log odds).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// How the log odds of being right grow with those of confidence; not negative.
    pub slope: f32,
    /// The log odds of being right at confidence one half.
    pub offset: f32,
}

impl Curve {
    /// Log odds of a confidence, kept finite at 0 and 1.
    pub fn log_odds(confidence: f32) -> f32 {
        let c = confidence.clamp(1e-6, 1.0 - 1e-6);
        libm::logf(c / (1.0 - c))
    }

    /// The probability, in [0, 1], that an exit with this confidence is right.
    pub fn probability(&self, confidence: f32) -> f32 {
        1.0 / (1.0 + libm::expf(-(self.slope * Self::log_odds(confidence) + self.offset)))
    }

    fn is_sound(&self) -> bool {
        // The bound keeps slope times log odds finite.
        (0.0..=1e6).contains(&self.slope) && self.offset.abs() <= 1e6
    }
}

/// Why parameters cannot be the evidence of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EvidenceError {
    /// There must be one weight or curve per exit.
    Count {
        /// Exits of the network.
        exits: usize,
        /// Weights or curves given.
        entries: usize,
    },
    /// A weight is outside [0, 1], or a curve's slope is negative or not finite.
    Parameter {
        /// Its exit, from 0.
        exit: usize,
    },
}

impl fmt::Display for EvidenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EvidenceError::Count { exits, entries } => {
                write!(f, "expected one weight or curve for each of {exits} exits, got {entries}")
            }
            EvidenceError::Parameter { exit } => {
                write!(f, "the weight or curve of exit {} is outside its range", exit + 1)
            }
        }
    }
}

impl core::error::Error for EvidenceError {}

/// What has been seen of one frame, exit by exit, and what that says.
///
/// ```
/// use dyn_perceiver_core::exit::{Decision, ExitPolicy, Measure, Observer};
/// let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[0.9])?;
/// let mut scratch = [0.0; 3];
/// let mut observer = Observer::new(&policy, &mut scratch);
/// let first = observer.observe(0, &[1.0, 1.5, 0.0]).unwrap();
/// assert_eq!(first.decision, Decision::Continue);
/// let last = observer.observe(1, &[9.0, 1.5, 0.0]).unwrap();
/// assert_eq!((last.reading.class, last.exit, last.decision), (0, 1, Decision::Leave));
/// # Ok::<(), dyn_perceiver_core::exit::PolicyError>(())
/// ```
#[derive(Debug)]
pub struct Observer<'a> {
    policy: &'a ExitPolicy,
    mean: &'a mut [f32],
    begun: bool,
    best: Option<Answer>,
}

/// What the exits seen so far say, and whether to answer with it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Answer {
    /// The class, and the confidence that the threshold acted on.
    pub reading: Reading,
    /// The exit whose class this is; an earlier one than that reached under [`Evidence::Recall`].
    pub exit: usize,
    /// Whether to answer now.
    pub decision: Decision,
}

impl<'a> Observer<'a> {
    /// Begins a frame. `scratch` is as long as the network has classes; other evidence than [`Evidence::Mean`] leaves it
    /// untouched and takes an empty one.
    pub fn new(policy: &'a ExitPolicy, scratch: &'a mut [f32]) -> Self {
        Observer { policy, mean: scratch, begun: false, best: None }
    }

    /// Takes in the logits of `exit`. Exits are observed in order, those the policy skips left out.
    ///
    /// # Errors
    /// [`LogitsError`] when there are no logits, one is not finite, or there are more or fewer than the scratch is long.
    /// What was seen before stays as it was.
    pub fn observe(&mut self, exit: usize, logits: &[f32]) -> Result<Answer, LogitsError> {
        let measure = self.policy.measure();
        let own = measure.read(logits)?;
        let (reading, spoke) = match self.policy.evidence() {
            Evidence::Own => (own, exit),
            Evidence::Recall(curves) => {
                let confidence = curves.get(exit).map_or(own.confidence, |curve| curve.probability(own.confidence));
                match self.best {
                    Some(best) if best.reading.confidence > confidence => (best.reading, best.exit),
                    _ => (Reading { confidence, ..own }, exit),
                }
            }
            Evidence::Mean(weights) => {
                if self.mean.len() != logits.len() {
                    return Err(LogitsError::Scratch { scratch: self.mean.len(), logits: logits.len() });
                }
                let weight = if self.begun { weights.get(exit).copied().unwrap_or(0.0) } else { 0.0 };
                mix(self.mean, logits, weight);
                self.begun = true;
                (measure.read(self.mean)?, exit)
            }
        };
        let answer = Answer { reading, exit: spoke, decision: self.policy.decide(exit, reading.confidence) };
        self.best = Some(answer);
        Ok(answer)
    }
}

/// One step of [`Evidence::Mean`]: `mean = weight * mean + (1 - weight) * logits`.
pub fn mix(mean: &mut [f32], logits: &[f32], weight: f32) {
    for (m, &logit) in mean.iter_mut().zip(logits) {
        // Whatever the scratch held before the first exit, even NaN, has no part in the mean.
        *m = if weight == 0.0 { logit } else { weight * *m + (1.0 - weight) * logit };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::{ExitRule, Measure, PolicyError};

    fn two_exits(evidence: Evidence) -> ExitPolicy {
        ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[1.0]).unwrap().with_evidence(evidence).unwrap()
    }

    #[test]
    fn the_mean_is_the_normalised_geometric_mean_of_soft_maxes() {
        let policy = two_exits(Evidence::Mean(Vec::from_slice(&[0.0, 0.25]).unwrap()));
        let mut scratch = [f32::NAN; 3];
        let mut observer = Observer::new(&policy, &mut scratch);
        let (a, b) = ([0.2f32, 1.0, -3.0], [2.0f32, 0.5, 0.1]);
        assert_eq!(observer.observe(0, &a).unwrap().reading, Measure::MaxSoftmax.read(&a).unwrap());
        let answer = observer.observe(1, &b).unwrap();
        let soft = |l: &[f32; 3]| l.map(|x| (x as f64).exp() / l.iter().map(|&x| (x as f64).exp()).sum::<f64>());
        let (p, q) = (soft(&a), soft(&b));
        let product: std::vec::Vec<f64> = p.iter().zip(q).map(|(p, q)| p.powf(0.25) * q.powf(0.75)).collect();
        let expected = product[0] / product.iter().sum::<f64>();
        assert_eq!(answer.reading.class, 0);
        assert!((answer.reading.confidence as f64 - expected).abs() < 1e-6);
    }

    #[test]
    fn recall_answers_with_the_surest_exit_seen() {
        let (sure, doubtful) = (Curve { slope: 1.0, offset: 1.0 }, Curve { slope: 1.0, offset: -3.0 });
        let policy = two_exits(Evidence::Recall(Vec::from_slice(&[sure, doubtful]).unwrap()));
        let mut observer = Observer::new(&policy, &mut []);
        observer.observe(0, &[3.0, 0.0]).unwrap();
        let answer = observer.observe(1, &[0.0, 3.0]).unwrap();
        assert_eq!((answer.reading.class, answer.exit, answer.decision), (0, 0, Decision::Leave));
        assert!((answer.reading.confidence - sure.probability(0.952574)).abs() < 1e-5);
    }

    #[test]
    fn refuses_evidence_that_does_not_fit() {
        let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[1.0]).unwrap();
        let with = |weights: &[f32]| policy.clone().with_evidence(Evidence::Mean(Vec::from_slice(weights).unwrap()));
        assert_eq!(with(&[0.5]), Err(PolicyError::Evidence(EvidenceError::Count { exits: 2, entries: 1 })));
        assert_eq!(with(&[0.5, 1.5]), Err(PolicyError::Evidence(EvidenceError::Parameter { exit: 1 })));
        assert!(with(&[f32::NAN, 0.5]).is_err());
    }

    #[test]
    fn a_bad_exit_changes_nothing() {
        let policy = two_exits(Evidence::Mean(Vec::from_slice(&[0.5, 0.5]).unwrap()));
        let mut scratch = [0.0; 2];
        let mut observer = Observer::new(&policy, &mut scratch);
        assert_eq!(observer.observe(0, &[f32::NAN, 0.0]), Err(LogitsError::NotFinite { index: 0 }));
        assert_eq!(observer.observe(0, &[1.0]), Err(LogitsError::Scratch { scratch: 2, logits: 1 }));
        assert_eq!(observer.observe(1, &[1.0, 3.0]).unwrap().reading.class, 1);
    }

    proptest! {
        #[test]
        fn confidence_stays_in_the_unit_interval(
            logits in proptest::collection::vec(proptest::collection::vec(-1e30f32..1e30, 3), 3),
            slope in 0f32..1e6, offset in -1e6f32..1e6, weight in 0f32..=1.0, which in 0..3,
        ) {
            let evidence = match which {
                0 => Evidence::Own,
                1 => Evidence::Recall(Vec::from_slice(&[Curve { slope, offset }; 3]).unwrap()),
                _ => Evidence::Mean(Vec::from_slice(&[weight; 3]).unwrap()),
            };
            let policy = ExitPolicy::new(Measure::Margin, &[ExitRule::Leave(0.5); 3]).unwrap();
            let policy = policy.with_evidence(evidence).unwrap();
            let mut scratch = [0.0; 3];
            let mut observer = Observer::new(&policy, &mut scratch);
            for (exit, logits) in logits.iter().enumerate() {
                let answer = observer.observe(exit, logits).unwrap();
                prop_assert!((0.0..=1.0).contains(&answer.reading.confidence));
                prop_assert!(answer.exit <= exit && answer.reading.class < 3);
            }
        }
    }
}

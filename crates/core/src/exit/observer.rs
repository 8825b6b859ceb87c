//! A frame on its way through the exits: what they answer together so far, and whether to leave.

use super::ensemble::{Ensemble, mix_logits};
use super::{Decision, ExitPolicy, LogitsError, Reading};

/// The exits evaluated so far for one frame, and what they answer together.
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

/// What the exits evaluated so far answer, and whether to stop there.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Answer {
    /// The class, and the confidence that the threshold acted on.
    pub reading: Reading,
    /// The exit whose class this is; an earlier one than that reached under [`Ensemble::Recall`].
    pub exit: usize,
    /// Whether to answer now.
    pub decision: Decision,
}

impl<'a> Observer<'a> {
    /// Begins a frame. `scratch` is as long as the network has classes; only [`Ensemble::Mean`] uses it, any other
    /// ensemble takes an empty one.
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
        let (reading, spoke) = match self.policy.ensemble() {
            Ensemble::Own => (own, exit),
            Ensemble::Recall(curves) => {
                let confidence = curves.get(exit).map_or(own.confidence, |curve| curve.probability(own.confidence));
                match self.best {
                    Some(best) if best.reading.confidence > confidence => (best.reading, best.exit),
                    _ => (Reading { confidence, ..own }, exit),
                }
            }
            Ensemble::Mean(weights) => {
                if self.mean.len() != logits.len() {
                    return Err(LogitsError::Scratch { scratch: self.mean.len(), logits: logits.len() });
                }
                let weight = if self.begun { weights.get(exit).copied().unwrap_or(0.0) } else { 0.0 };
                mix_logits(self.mean, logits, weight);
                self.begun = true;
                (measure.read(self.mean)?, exit)
            }
        };
        let answer = Answer { reading, exit: spoke, decision: self.policy.decide(exit, reading.confidence) };
        self.best = Some(answer);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::exit::{Curve, ExitRule, Measure};

    fn two_exits(ensemble: Ensemble) -> ExitPolicy {
        ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[1.0]).unwrap().with_ensemble(ensemble).unwrap()
    }

    #[test]
    fn ensemble_mean_is_the_normalised_geometric_mean_of_soft_maxes() {
        let policy = two_exits(Ensemble::mean(&[0.0, 0.25]).unwrap());
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
    fn ensemble_recall_answers_with_the_surest_exit_seen() {
        let (sure, doubtful) = (Curve { slope: 1.0, offset: 1.0 }, Curve { slope: 1.0, offset: -3.0 });
        let policy = two_exits(Ensemble::recall(&[sure, doubtful]).unwrap());
        let mut observer = Observer::new(&policy, &mut []);
        observer.observe(0, &[3.0, 0.0]).unwrap();
        let answer = observer.observe(1, &[0.0, 3.0]).unwrap();
        assert_eq!((answer.reading.class, answer.exit, answer.decision), (0, 0, Decision::Leave));
        assert!((answer.reading.confidence - sure.probability(0.952574)).abs() < 1e-5);
    }

    #[test]
    fn observer_ignores_an_exit_with_bad_logits() {
        let policy = two_exits(Ensemble::mean(&[0.5, 0.5]).unwrap());
        let mut scratch = [0.0; 2];
        let mut observer = Observer::new(&policy, &mut scratch);
        assert_eq!(observer.observe(0, &[f32::NAN, 0.0]), Err(LogitsError::NotFinite { index: 0 }));
        assert_eq!(observer.observe(0, &[1.0]), Err(LogitsError::Scratch { scratch: 2, logits: 1 }));
        assert_eq!(observer.observe(1, &[1.0, 3.0]).unwrap().reading.class, 1);
    }

    proptest! {
        #[test]
        fn ensemble_confidence_stays_in_the_unit_interval(
            logits in proptest::collection::vec(proptest::collection::vec(-1e30f32..1e30, 3), 3),
            slope in 0f32..1e6, offset in -1e6f32..1e6, weight in 0f32..=1.0, which in 0..3,
        ) {
            let ensemble = match which {
                0 => Ensemble::Own,
                1 => Ensemble::recall(&[Curve { slope, offset }; 3]).unwrap(),
                _ => Ensemble::mean(&[weight; 3]).unwrap(),
            };
            let policy = ExitPolicy::new(Measure::Margin, &[ExitRule::Leave(0.5); 3]).unwrap();
            let policy = policy.with_ensemble(ensemble).unwrap();
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

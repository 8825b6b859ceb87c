//! Calibration records as the simulation needs them: per sample and exit, confidence and whether it was right.

use thiserror::Error;

use crate::exit::{CostUnit, Decision, ExitPolicy, Frontier, FrontierError, Measure, OperatingPoint, PolicyError};

/// Confidence and correctness of `exits` exits for some samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Records {
    exits: usize,
    /// Sample by sample, exit by exit.
    confidence: Vec<f32>,
    right: Vec<bool>,
}

/// Why records or a frontier from them were refused.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The two tables do not have one entry per sample and exit.
    #[error(
        "expected {exits} confidences and {exits} verdicts for each sample, got {confidences} and {verdicts} in all"
    )]
    Shape {
        /// Exits of the network.
        exits: usize,
        /// Confidences given.
        confidences: usize,
        /// Verdicts given.
        verdicts: usize,
    },
    /// A confidence is outside [0, 1].
    #[error("the confidence of sample {sample} at exit {exit} is {confidence}, expected a number in [0, 1]")]
    Confidence {
        /// The sample, from 0.
        sample: usize,
        /// The exit, from 0.
        exit: usize,
        /// What was given.
        confidence: f32,
    },
    /// No policy can be made for so many exits.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The points make no frontier.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
}

impl Records {
    /// Records of `exits` exits, sample by sample.
    ///
    /// # Errors
    /// [`RecordsError`] when the tables do not fit or a confidence is outside [0, 1].
    pub fn new(exits: usize, confidence: Vec<f32>, right: Vec<bool>) -> Result<Self, RecordsError> {
        if exits == 0
            || confidence.is_empty()
            || !confidence.len().is_multiple_of(exits)
            || confidence.len() != right.len()
        {
            let (confidences, verdicts) = (confidence.len(), right.len());
            return Err(RecordsError::Shape { exits, confidences, verdicts });
        }
        if let Some(at) = confidence.iter().position(|c| !(0.0..=1.0).contains(c)) {
            let confidence = confidence.get(at).copied().unwrap_or(f32::NAN);
            return Err(RecordsError::Confidence { sample: at / exits, exit: at % exits, confidence });
        }
        Ok(Records { exits, confidence, right })
    }

    /// Synthetic records of a network whose exits get better: each sample has a difficulty, each exit a skill, and
    /// confidence is a noisy estimate of the probability of being right.
    pub fn synthetic(samples: usize, skills: &[f32], seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut confidence, mut right) = (Vec::new(), Vec::new());
        for _ in 0..samples {
            let difficulty = super::gauge::normal(&mut rng);
            let luck = rng.f32();
            for skill in skills {
                let logit = 2.0 * (skill - difficulty);
                let noise = 0.7 * super::gauge::normal(&mut rng);
                let sigmoid = |x: f32| 0.1 + 0.9 / (1.0 + (-x).exp());
                confidence.push(sigmoid(logit + noise));
                right.push(luck < sigmoid(logit));
            }
        }
        Records { exits: skills.len(), confidence, right }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.confidence.len() / self.exits
    }

    /// Number of exits.
    pub fn exits(&self) -> usize {
        self.exits
    }

    /// Confidence of each exit for one sample.
    pub fn confidence(&self, sample: usize) -> &[f32] {
        self.confidence.get(sample * self.exits..(sample + 1) * self.exits).unwrap_or(&[])
    }

    /// The exit at which a sample leaves under `policy`, and whether the answer is right.
    pub fn leaves(&self, policy: &ExitPolicy, sample: usize) -> (usize, bool) {
        let confidence = self.confidence(sample).iter().enumerate();
        let exit = confidence
            .filter(|(exit, _)| policy.evaluates(*exit))
            .find(|(exit, confidence)| policy.decide(*exit, **confidence) == Decision::Leave)
            .map_or(policy.last_exit(), |(exit, _)| exit);
        (exit, self.right.get(sample * self.exits + exit).copied().unwrap_or(false))
    }

    /// What is to be expected of `policy` where each exit costs `cost[k]`, cumulative.
    pub fn judge(&self, policy: &ExitPolicy, cost: &[f32]) -> OperatingPoint {
        let mut left = vec![0u32; self.exits];
        let mut right = 0u32;
        for sample in 0..self.samples() {
            let (exit, ok) = self.leaves(policy, sample);
            right += u32::from(ok);
            if let Some(count) = left.get_mut(exit) {
                *count += 1;
            }
        }
        let all = self.samples() as f32;
        let shares: heapless::Vec<f32, { crate::exit::MAX_EXITS }> = left.iter().map(|&n| n as f32 / all).collect();
        let cost = shares.iter().zip(cost).map(|(share, cost)| share * cost).sum();
        OperatingPoint { policy: policy.clone(), accuracy: right as f32 / all, cost, shares }
    }

    /// A plain frontier: one threshold for all exits, swept from 0 to 1, the non-dominated points kept. The solver of the
    /// policy layer finds better ones.
    ///
    /// # Errors
    /// [`RecordsError::Policy`] for more exits than a policy may have.
    pub fn sweep(&self, cost: &[f32]) -> Result<Frontier, RecordsError> {
        let mut points: Vec<OperatingPoint> = Vec::new();
        for step in 0..=48u8 {
            // Thresholds crowd towards one, where confidences do.
            let threshold = 1.0 - (1.0 - f32::from(step) / 48.0).powi(2);
            let policy =
                ExitPolicy::with_thresholds(Measure::MaxSoftmax, self.exits, &vec![threshold; self.exits - 1])?;
            let point = self.judge(&policy, cost);
            if points.last().is_none_or(|best| point.accuracy > best.accuracy && point.cost > best.cost) {
                points.push(point);
            }
        }
        Ok(Frontier::new(CostUnit::Macs, &points)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_exits_get_better_and_the_sweep_trades_cost_for_accuracy() {
        let records = Records::synthetic(2000, &[0.5, 1.0, 1.5], 7);
        assert_eq!(records, Records::synthetic(2000, &[0.5, 1.0, 1.5], 7));
        let frontier = records.sweep(&[1.0, 2.0, 4.0]).unwrap();
        let points = frontier.points();
        assert!(points.len() > 10);
        assert_eq!(points[0].cost, 1.0);
        assert!(points.last().unwrap().accuracy > points[0].accuracy + 0.1);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert!(matches!(Records::new(2, vec![0.5; 3], vec![true; 3]), Err(RecordsError::Shape { .. })));
        assert!(matches!(Records::new(0, vec![], vec![]), Err(RecordsError::Shape { .. })));
        let error = Records::new(2, vec![0.5, 0.5, 0.5, f32::NAN], vec![true; 4]).unwrap_err();
        assert!(error.to_string().contains("sample 1 at exit 1"));
    }
}

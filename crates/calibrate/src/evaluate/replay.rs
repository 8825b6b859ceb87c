//! What a policy would have done with recorded samples.

use std::io;

use dyn_perceiver_core::exit::{Decision, Ensemble, ExitPolicy, LogitsError, Observer};
use thiserror::Error;

use crate::records::{Costs, ExitSet, Records};

/// What a policy did with one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SampleOutcome {
    /// The exit at which it left.
    pub exit: u8,
    /// Whether the answer was right.
    pub right: bool,
    /// The confidence in [0, 1] that the policy acted on.
    pub confidence: f32,
}

/// What a policy did with many samples, per sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicySummary {
    /// Share answered rightly.
    pub accuracy: f64,
    /// Mean cost.
    pub cost: f64,
    /// Share that left at each exit.
    pub shares: Vec<f64>,
}

/// Why a policy could not be replayed on records.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The policy is for a network with another number of exits.
    #[error("the policy is for {policy} exits, but the records have {records}")]
    Exits {
        /// Exits of the policy.
        policy: usize,
        /// Exits of the records.
        records: usize,
    },
    /// The policy ensembles logits, and the records have none.
    #[error("the policy takes a mean of logits, not recorded")]
    NoLogits,
    /// The logits could not be read.
    #[error("reading logits")]
    Read(#[from] io::Error),
    /// A logit is not finite.
    #[error("logits of row {}", row + 1)]
    Logits {
        /// The row, from 0.
        row: u32,
        /// What is wrong.
        source: LogitsError,
    },
}

/// What every sample came of.
type Replayed = Result<Vec<SampleOutcome>, ReplayError>;

/// Runs the policy over `rows` of the records, which are sorted.
///
/// # Errors
/// [`ReplayError`]. Logits are only needed by [`Ensemble::Mean`].
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::evaluate::{PolicySummary, replay};
/// use dyn_perceiver_calibrate::records::Synthetic;
/// use dyn_perceiver_core::exit::{ExitPolicy, Measure};
///
/// let records = Synthetic::four_exits().records(1000, 1)?;
/// let policy = ExitPolicy::with_thresholds(Measure::Margin, 4, &[0.9, 0.8, 0.7])?;
/// let outcomes = replay(&policy, &records, &records.rows())?;
/// let summary = PolicySummary::of(&policy, records.costs(), &outcomes);
/// assert!(summary.cost < records.costs().full() && summary.accuracy > 0.7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn replay(policy: &ExitPolicy, records: &Records, rows: &[u32]) -> Replayed {
    let (expected, exits) = (policy.rules().len(), records.exits().len());
    if expected != exits {
        return Err(ReplayError::Exits { policy: expected, records: exits });
    }
    match policy.ensemble() {
        Ensemble::Mean(_) => replay_logits(policy, records, rows),
        _ => Ok(replay_readings(policy, records, rows)),
    }
}

/// With the logits of all exits, as the runtime observes them.
fn replay_logits(policy: &ExitPolicy, records: &Records, rows: &[u32]) -> Replayed {
    if !records.has_logits() {
        return Err(ReplayError::NoLogits);
    }
    let evaluated: Vec<usize> = ExitSet::evaluated_by(policy).iter().collect();
    let (classes, labels) = (records.classes(), records.labels());
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut scratch = vec![0.0; classes];
    let mut failure = None;
    records.visit_logits(rows, |position, logits| {
        let row = rows[position];
        let mut observer = Observer::new(policy, &mut scratch);
        for &exit in &evaluated {
            match observer.observe(exit, &logits[exit * classes..][..classes]) {
                Ok(answer) if answer.decision == Decision::Leave => {
                    let right = answer.reading.class as u32 == labels[row as usize];
                    let confidence = answer.reading.confidence;
                    outcomes.push(SampleOutcome { exit: exit as u8, right, confidence });
                    break;
                }
                Ok(_) => {}
                Err(source) => {
                    failure.get_or_insert(ReplayError::Logits { row, source });
                    break;
                }
            }
        }
    })?;
    failure.map_or(Ok(outcomes), Err)
}

/// With the confidences alone, where no logits are combined.
fn replay_readings(policy: &ExitPolicy, records: &Records, rows: &[u32]) -> Vec<SampleOutcome> {
    let evaluated: Vec<usize> = ExitSet::evaluated_by(policy).iter().collect();
    let measure = policy.measure() as usize;
    let labels = records.labels();
    let mut outcomes = Vec::with_capacity(rows.len());
    for &row in rows {
        let readings = records.readings(row);
        let mut best = (0.0, 0);
        for &exit in &evaluated {
            let own = readings[exit].confidence[measure];
            best = match policy.ensemble() {
                Ensemble::Recall(curves) => {
                    let next = (curves[exit].probability(own), readings[exit].class);
                    if best.0 > next.0 { best } else { next }
                }
                _ => (own, readings[exit].class),
            };
            if policy.decide(exit, best.0) == Decision::Leave {
                let right = best.1 == labels[row as usize];
                outcomes.push(SampleOutcome { exit: exit as u8, right, confidence: best.0 });
                break;
            }
        }
    }
    outcomes
}

impl PolicySummary {
    /// Averages over samples; all zero without any.
    pub fn of(policy: &ExitPolicy, costs: &Costs, outcomes: &[SampleOutcome]) -> Self {
        let mut left = vec![0usize; policy.rules().len()];
        let mut right = 0;
        for sample in outcomes {
            left[sample.exit as usize] += 1;
            right += usize::from(sample.right);
        }
        let n = outcomes.len().max(1) as f64;
        let each = left.iter().enumerate();
        let cost = each.map(|(exit, &count)| count as f64 * costs.of_policy(policy, exit)).sum::<f64>();
        PolicySummary {
            accuracy: right as f64 / n,
            cost: cost / n,
            shares: left.into_iter().map(|count| count as f64 / n).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use dyn_perceiver_core::exit::Measure;

    use super::*;
    use crate::records::Synthetic;

    #[test]
    fn replay_refuses_a_policy_of_another_network() {
        let records = Synthetic::four_exits().records(10, 1).unwrap();
        let policy = ExitPolicy::only(0, 3).unwrap();
        let error = replay(&policy, &records, &records.rows()).unwrap_err();
        assert_eq!(error.to_string(), "the policy is for 3 exits, but the records have 4");
        let mean = ExitPolicy::with_thresholds(Measure::Margin, 4, &[0.5; 3]).unwrap();
        let mean = mean.with_ensemble(Ensemble::mean(&[0.0, 0.5, 0.5, 0.5]).unwrap()).unwrap();
        assert!(matches!(replay(&mean, &records, &records.rows()), Err(ReplayError::NoLogits)));
    }

    #[test]
    fn replay_leaves_every_sample_at_the_only_exit() {
        let records = Synthetic::four_exits().records(50, 1).unwrap();
        let policy = ExitPolicy::only(2, 4).unwrap();
        let outcomes = replay(&policy, &records, &records.rows()).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.exit == 2));
        let summary = PolicySummary::of(&policy, records.costs(), &outcomes);
        assert_eq!((summary.cost, summary.shares), (25.0, vec![0.0, 0.0, 1.0, 0.0]));
        assert_eq!(PolicySummary::of(&policy, records.costs(), &[]).accuracy, 0.0);
    }
}

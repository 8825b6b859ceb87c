//! What a policy would have done with recorded samples.

use std::io;

use crate::records::Records;
use crate::records::{Costs, ExitMask, exits_of};
use dyn_perceiver_core::exit::{Decision, Evidence, ExitPolicy, Observer};

/// What a policy did with one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The exit at which it left.
    pub exit: u8,
    /// Whether the answer was right.
    pub right: bool,
}

/// What a policy did with many samples, per sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Share answered rightly.
    pub accuracy: f64,
    /// Mean cost.
    pub cost: f64,
    /// Share that left at each exit.
    pub shares: Vec<f64>,
}

/// Runs the policy over `rows` of the records, which are sorted.
///
/// # Errors
/// What reading logits says, which only [`Evidence::Mean`] needs; [`io::ErrorKind::InvalidInput`] when the records have
/// none, or the policy is for another number of exits.
pub fn simulate(policy: &ExitPolicy, records: &Records, rows: &[u32]) -> io::Result<Vec<Taken>> {
    let invalid = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    if policy.rules().len() != records.exits.len() {
        return invalid("the policy is not for as many exits as the records have");
    }
    let evaluated: Vec<usize> = exits_of(evaluated(policy)).collect();
    let mut taken = Vec::with_capacity(rows.len());
    let labels = records.labels();
    match policy.evidence() {
        Evidence::Mean(_) if !records.has_logits() => {
            return invalid("the policy takes a mean of logits, not recorded");
        }
        Evidence::Mean(_) => {
            let classes = records.classes;
            let mut scratch = vec![0.0; classes];
            let mut failure = None;
            records.visit_logits(rows, |position, logits| {
                let mut observer = Observer::new(policy, &mut scratch);
                for &exit in &evaluated {
                    match observer.observe(exit, &logits[exit * classes..][..classes]) {
                        Ok(answer) if answer.decision == Decision::Leave => {
                            let right = answer.reading.class as u32 == labels[rows[position] as usize];
                            taken.push(Taken { exit: exit as u8, right });
                            break;
                        }
                        Ok(_) => {}
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    }
                }
            })?;
            if let Some(error) = failure {
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        evidence => {
            let measure = policy.measure() as usize;
            for &row in rows {
                let readings = records.readings(row);
                let mut best = (0.0, 0);
                for &exit in &evaluated {
                    let own = readings[exit].confidence[measure];
                    best = match evidence {
                        Evidence::Recall(curves) => {
                            let next = (curves[exit].probability(own), readings[exit].class);
                            if best.0 > next.0 { best } else { next }
                        }
                        _ => (own, readings[exit].class),
                    };
                    if policy.decide(exit, best.0) == Decision::Leave {
                        taken.push(Taken { exit: exit as u8, right: best.1 == labels[row as usize] });
                        break;
                    }
                }
            }
        }
    }
    Ok(taken)
}

/// The exits a policy evaluates.
pub fn evaluated(policy: &ExitPolicy) -> ExitMask {
    (0..policy.rules().len()).filter(|&exit| policy.evaluates(exit)).fold(0, |mask, exit| mask | 1 << exit)
}

/// Cost of a frame for which `policy` left at `exit`.
pub fn cost_of(policy: &ExitPolicy, costs: &Costs, exit: usize) -> f64 {
    costs.of(evaluated(policy) & ((2 << exit) - 1))
}

/// Averages over samples; all zero without any.
pub fn summarise(policy: &ExitPolicy, costs: &Costs, taken: &[Taken]) -> Summary {
    let exits = policy.rules().len();
    let mut left = vec![0usize; exits];
    let mut right = 0;
    for sample in taken {
        left[sample.exit as usize] += 1;
        right += usize::from(sample.right);
    }
    let n = taken.len().max(1) as f64;
    let cost = left.iter().enumerate().map(|(exit, &count)| count as f64 * cost_of(policy, costs, exit)).sum::<f64>();
    Summary {
        accuracy: right as f64 / n,
        cost: cost / n,
        shares: left.into_iter().map(|count| count as f64 / n).collect(),
    }
}

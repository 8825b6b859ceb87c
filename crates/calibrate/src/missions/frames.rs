//! What the frames of a mission are drawn from: recorded samples, and what each policy makes of each.

use dyn_perceiver_core::energy::PowerModel;
use dyn_perceiver_core::exit::ExitPolicy;

use super::error::SimulationError;
use crate::evaluate::replay;
use crate::records::Records;

/// Samples by difficulty, with joules and correctness under every policy.
#[derive(Clone, Debug)]
pub struct Frames {
    policies: usize,
    /// Sample by sample, policy by policy: joules by the power model, and 1 for a right answer.
    made: Vec<(f32, f32)>,
    /// Samples, hardest first: by the sum of the exits' confidences.
    by_ease: Vec<usize>,
}

impl Frames {
    /// Runs every policy over `rows` of the records, which are sorted.
    ///
    /// # Errors
    /// [`SimulationError`] without rows, or when a policy cannot be replayed on the records.
    pub fn new(
        records: &Records,
        rows: &[u32],
        policies: &[ExitPolicy],
        power: &PowerModel,
    ) -> Result<Self, SimulationError> {
        if rows.is_empty() {
            return Err(SimulationError::NoRecords);
        }
        let mut made = vec![(0.0, 0.0); rows.len() * policies.len()];
        for (index, policy) in policies.iter().enumerate() {
            let taken = replay(policy, records, rows)?;
            let slots = made.iter_mut().skip(index).step_by(policies.len());
            for (slot, taken) in slots.zip(taken) {
                *slot = (power.policy_joules(policy, taken.exit.into()), f32::from(u8::from(taken.right)));
            }
        }
        let ease = |&sample: &usize| -> f32 {
            let row = rows.get(sample).copied().unwrap_or(0);
            records.readings(row).iter().filter_map(|reading| reading.confidence.first()).sum()
        };
        let mut by_ease: Vec<usize> = (0..rows.len()).collect();
        by_ease.sort_by(|a, b| ease(a).total_cmp(&ease(b)));
        Ok(Frames { policies: policies.len(), made, by_ease })
    }

    /// Number of policies.
    pub fn policies(&self) -> usize {
        self.policies
    }

    /// Share of samples that policy `policy` answers rightly.
    pub fn accuracy(&self, policy: usize) -> f32 {
        let right: f32 = self.made.iter().skip(policy).step_by(self.policies).map(|made| made.1).sum();
        right / self.by_ease.len() as f32
    }

    /// Joules that a frame adds on average under policy `policy`.
    pub(crate) fn joules(&self, policy: usize) -> f32 {
        let joules: f32 = self.made.iter().skip(policy).step_by(self.policies).map(|made| made.0).sum();
        joules / self.by_ease.len() as f32
    }

    /// What every policy makes of a sample of the harder or the easier half.
    pub(crate) fn pick(&self, rng: &mut fastrand::Rng, hard: bool) -> &[(f32, f32)] {
        let at = rng.usize(..self.by_ease.len().div_ceil(2));
        let at = if hard { at } else { self.by_ease.len() - 1 - at };
        let sample = self.by_ease.get(at).copied().unwrap_or(0);
        self.made.get(sample * self.policies..(sample + 1) * self.policies).unwrap_or(&[])
    }
}

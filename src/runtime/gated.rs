//! A gate behind the first exit: an image whose code says nothing new does not go through the rest of the network.

use std::time::Instant;

use super::{Outcome, RunError, Runtime, StageTime, StageTimes};
use crate::exit::ExitPolicy;

/// What became of an image that a gate could hold back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Gated {
    /// It went through the network as far as the policy wanted.
    Answered(Outcome),
    /// The gate held it back after these stages.
    Held(StageTimes),
}

impl Runtime {
    /// The code of the image: what the classifier of the first exit reads, the pooled latent code of a Dynamic Perceiver; its
    /// logits where it does not end in a linear layer. There is one once the first exit was computed for the image.
    ///
    /// # Errors
    /// [`RunError::NoImage`] before that, or what tract says.
    pub fn code(&self) -> Result<&[f32], RunError> {
        let needed = || self.plan.needs.iter().zip(&self.done).filter(|(need, _)| need.contains(0));
        if !self.begun || needed().any(|(_, done)| !done) {
            return Err(RunError::NoImage);
        }
        let first = *self.plan.exits.first().ok_or(RunError::NoSuchExit { exit: 0, exits: 0 })?;
        let executor = &self.plan.executor;
        let features = self.arena.features(executor).map_err(RunError::tract)?;
        features.map_or_else(|| self.arena.get(executor, first).map_err(RunError::tract), Ok)
    }

    /// As [`Runtime::run`], but where the policy does not leave at the first exit, `holds` is asked with the image's
    /// [code](Runtime::code) whether an earlier answer holds; then nothing more is computed. A policy that leaves out the
    /// first exit has it computed all the same, for its code.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub fn run_unless(
        &mut self,
        image: &[f32],
        policy: &ExitPolicy,
        holds: impl FnOnce(&[f32]) -> bool,
    ) -> Result<Gated, RunError> {
        let (mut holds, mut held) = (Some(holds), None);
        let outcome = self.walk(image, policy, |runtime, exit, stages| {
            let Some(holds) = holds.take_if(|_| exit > 0) else { return Ok(true) };
            if !policy.evaluates(0) {
                let began = Instant::now();
                runtime.compute(0)?;
                stages.push(StageTime { exit: 0, time: began.elapsed() });
            }
            if holds(runtime.code()?) {
                held = Some(*stages);
            }
            Ok(held.is_none())
        })?;
        match (held, outcome) {
            (Some(stages), _) => Ok(Gated::Held(stages)),
            (None, Some(outcome)) => Ok(Gated::Answered(outcome)),
            (None, None) => Err(RunError::NoSuchExit { exit: 0, exits: self.plan.exits.len() }),
        }
    }
}

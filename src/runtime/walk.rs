//! An image on its way from exit to exit under a policy.

use super::{Outcome, RunError, StageTimes};
use crate::exit::{Answer, Calibration, Decision, ExitPolicy, LogitsError, Observer};
use crate::graph::ExitSet;
use crate::plan::{Plan, check_rules};

/// What was seen of one image.
pub(super) struct Walk<'a> {
    policy: &'a ExitPolicy,
    observer: Observer<'a>,
    pub(super) stages: StageTimes,
    seen: Option<(usize, Answer)>,
    passed_over: ExitSet,
    unreadable: Option<Unreadable>,
}

/// An exit and why its logits cannot be read.
pub(super) type Unreadable = (usize, LogitsError);

impl<'a> Walk<'a> {
    /// Before the first exit. `scratch` has a float for each class.
    pub(super) fn new(policy: &'a ExitPolicy, scratch: &'a mut [f32]) -> Walk<'a> {
        let observer = Observer::new(policy, scratch);
        let (stages, passed_over) = (StageTimes::default(), ExitSet::default());
        Walk { policy, observer, stages, seen: None, passed_over, unreadable: None }
    }

    /// Takes in the logits of an exit; whether the image goes on. One whose logits are not finite is passed over.
    pub(super) fn observe(&mut self, exit: usize, logits: &[f32]) -> Result<bool, Unreadable> {
        match self.observer.observe(exit, logits) {
            Ok(answer) => {
                self.seen = Some((exit, answer));
                Ok(answer.decision != Decision::Leave)
            }
            Err(error @ LogitsError::NotFinite { .. }) => {
                self.passed_over.insert(exit);
                self.unreadable = Some((exit, error));
                Ok(true)
            }
            Err(error) => Err((exit, error)),
        }
    }

    /// The answer; none where no exit was evaluated. `calibration` tells how probably it is right.
    pub(super) fn outcome(self, calibration: Option<&Calibration>) -> Result<Option<Outcome>, Unreadable> {
        let Walk { policy, stages, seen, passed_over, unreadable, .. } = self;
        if let (None, Some(unreadable)) = (&seen, unreadable) {
            return Err(unreadable);
        }
        Ok(seen.map(|(exit, Answer { reading, exit: answered_by, .. })| Outcome {
            class: reading.class,
            softmax: reading.softmax,
            confidence: reading.confidence,
            probability: calibration.and_then(|calibration| calibration.probability(policy, exit, reading.confidence)),
            exit,
            answered_by,
            exited_early: exit < policy.last_exit(),
            passed_over,
            stages,
        }))
    }
}

/// The exits that a policy may evaluate, in order.
pub(super) fn exits(policy: &ExitPolicy) -> impl Iterator<Item = usize> {
    (0..=policy.last_exit()).filter(|&exit| policy.evaluates(exit))
}

/// That a policy decides about the exits of a plan, of one image at a time.
pub(super) fn check(plan: &Plan, policy: &ExitPolicy) -> Result<(), RunError> {
    let (expected, actual) = (plan.exits.len(), policy.rules().len());
    if expected != actual {
        return Err(RunError::PolicyExits { expected, actual });
    }
    check_rules(policy, expected)?;
    match plan.info().input.batch {
        1 => Ok(()),
        batch => Err(RunError::Batch { batch }),
    }
}

/// The error of an exit of a plan.
pub(super) fn error(plan: &Plan, (exit, source): Unreadable) -> RunError {
    RunError::Logits { exit: plan.info().exits[exit].clone(), source }
}

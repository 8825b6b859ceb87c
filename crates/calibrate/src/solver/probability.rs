//! How probably answers under a frontier's policies are right: curves fitted to what the policies answered.

use dyn_perceiver_core::exit::{Calibration, CalibrationError, Curve, EnsembleKind, ExitPolicy, Measure};

use super::combine::{Answers, fit_curve};
use crate::evaluate::SampleOutcome;

/// Log odds within which answers are told apart: those of [`Curve::log_odds`] end there.
const LOG_ODDS: f64 = 14.0;
/// Answers whose log odds differ less are put together.
const WIDTH: f64 = 1.0 / 16.0;

/// The answers that policies gave to the samples, by exit and confidence. Of each policy only those count that earlier exits let
/// pass: what an exit says that is asked first is known of every sample.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    exits: Vec<Vec<Answers>>,
    policies: usize,
}

impl Tally {
    /// Nothing counted yet.
    pub(super) fn new(exits: usize) -> Self {
        let bins = (2.0 * LOG_ODDS / WIDTH) as usize + 1;
        Tally { exits: vec![vec![Answers::default(); bins]; exits], policies: 0 }
    }

    /// Counts what a policy answered.
    pub(super) fn add(&mut self, policy: &ExitPolicy, outcomes: &[SampleOutcome]) {
        self.policies += 1;
        let first = (0..policy.rules().len()).find(|&exit| policy.evaluates(exit)).unwrap_or(0);
        for sample in outcomes.iter().filter(|sample| usize::from(sample.exit) != first) {
            let log_odds = f64::from(Curve::log_odds(sample.confidence)).clamp(-LOG_ODDS, LOG_ODDS);
            let bins = &mut self.exits[usize::from(sample.exit)];
            let answers = &mut bins[((log_odds + LOG_ODDS) / WIDTH) as usize];
            // A sum for now.
            answers.log_odds += log_odds;
            if sample.right { answers.right += 1.0 } else { answers.wrong += 1.0 }
        }
    }

    /// The curves for policies of this measure and ensemble, with those that exits have `alone`; an exit that is never asked after
    /// another keeps it.
    pub(super) fn calibration(
        &self,
        measure: Measure,
        ensemble: EnsembleKind,
        alone: &[Curve],
    ) -> Result<Calibration, CalibrationError> {
        let later = self.exits.iter().zip(alone).map(|(bins, alone)| {
            // The policies saw the same samples, which are not more for that.
            let part = 1.0 / self.policies.max(1) as f64;
            let answers: Vec<Answers> = bins
                .iter()
                .filter(|bin| bin.right + bin.wrong > 0.0)
                .map(|bin| Answers {
                    log_odds: bin.log_odds / (bin.right + bin.wrong),
                    right: part * bin.right,
                    wrong: part * bin.wrong,
                })
                .collect();
            if answers.is_empty() { *alone } else { fit_curve(&answers) }
        });
        Calibration::new(measure, ensemble, alone, &later.collect::<Vec<_>>())
    }
}

//! Which evidence lets the cheapest policies be certified.
//!
//! What is most accurate on average is not what certifies best: a guarantee asks for few samples that only the whole network answers
//! rightly, at the cheap end of the frontier. So policies are found with each measure and ensemble on one half of the samples they may
//! be found on and tested on the other, and the other way round. All of this happens on samples that have no part in the final
//! test. For that test it makes no difference how its sequence of policies came about, as long as none of its samples was looked at.

use dyn_perceiver_core::exit::{EnsembleKind, Measure};

use super::{GuaranteeError, Limit, Sequence};
use crate::random::split;
use crate::records::Records;
use crate::solver::{SolveError, SolveOptions, solve};

/// How much less another kind of evidence must cost than a simpler one.
const WORTHWHILE: f64 = 0.01;

/// The mean cost that can be expected to be certified with one kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CertifiableCost {
    /// The confidence measure.
    pub measure: Measure,
    /// The kind of ensemble.
    pub ensemble: EnsembleKind,
    /// Mean cost of the cheapest policy that passed, in the unit of the records.
    pub cost: f64,
}

/// Compares the measures and ensembles that `options` allow for a test on so many samples, simplest first. Empty where there is
/// nothing to choose, or too few samples to tell.
pub(super) fn compare(
    records: &Records,
    fit: &[u32],
    samples: usize,
    limit: Limit,
    options: &SolveOptions,
) -> Result<Vec<CertifiableCost>, GuaranteeError> {
    let (one, other) = split(fit, 0.5, options.seed);
    if options.measures.len() * options.ensembles.len() < 2 || one.is_empty() || other.is_empty() {
        return Ok(vec![]);
    }
    let mut compared = vec![];
    for ensemble in EnsembleKind::ALL.into_iter().filter(|kind| options.ensembles.contains(kind)) {
        for &measure in &options.measures {
            let mut candidate = CertifiableCost { measure, ensemble, cost: 0.0 };
            let options = options_of(Some(candidate), options);
            let mut cheapest = |find: &[u32], judge: &[u32]| -> Result<bool, GuaranteeError> {
                let solved = match solve(records, find, &options) {
                    // Records without logits allow no mean, those of one exit nothing but that exit.
                    Err(SolveError::NothingToChoose) => return Ok(false),
                    solved => solved?,
                };
                let (passed, _) = Sequence::new(records, find, &solved, limit)?.test(records, judge, samples, limit)?;
                // The whole network passes always.
                let least = passed.iter().map(|point| f64::from(point.cost)).fold(records.costs().full(), f64::min);
                candidate.cost += least / 2.0;
                Ok(true)
            };
            if cheapest(&one, &other)? && cheapest(&other, &one)? {
                compared.push(candidate);
            }
        }
    }
    Ok(compared)
}

/// The one whose policies cost least; an earlier, simpler one where a later one is not worth it.
pub(super) fn best(compared: &[CertifiableCost]) -> Option<CertifiableCost> {
    let better = |best: CertifiableCost, next: CertifiableCost| {
        if next.cost < (1.0 - WORTHWHILE) * best.cost { next } else { best }
    };
    compared.iter().copied().reduce(better)
}

/// The same options with this evidence alone, if there is one.
pub(super) fn options_of(evidence: Option<CertifiableCost>, options: &SolveOptions) -> SolveOptions {
    let options = options.clone();
    match evidence {
        Some(CertifiableCost { measure, ensemble, .. }) => options.with_measures([measure]).with_ensembles([ensemble]),
        None => options,
    }
}

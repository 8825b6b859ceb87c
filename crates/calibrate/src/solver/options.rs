//! What the solver may choose among.

use dyn_perceiver_core::exit::{EnsembleKind, Measure};

/// What the solver chooses among.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SolveOptions {
    /// Confidence measures to compare.
    pub measures: Vec<Measure>,
    /// Kinds of ensemble to compare; those that the records do not allow are passed over.
    pub ensembles: Vec<EnsembleKind>,
    /// Whether exits may be left out.
    pub subsets: bool,
    /// Folds of cross-validation, at least 2.
    pub folds: usize,
    /// Seed of the deal into folds.
    pub seed: u64,
}

impl Default for SolveOptions {
    fn default() -> Self {
        SolveOptions {
            measures: Measure::ALL.to_vec(),
            ensembles: EnsembleKind::ALL.to_vec(),
            subsets: true,
            folds: 5,
            seed: 1,
        }
    }
}

impl SolveOptions {
    /// Chooses among these confidence measures only.
    #[must_use]
    pub fn with_measures(self, measures: impl Into<Vec<Measure>>) -> Self {
        SolveOptions { measures: measures.into(), ..self }
    }

    /// Chooses among these kinds of ensemble only.
    #[must_use]
    pub fn with_ensembles(self, ensembles: impl Into<Vec<EnsembleKind>>) -> Self {
        SolveOptions { ensembles: ensembles.into(), ..self }
    }

    /// Evaluates every exit on the way: none is left out.
    #[must_use]
    pub fn with_every_exit(self) -> Self {
        SolveOptions { subsets: false, ..self }
    }

    /// Deals the folds of cross-validation, and what else is dealt at random, with this seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        SolveOptions { seed, ..self }
    }
}

//! What an exit says once earlier exits count too, column by column and cut into bins.

use std::collections::HashMap;
use std::io;

use dyn_perceiver_core::exit::{Curve, Ensemble, EnsembleKind, Measure, mix_logits};

use super::combine::{fit_curves, fit_weights};
use super::error::SolveError;
use crate::records::{ExitReading, ExitSet, Records};

/// Bins a column of confidences is cut into, at most.
pub(super) const BINS: usize = 1024;

/// Confidence and correctness of every row of a view, when the exits of one set have been evaluated and the last of them
/// was just reached. Confidences are replaced by bins, which keep their order.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// The bin of each row.
    pub(super) bins: Vec<u16>,
    /// Whether the answer would be right.
    pub(super) right: Vec<bool>,
    /// The least and the greatest confidence in each bin, in order.
    pub(super) ranges: Vec<(f32, f32)>,
}

impl Column {
    fn new(confidence: &[f32], right: Vec<bool>) -> Self {
        let mut sorted = confidence.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        let mut ranges: Vec<(f32, f32)> = vec![];
        let mut start = 0;
        while start < sorted.len() {
            // A bin takes its share of what is left, and all that equals its last value: ties are never cut.
            let left = BINS - ranges.len().min(BINS - 1);
            let share = ((sorted.len() - start) / left).max(1);
            let greatest = sorted[start + share - 1];
            let end = start + sorted[start..].partition_point(|&c| c <= greatest);
            ranges.push((sorted[start], greatest));
            start = end;
        }
        let bin = |&c: &f32| ranges.partition_point(|&(_, greatest)| greatest < c) as u16;
        let bins = confidence.iter().map(bin).collect();
        Column { bins, right, ranges }
    }

    /// The threshold that leaves from bin `bin` on: half way to the bin below, so that it holds for other samples.
    pub(super) fn threshold(&self, bin: usize) -> f32 {
        match (bin.checked_sub(1).and_then(|below| self.ranges.get(below)), self.ranges.get(bin)) {
            (None, _) => 0.0,
            (_, None) => 1.0,
            (Some(&(_, below)), Some(&(least, _))) => {
                let middle = below + (least - below) / 2.0;
                if middle > below { middle } else { least }
            }
        }
    }
}

/// Columns of some rows for one measure and kinds of ensemble, made when first asked for.
pub(super) struct Columns<'a> {
    records: &'a Records,
    rows: &'a [u32],
    pub(super) measure: Measure,
    pub(super) ensemble: Ensemble,
    made: HashMap<ExitSet, Column>,
}

/// What all columns of some rows share: the fitted parameters, and the combined readings.
pub(super) struct Fitted<'a> {
    records: &'a Records,
    rows: &'a [u32],
    weights: Option<Vec<f32>>,
    curves: [Vec<Curve>; Measure::ALL.len()],
    means: HashMap<ExitSet, Vec<ExitReading>>,
}

impl<'a> Fitted<'a> {
    /// Fits the parameters of ensembles to `rows` of the records.
    ///
    /// # Errors
    /// What reading the logits says.
    pub(super) fn new(records: &'a Records, rows: &'a [u32]) -> io::Result<Self> {
        let curves = Measure::ALL.map(|measure| fit_curves(records, rows, measure));
        Ok(Fitted { records, rows, weights: fit_weights(records, rows)?, curves, means: HashMap::new() })
    }

    /// Computes the mean of the logits of the exits in each of `sets` (and those they begin with), where logits are
    /// there.
    ///
    /// # Errors
    /// [`SolveError::Read`], and [`SolveError::Logits`] when logits are not finite.
    pub(super) fn prepare_means(&mut self, sets: impl IntoIterator<Item = ExitSet>) -> Result<(), SolveError> {
        let Some(weights) = &self.weights else { return Ok(()) };
        let mut wanted: Vec<ExitSet> = sets.into_iter().flat_map(ExitSet::prefixes).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let classes = self.records.classes();
        let empty = ExitReading::new(0, [0.0; Measure::ALL.len()]);
        let mut readings = vec![vec![empty; self.rows.len()]; wanted.len()];
        // The mean of every prefix; it comes after the one it goes on from, whose place is known.
        let mut means = vec![vec![0.0; classes]; wanted.len()];
        let steps: Vec<(usize, Option<usize>)> = wanted
            .iter()
            .filter_map(|prefix| {
                let last = prefix.last()?;
                Some((last, wanted.binary_search(&prefix.without(last)).ok()))
            })
            .collect();
        let mut failure = None;
        self.records.visit_logits(self.rows, |position, logits| {
            for (at, &(last, before)) in steps.iter().enumerate() {
                let own = &logits[last * classes..][..classes];
                let mut now = std::mem::take(&mut means[at]);
                match before {
                    Some(before) => {
                        now.copy_from_slice(&means[before]);
                        mix_logits(&mut now, own, weights[last]);
                    }
                    None => now.copy_from_slice(own),
                }
                match ExitReading::from_logits(&now) {
                    Ok(reading) => readings[at][position] = reading,
                    Err(source) => failure = Some(SolveError::Logits { row: self.rows[position], source }),
                }
                means[at] = now;
            }
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.means.extend(wanted.into_iter().zip(readings));
        Ok(())
    }

    /// Which kinds of ensemble the records allow.
    pub(super) fn kinds(&self) -> impl Iterator<Item = EnsembleKind> {
        let several = self.records.exits().len() > 1;
        let logits = self.weights.is_some();
        EnsembleKind::ALL.into_iter().filter(move |kind| match kind {
            EnsembleKind::Own => true,
            EnsembleKind::Recall => several,
            EnsembleKind::Mean => several && logits,
            _ => false,
        })
    }

    /// The ensemble of a kind, with its fitted parameters; records have at most as many exits as it may have.
    pub(super) fn ensemble(&self, kind: EnsembleKind, measure: Measure) -> Ensemble {
        match (kind, &self.weights) {
            (EnsembleKind::Recall, _) => Ensemble::recall(&self.curves[measure as usize]).unwrap_or_default(),
            (EnsembleKind::Mean, Some(weights)) => Ensemble::mean(weights).unwrap_or_default(),
            _ => Ensemble::Own,
        }
    }

    /// For each exit, how probably it is right by its own confidence.
    pub(super) fn curves(&self, measure: Measure) -> &[Curve] {
        &self.curves[measure as usize]
    }

    /// The columns of a measure and kind.
    pub(super) fn columns(&self, kind: EnsembleKind, measure: Measure) -> Columns<'a> {
        let ensemble = self.ensemble(kind, measure);
        Columns { records: self.records, rows: self.rows, measure, ensemble, made: HashMap::new() }
    }
}

impl Columns<'_> {
    /// Makes the columns that a policy over the exits in `set` needs. Means must have been prepared.
    pub(super) fn make(&mut self, fitted: &Fitted<'_>, set: ExitSet) {
        for prefix in set.prefixes() {
            let key = self.key(prefix);
            if !self.made.contains_key(&key) {
                let column = self.column(fitted, key);
                self.made.insert(key, column);
            }
        }
    }

    /// The column for having evaluated `prefix`; made before by [`Columns::make`].
    pub(super) fn get(&self, prefix: ExitSet) -> &Column {
        &self.made[&self.key(prefix)]
    }

    /// An exit that speaks alone says the same whatever came before.
    fn key(&self, prefix: ExitSet) -> ExitSet {
        match (&self.ensemble, prefix.last()) {
            (Ensemble::Own, Some(last)) => ExitSet::only(last),
            _ => prefix,
        }
    }

    fn column(&self, fitted: &Fitted<'_>, prefix: ExitSet) -> Column {
        let labels = self.records.labels();
        let measure = self.measure as usize;
        let answer = |position: usize, row: u32| match &self.ensemble {
            Ensemble::Mean(_) => {
                let reading = &fitted.means[&prefix][position];
                (reading.confidence[measure], reading.class)
            }
            Ensemble::Recall(curves) => {
                let readings = self.records.readings(row);
                let each = prefix
                    .iter()
                    .map(|exit| (curves[exit].probability(readings[exit].confidence[measure]), readings[exit].class));
                // As the observer does it: on a tie the later exit speaks.
                each.fold((0.0, 0), |best, next| if best.0 > next.0 { best } else { next })
            }
            _ => {
                let last = prefix.last().unwrap_or(0);
                let reading = &self.records.readings(row)[last];
                (reading.confidence[measure], reading.class)
            }
        };
        let (confidence, right): (Vec<f32>, Vec<bool>) = self
            .rows
            .iter()
            .enumerate()
            .map(|(position, &row)| {
                let (confidence, class) = answer(position, row);
                (confidence, class == labels[row as usize])
            })
            .unzip();
        Column::new(&confidence, right)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bins_keep_order_and_never_cut_ties(values in proptest::collection::vec(0u8..40, 1..2000)) {
            let confidence: Vec<f32> = values.iter().map(|&v| f32::from(v) / 40.0).collect();
            let column = Column::new(&confidence, vec![true; confidence.len()]);
            prop_assert!(column.ranges.len() <= BINS);
            for (&c, &bin) in confidence.iter().zip(&column.bins) {
                let (least, greatest) = column.ranges[bin as usize];
                prop_assert!((least..=greatest).contains(&c));
                prop_assert!(c >= column.threshold(bin as usize));
                if (bin as usize) + 1 < column.ranges.len() {
                    prop_assert!(c < column.threshold(bin as usize + 1));
                }
            }
        }
    }

    #[test]
    fn many_values_fill_the_bins_evenly() {
        let confidence: Vec<f32> = (0..5000).map(|i| i as f32 / 5000.0).collect();
        let column = Column::new(&confidence, vec![true; 5000]);
        assert_eq!(column.ranges.len(), BINS);
        let mut counts = vec![0; BINS];
        column.bins.iter().for_each(|&bin| counts[bin as usize] += 1);
        assert!(counts.iter().all(|&count| (4..=5).contains(&count)), "{counts:?}");
    }
}

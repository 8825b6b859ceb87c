//! The presence gate: from which confidence on an exit may say that nothing is there.

use crate::certify::Limit;

/// What an exit said of a labelled picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GateSample {
    /// Confidence in [0, 1] that nothing is there; none where the exit says that something is.
    pub nothing: Option<f64>,
    /// Whether nothing is there.
    pub empty: bool,
}

impl GateSample {
    /// What an exit said of a picture that is empty or not.
    pub fn new(nothing: Option<f64>, empty: bool) -> GateSample {
        GateSample { nothing, empty }
    }
}

/// A threshold, and what it did to the pictures that it was found on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gate {
    /// A picture ends when nothing is there with this confidence.
    pub threshold: f64,
    /// Share of the pictures with an object that it ended.
    pub missed: f64,
    /// Share of the empty pictures that it ended; none without empty pictures.
    pub spared: Option<f64>,
}

/// The lowest threshold by which, with the confidence of `limit`, at most its share of pictures with an object is called
/// empty. None where there are too few of these to say so of any.
///
/// Thresholds are tried from the highest down, each by the exact binomial test, until one fails (fixed-sequence testing):
/// so the confidence holds for the one that is chosen, however many were tried.
pub fn gate(samples: &[GateSample], limit: &Limit) -> Option<Gate> {
    let with_object = samples.iter().filter(|sample| !sample.empty).count();
    let ended = |threshold: f64, empty: bool| {
        let said = |sample: &&GateSample| sample.empty == empty && sample.nothing.is_some_and(|p| p >= threshold);
        samples.iter().filter(said).count()
    };
    let mut thresholds: Vec<f64> =
        samples.iter().filter_map(|sample| sample.nothing).filter(|p| p.is_finite()).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let holds = |threshold: &&f64| limit.certifies(ended(**threshold, false), with_object);
    let threshold = *thresholds.iter().take_while(holds).last()?;
    let empty = samples.len() - with_object;
    Some(Gate {
        threshold,
        missed: ended(threshold, false) as f64 / with_object.max(1) as f64,
        spared: (empty > 0).then(|| ended(threshold, true) as f64 / empty as f64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<GateSample> {
        // 1000 pictures with an object, of which the exit calls 20 empty, less surely than most of 500 empty ones.
        let with_object = (0..1000).map(|i| GateSample::new((i < 20).then(|| 0.5 + i as f64 / 50.0), false));
        let empty = (0..500).map(|i| GateSample::new(Some(0.6 + i as f64 / 1250.0), true));
        with_object.chain(empty).collect()
    }

    #[test]
    fn more_may_be_missed_by_a_lower_threshold() {
        let of = |share| gate(&samples(), &Limit::new(share, 0.95).unwrap()).unwrap();
        let (strict, loose) = (of(0.005), of(0.02));
        assert!(strict.threshold > loose.threshold && strict.spared < loose.spared && strict.missed < loose.missed);
        for (gate, share) in [(strict, 0.005), (loose, 0.02)] {
            assert!(gate.missed < share);
            let missed = (gate.missed * 1000.0).round() as usize;
            assert!(Limit::new(share, 0.95).unwrap().certifies(missed, 1000));
        }
    }

    #[test]
    fn too_few_pictures_with_an_object_say_nothing() {
        let few: Vec<GateSample> = (0..50).map(|i| GateSample::new(Some(0.9), i > 20)).collect();
        assert_eq!(gate(&few, &Limit::new(0.01, 0.95).unwrap()), None);
        assert_eq!(gate(&[], &Limit::new(0.01, 0.95).unwrap()), None);
    }
}

//! Confidence measures: one number in [0, 1] read off an exit's logits by softmax, entropy or margin.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How confidence is computed from an exit's softmax probabilities p over C classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Measure {
    /// The largest probability. What the Dynamic Perceiver paper uses.
    #[default]
    MaxSoftmax,
    /// One minus the entropy of p over its largest possible value, ln C (Teerapittayanon et al., BranchyNet, 2016,
    /// turned round so that larger means surer).
    Entropy,
    /// The largest probability minus the second largest.
    Margin,
}

impl Measure {
    /// Every measure, in the order in which they are documented.
    pub const ALL: [Measure; 3] = [Measure::MaxSoftmax, Measure::Entropy, Measure::Margin];

    /// The name used on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::MaxSoftmax => "max-softmax",
            Measure::Entropy => "entropy",
            Measure::Margin => "margin",
        }
    }

    /// Reads the winning class and its confidence off one row of logits, in two passes over it.
    ///
    /// On ties the first class wins. A network with one class is always certain.
    ///
    /// # Errors
    /// [`LogitsError::Empty`] without logits, [`LogitsError::NotFinite`] when one is NaN or infinite.
    ///
    /// ```
    /// use dyn_perceiver_core::exit::Measure;
    /// let reading = Measure::MaxSoftmax.read(&[0.0, 3.0, 0.0])?;
    /// assert_eq!(reading.class, 1);
    /// assert!((reading.confidence - 0.909).abs() < 1e-3);
    /// # Ok::<(), dyn_perceiver_core::exit::LogitsError>(())
    /// ```
    pub fn read(self, logits: &[f32]) -> Result<Reading, LogitsError> {
        Ok(Statistics::of(logits)?.reading(self))
    }

    /// The same reading by every measure, in the order of [`Measure::ALL`], for the price of one.
    ///
    /// # Errors
    /// As [`Measure::read`].
    pub fn read_all(logits: &[f32]) -> Result<[Reading; Measure::ALL.len()], LogitsError> {
        let statistics = Statistics::of(logits)?;
        Ok(Measure::ALL.map(|measure| statistics.reading(measure)))
    }
}

/// What every measure is computed from.
struct Statistics {
    classes: usize,
    class: usize,
    top: f32,
    second: f32,
    /// With d = logit - top, so that nothing overflows: the sum of exp(d), and that of d exp(d). Then p = exp(d) / sum
    /// and entropy = ln(sum) - weighted / sum.
    sum: f32,
    weighted: f32,
}

impl Statistics {
    fn of(logits: &[f32]) -> Result<Self, LogitsError> {
        let mut class = 0;
        let mut top = f32::NEG_INFINITY;
        let mut second = f32::NEG_INFINITY;
        for (index, &logit) in logits.iter().enumerate() {
            if !logit.is_finite() {
                return Err(LogitsError::NotFinite { index });
            }
            if logit > top {
                second = top;
                top = logit;
                class = index;
            } else if logit > second {
                second = logit;
            }
        }
        if logits.is_empty() {
            return Err(LogitsError::Empty);
        }
        let mut sum = 0.0f32;
        let mut weighted = 0.0f32;
        for &logit in logits {
            let d = logit - top;
            let e = libm::expf(d);
            sum += e;
            // exp has underflowed long before d does: 0 * -inf must not become NaN.
            if e > 0.0 {
                weighted += d * e;
            }
        }
        Ok(Statistics { classes: logits.len(), class, top, second, sum, weighted })
    }

    fn reading(&self, measure: Measure) -> Reading {
        let Statistics { classes, class, top, second, sum, weighted } = *self;
        let softmax = 1.0 / sum;
        let confidence = match measure {
            _ if classes == 1 => 1.0,
            Measure::MaxSoftmax => softmax,
            Measure::Entropy => 1.0 - (libm::logf(sum) - weighted / sum) / libm::logf(classes as f32),
            Measure::Margin => softmax - libm::expf(second - top) / sum,
        };
        Reading { class, softmax, confidence: confidence.clamp(0.0, 1.0) }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for Measure {
    type Err = UnknownMeasure;

    fn from_str(name: &str) -> Result<Self, UnknownMeasure> {
        Measure::ALL.into_iter().find(|m| m.name() == name).ok_or(UnknownMeasure)
    }
}

/// The name is none of [`Measure::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct UnknownMeasure;

impl fmt::Display for UnknownMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected max-softmax, entropy or margin")
    }
}

impl core::error::Error for UnknownMeasure {}

/// What an exit says about one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Reading {
    /// Index of the class with the largest logit.
    pub class: usize,
    /// Softmax of that class.
    pub softmax: f32,
    /// Confidence in [0, 1] by the measure asked for.
    pub confidence: f32,
}

impl Reading {
    /// A reading of `class`, with its softmax and confidence, both in [0, 1].
    pub const fn new(class: usize, softmax: f32, confidence: f32) -> Self {
        Reading { class, softmax, confidence }
    }
}

/// Why no confidence could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LogitsError {
    /// There are no logits.
    Empty,
    /// A logit is NaN or infinite.
    NotFinite {
        /// Its class.
        index: usize,
    },
    /// The scratch of an observer is not as long as there are logits.
    Scratch {
        /// Length of the scratch.
        scratch: usize,
        /// Logits of the exit.
        logits: usize,
    },
}

impl fmt::Display for LogitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogitsError::Empty => f.write_str("the exit has no logits"),
            LogitsError::NotFinite { index } => write!(f, "the logit of class {index} is not a finite number"),
            LogitsError::Scratch { scratch, logits } => {
                write!(f, "the exit has {logits} logits, expected {scratch} (the length of the scratch)")
            }
        }
    }
}

impl core::error::Error for LogitsError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(logits: &[f32]) -> std::vec::Vec<f64> {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let e: std::vec::Vec<f64> = logits.iter().map(|&l| (l as f64 - top).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|e| e / sum).collect()
    }

    proptest! {
        #[test]
        fn confidence_matches_reference(logits in proptest::collection::vec(-30f32..30.0, 2..50)) {
            let mut p = plain(&logits);
            let entropy = -p.iter().map(|&p| if p > 0.0 { p * p.ln() } else { 0.0 }).sum::<f64>();
            let expected_entropy = 1.0 - entropy / (p.len() as f64).ln();
            p.sort_by(|a, b| b.total_cmp(a));
            let read = |m: Measure| m.read(&logits).unwrap().confidence as f64;
            prop_assert!((read(Measure::MaxSoftmax) - p[0]).abs() < 1e-5);
            prop_assert!((read(Measure::Margin) - (p[0] - p[1])).abs() < 1e-5);
            prop_assert!((read(Measure::Entropy) - expected_entropy).abs() < 1e-5);
        }

        #[test]
        fn confidence_of_any_floats_is_in_range_or_an_error(logits in proptest::collection::vec(any::<f32>(), 0..9)) {
            for measure in Measure::ALL {
                if let Ok(reading) = measure.read(&logits) {
                    prop_assert!((0.0..=1.0).contains(&reading.confidence));
                    prop_assert!(logits.iter().all(|&l| l <= logits[reading.class]));
                }
            }
        }
    }

    #[test]
    fn confidence_of_extreme_logits() {
        for measure in Measure::ALL {
            assert_eq!(measure.read(&[]), Err(LogitsError::Empty));
            assert_eq!(measure.read(&[0.0, f32::NAN]), Err(LogitsError::NotFinite { index: 1 }));
            assert_eq!(measure.read(&[f32::INFINITY]), Err(LogitsError::NotFinite { index: 0 }));
            assert_eq!(measure.read(&[-7.0]).unwrap().confidence, 1.0);
            assert_eq!(measure.read(&[f32::MAX, f32::MIN]).unwrap().confidence, 1.0);
        }
        let even = [1.0, 1.0, 1.0, 1.0];
        assert_eq!(Measure::MaxSoftmax.read(&even).unwrap(), Reading { class: 0, softmax: 0.25, confidence: 0.25 });
        assert_eq!(Measure::Margin.read(&even).unwrap().confidence, 0.0);
        assert!(Measure::Entropy.read(&even).unwrap().confidence < 1e-6);
    }

    #[test]
    fn measure_names_parse() {
        for measure in Measure::ALL {
            assert_eq!(measure.name().parse(), Ok(measure));
        }
        assert_eq!("softmax".parse::<Measure>(), Err(UnknownMeasure));
    }
}

//! Whether a network answers no better than chance: nearly always a sign of labels that do not match.

use std::fmt;

use crate::binomial;
use crate::records::Records;

/// How unlikely so many right answers must be by chance for the network to be said to know something.
const SIGNIFICANCE: f64 = 0.01;

/// An accuracy that chance explains. Displays as one sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NearChance {
    /// Share answered rightly.
    pub accuracy: f64,
    /// Share that is right by chance: of the largest class, or 1 / classes where that is more.
    pub chance: f64,
    /// Samples answered.
    pub samples: usize,
    /// Probability of so many right answers, or more, by chance.
    pub p_value: f64,
}

impl fmt::Display for NearChance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [accuracy, chance] = [self.accuracy, self.chance].map(|share| 100.0 * share);
        write!(
            f,
            "an accuracy of {accuracy:.1} % over {} samples is no better than chance, {chance:.1} %: do the labels belong \
             to this model, and is the preprocessing that of its training?",
            self.samples
        )
    }
}

/// Whether `right` answers about samples with these labels, for a model of so many classes, are near chance.
///
/// The test is the exact one-sided binomial test, at 1 %, against guessing: the share of the largest class, which who
/// always answers that class gets, or 1 / classes where that is more. Labels of one class alone say nothing of its share
/// elsewhere: then 1 / classes counts. None where the answers are better than that, and where there are so few samples
/// that even right answers to all would say nothing.
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::evaluate::near_chance;
///
/// let labels: Vec<u32> = (0..100).map(|sample| sample % 4).collect();
/// assert!(near_chance(28, &labels, 4).is_some());
/// assert!(near_chance(60, &labels, 4).is_none());
/// ```
pub fn near_chance(right: usize, labels: &[u32], classes: usize) -> Option<NearChance> {
    let samples = labels.len();
    if samples == 0 || classes < 2 {
        return None;
    }
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    let largest = sorted.chunk_by(|a, b| a == b).map(<[u32]>::len).max().unwrap_or(0);
    let largest = if largest == samples { 0.0 } else { largest as f64 / samples as f64 };
    let chance = largest.max(1.0 / classes as f64);
    if chance.powi(samples.try_into().unwrap_or(i32::MAX)) > SIGNIFICANCE {
        return None;
    }
    let p_value = right.checked_sub(1).map_or(1.0, |fewer| 1.0 - binomial::tail(fewer, samples, chance));
    let accuracy = right as f64 / samples as f64;
    (p_value > SIGNIFICANCE).then_some(NearChance { accuracy, chance, samples, p_value })
}

impl Records {
    /// Whether even the best of the exits is near chance, as [`near_chance`] has it.
    pub fn near_chance(&self) -> Option<NearChance> {
        let right = |exit: usize| self.rows().into_iter().filter(|&row| self.right(row, exit)).count();
        let best = (0..self.exits().len()).map(right).max()?;
        near_chance(best, self.labels(), self.classes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Synthetic;

    fn evenly(samples: u32, classes: u32) -> Vec<u32> {
        (0..samples).map(|sample| sample % classes).collect()
    }

    #[test]
    fn near_chance_is_told_for_guesses_and_not_for_knowledge() {
        let found = near_chance(11, &evenly(100, 10), 10).unwrap();
        assert!((found.chance - 0.1).abs() < 1e-12 && found.samples == 100);
        assert!(
            found.to_string().starts_with("an accuracy of 11.0 % over 100 samples is no better than chance, 10.0 %")
        );
        assert!(near_chance(0, &evenly(100, 10), 10).is_some_and(|found| found.p_value == 1.0));
        assert!(near_chance(35, &evenly(100, 10), 10).is_none());
        // P(X >= 18) is 1.0 % and P(X >= 19) 0.46 % for 100 guesses at 1 in 10.
        assert!(near_chance(19, &evenly(100, 10), 10).is_none() && near_chance(17, &evenly(100, 10), 10).is_some());
    }

    #[test]
    fn near_chance_holds_the_answers_against_the_largest_class() {
        let mut labels = vec![0; 90];
        labels.extend([1; 10]);
        assert!(near_chance(90, &labels, 10).is_some_and(|found| (found.chance - 0.9).abs() < 1e-12));
        assert!(near_chance(98, &labels, 10).is_none());
        // A folder of one class is no reason to doubt a model that knows it.
        assert!(near_chance(90, &[3; 100], 10).is_none());
        assert!(near_chance(8, &[3; 100], 10).is_some());
    }

    #[test]
    fn near_chance_says_nothing_of_too_few_samples() {
        assert!(near_chance(0, &[1], 10).is_none());
        assert!(near_chance(0, &[1, 2], 10).is_none());
        assert!(near_chance(0, &[], 10).is_none());
        assert!(near_chance(50, &[0; 100], 1).is_none());
    }

    #[test]
    fn near_chance_of_records_is_that_of_their_best_exit() {
        assert!(Synthetic::four_exits().records(500, 1).unwrap().near_chance().is_none());
    }
}

//! The strength of the penalty by cross-validation, and what classifiers say of images they have not seen.

use super::features::{Features, LearnError};
use super::logistic::{KEPT, Linear, TRIED, fit};
use crate::random::Random;

/// How to learn.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Penalties to choose from, strongest first: a weaker one has to be better, not as good.
    pub penalties: Vec<f64>,
    /// Parts of cross-validation; no more than the rarest class has images.
    pub parts: usize,
    /// Deals images to parts.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        // Half powers of ten from 3 to 0.0003.
        let penalties = (-1..8).map(|i| 10f64.powf(-f64::from(i) / 2.0)).collect();
        Options { penalties, parts: 5, seed: 0 }
    }
}

impl Options {
    /// With other penalties to choose from.
    #[must_use]
    pub fn with_penalties(mut self, penalties: Vec<f64>) -> Self {
        self.penalties = penalties;
        self
    }

    /// With so many parts of cross-validation.
    #[must_use]
    pub fn with_parts(mut self, parts: usize) -> Self {
        self.parts = parts;
        self
    }

    /// With another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// A classifier and what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Crossed {
    /// Fitted to all images.
    pub classifier: Linear,
    /// The penalty that was chosen.
    pub penalty: f64,
    /// For each image the logits of a classifier that was fitted without it, one per class.
    pub unseen: Vec<Vec<f32>>,
}

/// Learns a classifier. Images of the same classes in the same order give the same one.
///
/// # Errors
/// [`LearnError::Classes`] for less than 2 classes, [`LearnError::TooFew`] for a class with less than 2 images.
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::learn::{Features, Options, learn};
///
/// let mut features = Features::new(2, 2);
/// for i in 0..20u8 {
///     let class = usize::from(i % 2);
///     features.push(&[f32::from(i) / 20.0, class as f32], class)?;
/// }
/// let learned = learn(&features, &Options::default())?;
/// let logits = learned.classifier.logits(&[0.5, 1.0]);
/// assert!(logits[1] > logits[0]);
/// assert_eq!(learned.unseen.len(), 20);
/// # Ok::<(), dyn_perceiver_calibrate::learn::LearnError>(())
/// ```
pub fn learn(features: &Features, options: &Options) -> Result<Crossed, LearnError> {
    features.check()?;
    let parts = parts(features, options);
    let mut best: Option<(f64, f64, Vec<Vec<f32>>)> = None;
    let mut worse = 0;
    for &penalty in &options.penalties {
        let unseen = unseen(features, &parts, penalty);
        let loss = loss(features.labels(), &unseen);
        if best.as_ref().is_none_or(|(least, ..)| loss < least - 1e-9) {
            best = Some((loss, penalty, unseen));
            worse = 0;
        } else {
            worse += 1;
        }
        if worse == 2 {
            // The loss over penalties has one valley: beyond it there is nothing to find.
            break;
        }
    }
    let (_, penalty, unseen) = best.unwrap_or((0.0, 1.0, unseen(features, &parts, 1.0)));
    let all: Vec<usize> = (0..features.len()).collect();
    Ok(Crossed { classifier: fit(features, &all, penalty, KEPT), penalty, unseen })
}

/// The part of each image: every class is dealt evenly.
fn parts(features: &Features, options: &Options) -> Vec<usize> {
    let rarest = features.counts().into_iter().min().unwrap_or(2);
    let count = options.parts.clamp(2, rarest.max(2));
    let mut random = Random::new(options.seed);
    let mut parts = vec![0; features.len()];
    let mut next = 0;
    for class in 0..features.classes() {
        let mut images: Vec<usize> = (0..features.len()).filter(|&i| features.labels()[i] == class).collect();
        random.shuffle(&mut images);
        for image in images {
            parts[image] = next % count;
            next += 1;
        }
    }
    parts
}

fn unseen(features: &Features, parts: &[usize], penalty: f64) -> Vec<Vec<f32>> {
    let mut unseen = vec![Vec::new(); features.len()];
    for part in 0..=parts.iter().copied().max().unwrap_or(0) {
        let (held, used): (Vec<usize>, Vec<usize>) = (0..features.len()).partition(|&image| parts[image] == part);
        let classifier = fit(features, &used, penalty, TRIED);
        for image in held {
            unseen[image] = classifier.logits(features.row(image));
        }
    }
    unseen
}

/// Mean cross-entropy.
fn loss(labels: &[usize], logits: &[Vec<f32>]) -> f64 {
    let each = labels.iter().zip(logits).map(|(&label, logits)| {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum();
        sum.ln() - f64::from(logits[label] - top)
    });
    each.sum::<f64>() / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clouds around class means in a space of which only the first dimensions tell anything.
    fn clouds(classes: usize, images: usize, width: usize, seed: u64) -> Features {
        let mut random = Random::new(seed);
        let mut features = Features::new(width, classes);
        for i in 0..classes * images {
            let class = i % classes;
            let noise = |random: &mut Random| (0..6).map(|_| random.uniform() - 0.5).sum::<f64>();
            let row: Vec<f32> =
                (0..width).map(|k| (noise(&mut random) + if k == class { 3.0 } else { 0.0 }) as f32).collect();
            features.push(&row, class).unwrap();
        }
        features
    }

    fn accuracy(features: &Features, logits: impl Iterator<Item = Vec<f32>>) -> f64 {
        let right =
            logits.zip(features.labels()).filter(|(logits, label)| logits.iter().all(|&l| l <= logits[**label]));
        right.count() as f64 / features.len() as f64
    }

    #[test]
    fn ten_images_a_class_are_enough_and_the_estimate_is_honest() {
        let (few, fresh) = (clouds(4, 10, 60, 1), clouds(4, 200, 60, 2));
        let learned = learn(&few, &Options::default()).unwrap();
        let estimated = accuracy(&few, learned.unseen.iter().cloned());
        let real = accuracy(&fresh, (0..fresh.len()).map(|image| learned.classifier.logits(fresh.row(image))));
        assert!(real > 0.7, "{real}");
        assert!((estimated - real).abs() < 0.15, "{estimated} estimated, {real} found");
    }

    #[test]
    fn learning_repeats_bit_for_bit() {
        let features = clouds(3, 12, 20, 7);
        let [a, b] = [(); 2].map(|()| learn(&features, &Options::default()).unwrap());
        assert_eq!(a.classifier, b.classifier);
        assert_eq!(a.unseen, b.unseen);
    }

    #[test]
    fn what_cannot_be_learned_is_said() {
        let one = |labels: &[usize], classes| {
            let mut features = Features::new(1, classes);
            labels.iter().for_each(|&label| features.push(&[label as f32], label).unwrap());
            learn(&features, &Options::default()).unwrap_err().to_string()
        };
        assert_eq!(one(&[0, 0], 1), "at least 2 classes are needed, there are 1");
        assert_eq!(one(&[0, 0, 1], 2), "class 1 has 1 images, at least 2 are needed");
        assert_eq!(one(&[0, 0], 2), "class 1 has 0 images, at least 2 are needed");
        let mut features = Features::new(2, 2);
        assert!(features.push(&[f32::NAN, 0.0], 0).is_err());
        assert!(features.push(&[0.0], 0).is_err());
        assert!(features.push(&[0.0, 0.0], 2).is_err());
    }

    #[test]
    fn two_images_a_class_are_learned_from() {
        let learned = learn(&clouds(3, 2, 5, 3), &Options::default()).unwrap();
        assert!(learned.unseen.iter().all(|logits| logits.len() == 3));
    }
}

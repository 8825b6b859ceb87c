//! The strength of shrinkage by cross-validation, and what classifiers say of images they have not seen.

use super::alike::groups;
use super::discriminant::{Distance, Moments, Space};
use super::features::{Features, LearnError};
use super::linear::{Linear, Outside};
use super::reject::{Reject, reject};
use crate::random::Random;

/// Of the image of middle distance to its class, the logit of "none of these" is so much below that of the best class.
const MIDDLE: f64 = 4.0;

/// How to learn.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Shares in (0, 1] to choose from by which the covariance is drawn to the identity, largest first: a smaller one has to be
    /// better, not as good.
    pub shrinkages: Vec<f64>,
    /// Parts of cross-validation; no more than the rarest class has images.
    pub parts: usize,
    /// Deals images to parts.
    pub seed: u64,
    /// Also learns to answer "none of these": at most this share of the images of own classes is to get that answer. `None`
    /// leaves it out.
    pub reject: Option<f64>,
    /// The confidence of that share.
    pub confidence: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options { shrinkages: vec![0.7, 0.4, 0.2, 0.1, 0.05], parts: 5, seed: 0, reject: None, confidence: 0.95 }
    }
}

impl Options {
    /// With other shrinkages to choose from.
    #[must_use]
    pub fn with_shrinkages(mut self, shrinkages: Vec<f64>) -> Self {
        self.shrinkages = shrinkages;
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

    /// With "none of these" as one more answer, which at most this share of the images of own classes gets.
    #[must_use]
    pub fn with_reject(mut self, share: Option<f64>) -> Self {
        self.reject = share;
        self
    }
}

/// A classifier and what is known of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Crossed {
    /// Fitted to all images.
    pub classifier: Linear,
    /// The logit of "none of these", where that was asked for, and what it costs.
    pub outside: Option<(Outside, Reject)>,
    /// The shrinkage that was chosen.
    pub shrinkage: f64,
    /// For each image the logits of a classifier that was fitted without it and without those that look like it: one per class,
    /// and one of "none of these" where that was asked for.
    pub unseen: Vec<Vec<f32>>,
}

impl Crossed {
    /// For a network that keeps its classifier, whose logits of the images are these, (images, classes): "none of these" stays as
    /// far above or below the best class as it was.
    #[must_use]
    pub fn with_logits(mut self, logits: Vec<Vec<f32>>) -> Self {
        let top = |logits: &[f32]| logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (unseen, mut own) in self.unseen.iter_mut().zip(logits) {
            if let (true, Some((none, classes))) = (self.outside.is_some(), unseen.split_last()) {
                own.push(top(&own) + none - top(classes));
            }
            *unseen = own;
        }
        self
    }
}

/// Learns a classifier. Images of the same classes in the same order give the same one.
///
/// # Errors
/// [`LearnError::Classes`] for less than 2 classes, [`LearnError::TooFew`] for a class with less than 2 images,
/// [`LearnError::Reject`] when there are too few to promise the share of "none of these".
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
    let space = Space::new(features);
    let parts = parts(&space, features, options);
    let all: Vec<usize> = (0..features.rows()).collect();
    let scatter = space.scatter(all.iter().copied());
    let shrinkages: Vec<f64> = options.shrinkages.iter().map(|share| share.clamp(1e-3, 1.0)).collect();
    let mut unseen = vec![vec![Vec::new(); features.len()]; shrinkages.len()];
    let mut distances = vec![vec![0.0; features.len()]; shrinkages.len()];
    for part in 0..=parts.iter().copied().max().unwrap_or(0) {
        let (held, used): (Vec<usize>, Vec<usize>) = (0..features.len()).partition(|&image| parts[image] == part);
        let rows = |images: &[usize]| images.iter().flat_map(|&image| features.rows_of(image)).collect::<Vec<_>>();
        let mut rest = scatter.clone();
        let without = space.scatter(rows(&held).into_iter());
        rest.iter_mut().zip(&without).for_each(|(all, held)| *all -= held);
        let moments = Moments::new(&space, features, &rows(&used), rest);
        for (i, &shrinkage) in shrinkages.iter().enumerate() {
            let discriminants = moments.discriminants(shrinkage);
            let distance = options.reject.map(|_| Distance::new(&moments, shrinkage, &mut Random::new(options.seed)));
            for &image in &held {
                let row = space.row(features.rows_of(image).start);
                unseen[i][image] = discriminants.logits(row);
                distances[i][image] = distance.as_ref().map_or(0.0, |distance| distance.of(row));
            }
        }
    }
    let mut best: Option<(f64, f64, usize)> = None;
    for (i, unseen) in unseen.iter().enumerate() {
        let (loss, factor) = sharpness(features.labels(), unseen);
        if best.is_none_or(|(least, ..)| loss < least - 1e-9) {
            best = Some((loss, factor, i));
        }
    }
    let (_, factor, i) = best.unwrap_or((0.0, 1.0, 0));
    let shrinkage = shrinkages.get(i).copied().unwrap_or(0.2);
    let moments = Moments::new(&space, features, &all, scatter);
    let classifier = moments.discriminants(shrinkage).classifier(&space, features, factor);
    let logits = unseen.swap_remove(i).into_iter();
    let mut unseen: Vec<Vec<f32>> =
        logits.map(|row| row.iter().map(|&logit| (factor * logit) as f32).collect()).collect();
    let outside = match options.reject {
        None => None,
        Some(share) => {
            let distances = &distances[i];
            let nearness: Vec<f32> = distances.iter().map(|&distance| -distance as f32).collect();
            let found = reject(&nearness, share, options.confidence)?;
            let limit = -f64::from(found.threshold);
            let mut sorted = distances.clone();
            sorted.sort_by(f64::total_cmp);
            let slope = MIDDLE / (limit - sorted[sorted.len() / 2]).max(1e-6 * limit.abs() + 1e-12);
            for (logits, &distance) in unseen.iter_mut().zip(distances) {
                let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                logits.push((f64::from(top) + slope * (distance - limit)) as f32);
            }
            let distance = Distance::new(&moments, shrinkage, &mut Random::new(options.seed));
            Some((distance.outside(&space, features, limit, slope), found))
        }
    };
    Ok(Crossed { classifier, outside, shrinkage, unseen })
}

/// The part of each image: every class is dealt evenly, images that look alike to the same part.
fn parts(space: &Space, features: &Features, options: &Options) -> Vec<usize> {
    let rarest = features.counts().into_iter().min().unwrap_or(2);
    let count = options.parts.clamp(2, rarest.max(2));
    let groups = groups(space, features, count);
    let mut random = Random::new(options.seed);
    let (mut parts, mut next) = (vec![0; features.len()], 0);
    for class in 0..features.classes() {
        let mut own: Vec<Vec<usize>> = Vec::new();
        for group in 0..features.len() {
            let images: Vec<usize> =
                (0..features.len()).filter(|&i| groups[i] == group && features.labels()[i] == class).collect();
            own.extend((!images.is_empty()).then_some(images));
        }
        random.shuffle(&mut own);
        own.sort_by_key(|images| std::cmp::Reverse(images.len()));
        let mut filled = vec![0; count];
        for images in own {
            let part =
                (0..count).min_by_key(|&part| (filled[part], (part + count - next % count) % count)).unwrap_or(0);
            filled[part] += images.len();
            images.into_iter().for_each(|image| parts[image] = part);
        }
        next += rarest.max(1);
    }
    parts
}

/// The least mean cross-entropy of logits that are multiplied by a factor, and that factor.
fn sharpness(labels: &[usize], logits: &[Vec<f64>]) -> (f64, f64) {
    // The loss is convex in the factor: its logarithm is narrowed down by thirds.
    let (mut low, mut high) = (-12.0f64, 4.0f64);
    for _ in 0..60 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if loss(labels, logits, a.exp()) <= loss(labels, logits, b.exp()) { high = b } else { low = a }
    }
    let factor = f64::midpoint(low, high).exp();
    (loss(labels, logits, factor), factor)
}

/// Mean cross-entropy.
fn loss(labels: &[usize], logits: &[Vec<f64>], factor: f64) -> f64 {
    let each = labels.iter().zip(logits).map(|(&label, logits)| {
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|&logit| (factor * (logit - top)).exp()).sum();
        sum.ln() - factor * (logits[label] - top)
    });
    each.sum::<f64>() / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What x86-64 learns in `every_processor_learns_the_same`.
    const EVERYWHERE: [f32; 6] = [1.3479027, 1.4226658, -3.4748707, 2.904109, 21.459217, 0.94342005];

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
        // Fewer rows than features, and more of them: both ways of computing.
        for images in [10, 40] {
            let (few, fresh) = (clouds(4, images, 60, 1), clouds(4, 200, 60, 2));
            let learned = learn(&few, &Options::default()).unwrap();
            let estimated = accuracy(&few, learned.unseen.iter().cloned());
            let real = accuracy(&fresh, (0..fresh.len()).map(|image| learned.classifier.logits(fresh.row(image))));
            assert!(real > 0.7, "{real}");
            assert!((estimated - real).abs() < 0.15, "{estimated} estimated, {real} found");
        }
    }

    #[test]
    fn learning_repeats_bit_for_bit() {
        let features = clouds(3, 30, 20, 7);
        let options = Options::default().with_reject(Some(0.1));
        let [a, b] = [(); 2].map(|()| learn(&features, &options).unwrap());
        assert_eq!((a.classifier, a.outside), (b.classifier, b.outside));
        assert_eq!(a.unseen, b.unseen);
    }

    #[test]
    fn every_processor_learns_the_same() {
        let few = clouds(3, 16, 60, 5);
        let learned = learn(&few, &Options::default().with_reject(Some(0.2))).unwrap();
        let (outside, _) = learned.outside.unwrap();
        let row = few.row(7);
        let found = [
            learned.classifier.weights[0],
            learned.classifier.weights[61],
            learned.classifier.bias[2],
            outside.distance(row),
            outside.limit,
            outside.slope,
        ];
        for (found, expected) in found.into_iter().zip(EVERYWHERE) {
            assert!((found - expected).abs() <= 1e-4 * expected.abs(), "{found:?} {expected:?}");
        }
    }

    #[test]
    fn what_is_far_from_all_classes_is_none_of_these() {
        let (few, fresh) = (clouds(4, 30, 200, 1), clouds(4, 200, 200, 2));
        let learned = learn(&few, &Options::default().with_reject(Some(0.1))).unwrap();
        let (outside, found) = learned.outside.clone().unwrap();
        assert!(found.share == 0.1 && learned.unseen.iter().all(|logits| logits.len() == 5));
        let none = |row: &[f32]| {
            let logits = learned.classifier.logits(row);
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            outside.logit(row, top) > top
        };
        let withheld = (0..fresh.len()).filter(|&image| none(fresh.row(image))).count();
        assert!(withheld as f64 <= 0.1 * fresh.len() as f64, "{withheld}");
        let own: Vec<Vec<f32>> = (0..few.len()).map(|image| vec![image as f32, 3.0, 0.0, 0.0]).collect();
        let called = |logits: &[f32]| logits[..4].iter().all(|&logit| logit < logits[4]);
        let before: Vec<bool> = learned.unseen.iter().map(|logits| called(logits)).collect();
        let kept = learned.clone().with_logits(own.clone());
        assert_eq!(kept.unseen.iter().map(|logits| called(logits)).collect::<Vec<_>>(), before);
        assert!(kept.unseen.iter().zip(&own).all(|(logits, own)| logits[..4] == own[..]));
        let mut random = Random::new(9);
        let others = (0..200).filter(|_| {
            let row: Vec<f32> =
                (0..200).map(|k| (random.uniform() * 3.0 - if k > 100 { 3.0 } else { 0.0 }) as f32).collect();
            none(&row)
        });
        assert!(others.count() > 190);
        let error = learn(&clouds(2, 8, 5, 1), &Options::default().with_reject(Some(0.05))).unwrap_err();
        assert!(matches!(error, LearnError::Reject(_)), "{error}");
    }

    #[test]
    fn images_that_look_alike_are_judged_together() {
        // Every image twice, classes that cannot be told apart: whoever tests on a copy believes to know them.
        let mut random = Random::new(4);
        let mut features = Features::new(40, 2);
        for i in 0..30 {
            let row: Vec<f32> = (0..40).map(|_| random.uniform() as f32).collect();
            for copy in [0.0, 0.01] {
                let row: Vec<f32> = row.iter().map(|x| x + copy * random.uniform() as f32).collect();
                features.push(&row, i % 2).unwrap();
            }
        }
        let space = Space::new(&features);
        let parts = parts(&space, &features, &Options::default());
        assert!((0..30).all(|i| parts[2 * i] == parts[2 * i + 1]), "{parts:?}");
        let learned = learn(&features, &Options::default()).unwrap();
        let estimated = accuracy(&features, learned.unseen.iter().cloned());
        assert!(estimated < 0.75, "{estimated}");
    }

    #[test]
    fn views_are_learned_from_and_not_judged() {
        let mut features = Features::new(2, 2).with_views(2);
        for i in 0..12u8 {
            let x = f32::from(i);
            features.push(&[x, f32::from(i % 2), -x, f32::from(i % 2)], usize::from(i % 2)).unwrap();
        }
        assert!(features.push(&[0.0, 0.0], 0).is_err());
        let learned = learn(&features, &Options::default()).unwrap();
        assert_eq!((features.len(), learned.unseen.len()), (12, 12));
        // Mirrored images make the first feature useless.
        assert!(learned.classifier.weights[0].abs() < 0.1 * learned.classifier.weights[1].abs());
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
    fn two_images_a_class_and_features_that_never_move_are_learned_from() {
        let learned = learn(&clouds(3, 2, 5, 3), &Options::default()).unwrap();
        assert!(learned.unseen.iter().all(|logits| logits.len() == 3));
        let mut features = Features::new(2, 2);
        for i in 0..10 {
            features.push(&[7.0, i as f32], usize::from(i >= 5)).unwrap();
        }
        let linear = learn(&features, &Options::default()).unwrap().classifier;
        assert!(linear.weights.iter().chain(&linear.bias).all(|w| w.is_finite()));
        assert!(linear.logits(&[7.0, 0.0])[0] > linear.logits(&[7.0, 0.0])[1]);
        assert!(linear.logits(&[7.0, 9.0])[1] > linear.logits(&[7.0, 9.0])[0]);
    }
}

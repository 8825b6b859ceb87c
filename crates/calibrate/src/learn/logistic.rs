//! Multinomial logistic regression with a quadratic penalty.

use super::features::Features;
use super::lbfgs::minimise;

/// The gradient's largest element at which fitting ends, of a loss per image: for a classifier that is kept, and for one
/// that only tells how good a penalty is.
pub(super) const KEPT: f64 = 1e-7;
pub(super) const TRIED: f64 = 1e-4;
const ITERATIONS: usize = 500;

/// A linear classifier: logits = weights x features + bias.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Linear {
    /// (classes, features), row-major.
    pub weights: Vec<f32>,
    /// One per class.
    pub bias: Vec<f32>,
}

impl Linear {
    /// Weights (classes, features), row-major, and one bias per class.
    pub fn new(weights: Vec<f32>, bias: Vec<f32>) -> Self {
        Linear { weights, bias }
    }

    /// The logits of features, one per class.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let rows = self.weights.chunks_exact(features.len().max(1));
        let sum = |row: &[f32]| row.iter().zip(features).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>();
        self.bias.iter().zip(rows).map(|(&bias, row)| (f64::from(bias) + sum(row)) as f32).collect()
    }
}

/// Fits a classifier to some of the images. `penalty` multiplies half the squared weights of standardised features, beside
/// the mean loss of an image.
pub(super) fn fit(features: &Features, images: &[usize], penalty: f64, tolerance: f64) -> Linear {
    let (width, classes) = (features.width(), features.classes());
    let standard = Standard::of(features, images);
    let rows: Vec<f64> = images.iter().flat_map(|&image| standard.row(features.row(image))).collect();
    let labels: Vec<usize> = images.iter().map(|&image| features.labels()[image]).collect();
    // Weights (classes, width), then biases. Without a penalty on biases the shares of classes are kept.
    let mut x = vec![0.0; classes * (width + 1)];
    let each = 1.0 / labels.len().max(1) as f64;
    let mut logits = vec![0.0; classes];
    minimise(&mut x, tolerance, ITERATIONS, |x, gradient| {
        let (weights, bias) = x.split_at(classes * width);
        let mut value = 0.0;
        let (weight_gradient, bias_gradient) = gradient.split_at_mut(classes * width);
        bias_gradient.fill(0.0);
        for (g, w) in weight_gradient.iter_mut().zip(weights) {
            *g = penalty * w;
            value += 0.5 * penalty * w * w;
        }
        for (row, &label) in rows.chunks_exact(width.max(1)).zip(&labels) {
            for ((logit, weights), bias) in logits.iter_mut().zip(weights.chunks_exact(width.max(1))).zip(bias) {
                *logit = bias + weights.iter().zip(row).map(|(w, x)| w * x).sum::<f64>();
            }
            let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - top).exp()).sum();
            value += each * (sum.ln() + top - logits[label]);
            for (class, logit) in logits.iter().enumerate() {
                let share = (logit - top).exp() / sum;
                let error = each * (share - if class == label { 1.0 } else { 0.0 });
                bias_gradient[class] += error;
                let gradient = &mut weight_gradient[class * width..][..width];
                gradient.iter_mut().zip(row).for_each(|(g, x)| *g += error * x);
            }
        }
        value
    });
    standard.undo(&x, classes)
}

/// Mean and deviation of every feature, so that one penalty suits all.
struct Standard {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standard {
    fn of(features: &Features, images: &[usize]) -> Self {
        let width = features.width();
        let n = images.len().max(1) as f64;
        let (mut mean, mut square) = (vec![0.0; width], vec![0.0; width]);
        for &image in images {
            mean.iter_mut().zip(features.row(image)).for_each(|(mean, &x)| *mean += f64::from(x) / n);
        }
        for &image in images {
            for ((square, &mean), &x) in square.iter_mut().zip(&mean).zip(features.row(image)) {
                *square += (f64::from(x) - mean).powi(2) / n;
            }
        }
        // A feature that never moves tells nothing, and one that hardly moves is not blown up.
        let typical = (square.iter().sum::<f64>() / width.max(1) as f64).sqrt();
        let scale = square.iter().map(|&variance| (variance.sqrt() + 1e-3 * typical + 1e-12).recip()).collect();
        Standard { mean, scale }
    }

    fn row(&self, row: &[f32]) -> impl Iterator<Item = f64> {
        row.iter().zip(&self.mean).zip(&self.scale).map(|((&x, mean), scale)| (f64::from(x) - mean) * scale)
    }

    /// The classifier on features as they are.
    fn undo(&self, x: &[f64], classes: usize) -> Linear {
        let width = self.mean.len();
        let (weights, bias) = x.split_at(classes * width);
        let mut linear = Linear { weights: Vec::with_capacity(weights.len()), bias: Vec::with_capacity(classes) };
        for (row, bias) in weights.chunks_exact(width.max(1)).zip(bias) {
            let scaled = row.iter().zip(&self.scale).map(|(w, scale)| w * scale);
            let shift: f64 = scaled.clone().zip(&self.mean).map(|(w, mean)| w * mean).sum();
            linear.weights.extend(scaled.map(|w| w as f32));
            linear.bias.push((bias - shift) as f32);
        }
        linear
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_gradient_vanishes_at_what_is_fitted() {
        let mut random = Random::new(5);
        let mut features = Features::new(3, 3);
        for i in 0..60 {
            let label = i % 3;
            let row: Vec<f32> =
                (0..3).map(|k| (10.0 * k as f64 + random.uniform() + f64::from(u8::from(k == label))) as f32).collect();
            features.push(&row, label).unwrap();
        }
        let images: Vec<usize> = (0..60).collect();
        let linear = fit(&features, &images, 1e-3, KEPT);
        // Without a penalty on biases, the mean probability of a class is its share.
        let mut mean = [0.0; 3];
        for &image in &images {
            let logits = linear.logits(features.row(image));
            let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
            mean.iter_mut().zip(&logits).for_each(|(mean, &l)| *mean += f64::from(l).exp() / sum / 60.0);
        }
        assert!(mean.iter().all(|mean| (mean - 1.0 / 3.0).abs() < 1e-4), "{mean:?}");
        let right = images.iter().filter(|&&image| {
            let logits = linear.logits(features.row(image));
            (0..3).all(|class| logits[class] <= logits[features.labels()[image]])
        });
        assert!(right.count() > 48);
    }

    #[test]
    fn features_that_never_move_do_no_harm() {
        let mut features = Features::new(2, 2);
        for i in 0..10 {
            features.push(&[7.0, i as f32], usize::from(i >= 5)).unwrap();
        }
        let linear = fit(&features, &(0..10).collect::<Vec<_>>(), 1e-2, KEPT);
        assert!(linear.weights.iter().chain(&linear.bias).all(|w| w.is_finite()));
        assert!(linear.logits(&[7.0, 0.0])[0] > linear.logits(&[7.0, 0.0])[1]);
        assert!(linear.logits(&[7.0, 9.0])[1] > linear.logits(&[7.0, 9.0])[0]);
    }
}

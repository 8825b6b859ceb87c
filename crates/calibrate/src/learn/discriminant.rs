//! Linear discriminants: classes as normal distributions around means of their own, with one covariance for all.
//!
//! With few images the covariance is known badly. It is drawn to a multiple of the identity (shrinkage: Friedman, "Regularized
//! Discriminant Analysis", JASA 1989), which a regression of as many weights has no equal to: all images of all classes tell it.

use super::features::Features;
use super::linear::{Linear, Outside};
use super::matrix::{Cholesky, add_outer, dot, gram};
use crate::random::Random;

/// Directions whose variance a distance keeps apart, those of the largest; in the others it counts as equal.
const RANK: usize = 32;
/// Rounds of subspace iteration that find them.
const ROUNDS: usize = 12;

/// All rows of features, standardised, in as many coordinates as they span: no more than there are rows.
pub(super) struct Space {
    /// Coordinates of a row.
    pub dimensions: usize,
    /// (rows, dimensions).
    coordinates: Vec<f64>,
    /// The factor of the rows' inner products, where there are fewer rows than features.
    factor: Option<Cholesky>,
    standard: Standard,
}

/// Mean and deviation of every feature.
struct Standard {
    mean: Vec<f64>,
    scale: Vec<f64>,
}

impl Standard {
    fn of(features: &Features) -> Self {
        let width = features.width();
        let n = features.rows().max(1) as f64;
        let (mut mean, mut square) = (vec![0.0; width], vec![0.0; width]);
        for row in 0..features.rows() {
            mean.iter_mut().zip(features.row(row)).for_each(|(mean, &x)| *mean += f64::from(x) / n);
        }
        for row in 0..features.rows() {
            for ((square, &mean), &x) in square.iter_mut().zip(&mean).zip(features.row(row)) {
                *square += (f64::from(x) - mean).powi(2) / n;
            }
        }
        // A feature that never moves tells nothing, and one that hardly moves is not blown up.
        let typical = (square.iter().sum::<f64>() / width.max(1) as f64).sqrt();
        let scale = square.iter().map(|&variance| (variance.sqrt() + 1e-3 * typical + 1e-12).recip()).collect();
        Standard { mean, scale }
    }

    fn row(&self, row: &[f32]) -> Vec<f64> {
        row.iter().zip(&self.mean).zip(&self.scale).map(|((&x, mean), scale)| (f64::from(x) - mean) * scale).collect()
    }
}

impl Space {
    pub(super) fn new(features: &Features) -> Self {
        let standard = Standard::of(features);
        let (rows, width) = (features.rows(), features.width());
        let standardised: Vec<f64> = (0..rows).flat_map(|row| standard.row(features.row(row))).collect();
        if rows >= width {
            return Space { dimensions: width, coordinates: standardised, factor: None, standard };
        }
        let mut products = gram(&standardised, width);
        let typical = (0..rows).map(|i| products[i * rows + i]).sum::<f64>() / rows.max(1) as f64;
        // Equal rows, as of one photo twice, span less: what rounding leaves of them is nothing to learn from.
        (0..rows).for_each(|i| products[i * rows + i] += 1e-9 * typical + 1e-12);
        let factor = Cholesky::new(products, rows, 1e-12 * typical + 1e-15);
        let coordinates = (0..rows).flat_map(|i| factor.row(i).to_vec()).collect();
        Space { dimensions: rows, coordinates, factor: Some(factor), standard }
    }

    pub(super) fn row(&self, row: usize) -> &[f64] {
        &self.coordinates[row * self.dimensions..][..self.dimensions]
    }

    /// A direction of this space as weights of features and what is to be added.
    fn in_features(&self, features: &Features, direction: &[f64]) -> (Vec<f64>, f64) {
        let width = features.width();
        let mut weights = vec![0.0; width];
        match &self.factor {
            None => weights.copy_from_slice(direction),
            Some(factor) => {
                let mut parts = direction.to_vec();
                factor.backward(&mut parts);
                for (row, part) in parts.iter().enumerate() {
                    let standardised = self.standard.row(features.row(row));
                    weights.iter_mut().zip(&standardised).for_each(|(w, x)| *w += part * x);
                }
            }
        }
        weights.iter_mut().zip(&self.standard.scale).for_each(|(w, scale)| *w *= scale);
        let shift = -dot(&weights, &self.standard.mean);
        (weights, shift)
    }

    /// Sums over rows of outer products with themselves, the lower triangle.
    pub(super) fn scatter(&self, rows: impl Iterator<Item = usize>) -> Vec<f64> {
        let mut sum = vec![0.0; self.dimensions * self.dimensions];
        rows.for_each(|row| add_outer(&mut sum, self.row(row), 1.0));
        sum
    }
}

/// What is known of some rows: means of classes and the covariance around them.
pub(super) struct Moments {
    dimensions: usize,
    /// (classes, dimensions).
    means: Vec<f64>,
    /// The covariance, the lower triangle.
    within: Vec<f64>,
    /// Mean variance of a direction in which rows differ at all.
    typical: f64,
}

impl Moments {
    /// Of `rows`, whose [`Space::scatter`] is given.
    pub(super) fn new(space: &Space, features: &Features, rows: &[usize], scatter: Vec<f64>) -> Self {
        let (k, classes) = (space.dimensions, features.classes());
        let mut counts = vec![0.0f64; classes];
        let mut means = vec![0.0; classes * k];
        for &row in rows {
            let class = features.label(row);
            counts[class] += 1.0;
            means[class * k..][..k].iter_mut().zip(space.row(row)).for_each(|(mean, x)| *mean += x);
        }
        let mut within = scatter;
        for (mean, &count) in means.chunks_exact_mut(k.max(1)).zip(&counts) {
            mean.iter_mut().for_each(|mean| *mean /= count.max(1.0));
            add_outer(&mut within, mean, -count);
        }
        let each = 1.0 / rows.len().max(1) as f64;
        within.iter_mut().for_each(|value| *value *= each);
        let spanned = k.min(rows.len().saturating_sub(classes)).max(1) as f64;
        let typical = (0..k).map(|i| within[i * k + i]).sum::<f64>() / spanned;
        Moments { dimensions: k, means, within, typical: typical.max(1e-12) }
    }

    /// With the covariance drawn so far, in (0, 1], to the identity: the discriminants.
    pub(super) fn discriminants(&self, shrinkage: f64) -> Discriminants {
        let k = self.dimensions;
        let mut matrix: Vec<f64> = self.within.iter().map(|value| (1.0 - shrinkage) * value).collect();
        let ridge = shrinkage * self.typical;
        (0..k).for_each(|i| matrix[i * k + i] += ridge);
        let factor = Cholesky::new(matrix, k, 1e-3 * ridge);
        let mut weights = self.means.clone();
        let mut bias = Vec::new();
        for (weights, mean) in weights.chunks_exact_mut(k.max(1)).zip(self.means.chunks_exact(k.max(1))) {
            factor.forward(weights);
            factor.backward(weights);
            bias.push(-0.5 * dot(weights, mean));
        }
        Discriminants { dimensions: k, weights, bias }
    }
}

/// Logarithms of classes' densities, up to what all have in common, as linear functions.
pub(super) struct Discriminants {
    dimensions: usize,
    weights: Vec<f64>,
    bias: Vec<f64>,
}

impl Discriminants {
    pub(super) fn logits(&self, row: &[f64]) -> Vec<f64> {
        let rows = self.weights.chunks_exact(self.dimensions.max(1));
        rows.zip(&self.bias).map(|(weights, bias)| bias + dot(weights, row)).collect()
    }

    /// As a classifier of features, all logits times `factor`.
    pub(super) fn classifier(&self, space: &Space, features: &Features, factor: f64) -> Linear {
        let mut linear = Linear::new(Vec::new(), Vec::new());
        for (weights, bias) in self.weights.chunks_exact(self.dimensions.max(1)).zip(&self.bias) {
            let (weights, shift) = space.in_features(features, weights);
            linear.weights.extend(weights.iter().map(|w| (factor * w) as f32));
            linear.bias.push((factor * (bias + shift)) as f32);
        }
        linear
    }
}

/// Half the squared distance to the nearest class, by a covariance of which [`RANK`] directions are kept apart. All of it is
/// multiplied by the variance of the other directions, so that its scale does not depend on the shrinkage.
pub(super) struct Distance {
    dimensions: usize,
    /// (rank, dimensions), each times the root of what its direction takes off.
    directions: Vec<f64>,
    classes: Discriminants,
}

impl Distance {
    pub(super) fn new(moments: &Moments, shrinkage: f64, random: &mut Random) -> Self {
        let k = moments.dimensions;
        let ridge = shrinkage * moments.typical;
        let mut directions = moments.largest(random);
        for direction in directions.chunks_exact_mut(k.max(1)) {
            let along = (1.0 - shrinkage) * dot(direction, &moments.times(direction));
            let factor = (along.max(0.0) / (along.max(0.0) + ridge)).sqrt();
            direction.iter_mut().for_each(|value| *value *= factor);
        }
        let (mut weights, mut bias) = (moments.means.clone(), Vec::new());
        for (weights, mean) in weights.chunks_exact_mut(k.max(1)).zip(moments.means.chunks_exact(k.max(1))) {
            for direction in directions.chunks_exact(k.max(1)) {
                let along = dot(direction, mean);
                weights.iter_mut().zip(direction).for_each(|(w, d)| *w -= along * d);
            }
            bias.push(-0.5 * dot(weights, mean));
        }
        Distance { dimensions: k, directions, classes: Discriminants { dimensions: k, weights, bias } }
    }

    pub(super) fn of(&self, row: &[f64]) -> f64 {
        let kept: f64 = self.directions.chunks_exact(self.dimensions.max(1)).map(|d| dot(d, row).powi(2)).sum();
        let nearest = self.classes.logits(row).into_iter().fold(f64::NEG_INFINITY, f64::max);
        0.5 * (dot(row, row) - kept) - nearest
    }

    pub(super) fn outside(&self, space: &Space, features: &Features, limit: f64, slope: f64) -> Outside {
        let mut directions = Linear::new(Vec::new(), Vec::new());
        for direction in self.directions.chunks_exact(self.dimensions.max(1)) {
            let (weights, shift) = space.in_features(features, direction);
            directions.weights.extend(weights.iter().map(|&w| w as f32));
            directions.bias.push(shift as f32);
        }
        let Standard { mean, scale } = &space.standard;
        Outside {
            scale: scale.iter().map(|&scale| scale as f32).collect(),
            shift: mean.iter().zip(scale).map(|(mean, scale)| (-mean * scale) as f32).collect(),
            directions,
            classes: self.classes.classifier(space, features, 1.0),
            limit: limit as f32,
            slope: slope as f32,
        }
    }
}

impl Moments {
    /// The covariance times a vector.
    fn times(&self, vector: &[f64]) -> Vec<f64> {
        let k = self.dimensions;
        let mut product = vec![0.0; k];
        for i in 0..k {
            let row = &self.within[i * k..=i * k + i];
            product[i] += dot(row, &vector[..=i]);
            let value = vector[i];
            product[..i].iter_mut().zip(row).for_each(|(p, w)| *p += value * w);
        }
        product
    }

    /// Orthonormal directions of the largest variance, (rank, dimensions), by subspace iteration.
    fn largest(&self, random: &mut Random) -> Vec<f64> {
        let k = self.dimensions;
        let mut basis: Vec<f64> = (0..RANK.min(k) * k).map(|_| random.uniform() - 0.5).collect();
        for _ in 0..ROUNDS {
            basis = basis.chunks_exact(k.max(1)).flat_map(|direction| self.times(direction)).collect();
            orthonormal(&mut basis, k);
        }
        basis
    }
}

/// Makes rows of length `k` orthonormal (Gram and Schmidt, each row twice).
fn orthonormal(rows: &mut [f64], k: usize) {
    for i in 0..rows.len() / k.max(1) {
        let (before, row) = rows.split_at_mut(i * k);
        let row = &mut row[..k];
        for _ in 0..2 {
            for other in before.chunks_exact(k.max(1)) {
                let along = dot(other, row);
                row.iter_mut().zip(other).for_each(|(r, o)| *r -= along * o);
            }
            let length = dot(row, row).sqrt();
            // A direction in which nothing varies is left out.
            let factor = if length > 1e-12 { length.recip() } else { 0.0 };
            row.iter_mut().for_each(|r| *r *= factor);
        }
    }
}

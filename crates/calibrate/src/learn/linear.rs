//! What is learned, as a network computes it.

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

/// How far features are from all classes, as a logit of "none of these" beside a classifier's.
///
/// With y = scale x features + shift, the distance is half the squared length of y, less half that of `directions` of the
/// features, less the largest logit of `classes`: half the squared distance to the nearest class' mean, of which the directions
/// in which images of a class differ anyway count less. The logit is the classifier's largest, plus `slope` times what the
/// distance is above `limit`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outside {
    /// One per feature.
    pub scale: Vec<f32>,
    /// One per feature.
    pub shift: Vec<f32>,
    /// Weights and bias, one row a direction.
    pub directions: Linear,
    /// Weights and bias, one row a class.
    pub classes: Linear,
    /// The distance at which "none of these" is as likely as the best class.
    pub limit: f32,
    /// Logit per distance.
    pub slope: f32,
}

impl Outside {
    /// The distance to the nearest class.
    pub fn distance(&self, features: &[f32]) -> f32 {
        let square = |value: f64| 0.5 * value * value;
        let scaled = features.iter().zip(&self.scale).zip(&self.shift);
        let length: f64 = scaled.map(|((x, scale), shift)| square(f64::from(x * scale + shift))).sum();
        let kept: f64 = self.directions.logits(features).into_iter().map(|value| square(value.into())).sum();
        let nearest = self.classes.logits(features).into_iter().fold(f32::NEG_INFINITY, f32::max);
        (length - kept - f64::from(nearest)) as f32
    }

    /// The logit of "none of these" where the largest of a class is `top`.
    pub fn logit(&self, features: &[f32], top: f32) -> f32 {
        top + self.slope * (self.distance(features) - self.limit)
    }
}

//! Fitting how exits are ensembled: the weights of a mean of logits, and Platt scaling of confidences to probabilities.

use std::io;

use crate::records::Records;
use dyn_perceiver_core::exit::{Curve, Measure};

/// Steps in which a weight of the mean is chosen.
const WEIGHT_STEPS: usize = 20;
/// Logits looked at for one weight, at most: samples x classes.
const LOGITS: usize = 100_000;

/// Weights for [`dyn_perceiver_core::exit::Ensemble::Mean`], exit by exit: that which makes the right classes most likely once the
/// sharpness of the mean is fitted too. `None` without logits.
///
/// # Errors
/// What reading the logits says.
pub(super) fn fit_weights(records: &Records, rows: &[u32]) -> io::Result<Option<Vec<f32>>> {
    if !records.has_logits() || rows.is_empty() {
        return Ok(None);
    }
    let (exits, classes) = (records.exits().len(), records.classes());
    let wanted = (LOGITS / classes.max(1)).max(500);
    let step = rows.len().div_ceil(wanted);
    let rows: Vec<u32> = rows.iter().copied().step_by(step).collect();
    // Per exit, samples x classes.
    let mut logits = vec![Vec::with_capacity(rows.len() * classes); exits];
    records.visit_logits(&rows, |_, sample| {
        for (exit, all) in logits.iter_mut().enumerate() {
            all.extend_from_slice(&sample[exit * classes..][..classes]);
        }
    })?;
    let labels: Vec<usize> = rows.iter().map(|&row| records.labels()[row as usize] as usize).collect();
    let mut weights = vec![0.0];
    let mut mean = logits[0].clone();
    for own in &logits[1..] {
        let mixed =
            |weight: f32| -> Vec<f32> { mean.iter().zip(own).map(|(m, l)| weight * m + (1.0 - weight) * l).collect() };
        let (_, best) = (0..WEIGHT_STEPS)
            .map(|step| step as f32 / WEIGHT_STEPS as f32)
            .map(|weight| (sharpest_likelihood(&mixed(weight), &labels, classes), weight))
            .fold((f64::INFINITY, 0.0), |best, next| if next.0 < best.0 { next } else { best });
        mean = mixed(best);
        weights.push(best);
    }
    Ok(Some(weights))
}

/// Mean negative log-likelihood of the labels under soft-max of s x logits, for the best sharpness s > 0, by Newton's
/// method in s (the loss is convex in it).
fn sharpest_likelihood(logits: &[f32], labels: &[usize], classes: usize) -> f64 {
    let mut s = 1.0f64;
    let mut loss = f64::INFINITY;
    for _ in 0..8 {
        let (mut total, mut slope, mut curvature) = (0.0, 0.0, 0.0);
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (mut sum, mut first, mut second) = (0.0f64, 0.0, 0.0);
            for &logit in row {
                let d = f64::from(logit - top);
                let e = f64::from((s as f32 * (logit - top)).exp());
                sum += e;
                first += d * e;
                second += d * d * e;
            }
            let (mean, right) = (first / sum, f64::from(row[label] - top));
            total += sum.ln() - s * right;
            slope += mean - right;
            curvature += second / sum - mean * mean;
        }
        let settled = (loss - total).abs() <= 1e-7 * total.abs();
        loss = total;
        if settled || curvature <= 0.0 {
            break;
        }
        s = (s - slope / curvature).clamp(s / 4.0, s * 4.0);
    }
    loss / labels.len() as f64
}

/// Curves for [`dyn_perceiver_core::exit::Ensemble::Recall`], one per exit, fitted by logistic regression (Platt scaling).
pub(super) fn fit_curves(records: &Records, rows: &[u32], measure: Measure) -> Vec<Curve> {
    (0..records.exits().len())
        .map(|exit| {
            let of = |&row: &u32| {
                let confidence = records.readings(row)[exit].confidence[measure as usize];
                Answers::one(f64::from(Curve::log_odds(confidence)), records.right(row, exit))
            };
            fit_curve(&rows.iter().map(of).collect::<Vec<_>>())
        })
        .collect()
}

/// Answers of one confidence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    /// The log odds of their confidence.
    pub(super) log_odds: f64,
    /// How many were right.
    pub(super) right: f64,
    /// How many were wrong.
    pub(super) wrong: f64,
}

impl Answers {
    fn one(log_odds: f64, right: bool) -> Self {
        let (right, wrong) = if right { (1.0, 0.0) } else { (0.0, 1.0) };
        Answers { log_odds, right, wrong }
    }
}

/// Logistic regression with Platt's smoothed targets, which keeps it finite when every sample is right or wrong.
pub(super) fn fit_curve(samples: &[Answers]) -> Curve {
    let right = samples.iter().map(|answers| answers.right).sum::<f64>();
    let wrong = samples.iter().map(|answers| answers.wrong).sum::<f64>();
    let (high, low) = ((right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0));
    let mut offset = ((right + 1.0) / (wrong + 1.0)).ln();
    let mut slope = 0.0;
    for _ in 0..50 {
        // Gradient and Hessian of the log-likelihood in (slope, offset); the small prior keeps the Hessian regular.
        let (mut gs, mut go) = (-1e-3 * slope, 0.0);
        let (mut hss, mut hso, mut hoo) = (1e-3, 0.0, 1e-9);
        for &Answers { log_odds: x, right, wrong } in samples {
            let p = 1.0 / (1.0 + (-(slope * x + offset)).exp());
            let error = right * (high - p) + wrong * (low - p);
            let w = (right + wrong) * p * (1.0 - p);
            gs += error * x;
            go += error;
            hss += w * x * x;
            hso += w * x;
            hoo += w;
        }
        let determinant = hss * hoo - hso * hso;
        if determinant <= 1e-12 {
            break;
        }
        let ds = ((hoo * gs - hso * go) / determinant).clamp(-2.0, 2.0);
        let d_o = ((hss * go - hso * gs) / determinant).clamp(-2.0, 2.0);
        slope += ds;
        offset += d_o;
        if ds.abs() + d_o.abs() < 1e-9 {
            break;
        }
    }
    if slope < 0.0 {
        // Surer but less often right: then confidence says nothing, and the share right is all that is known.
        (slope, offset) = (0.0, ((right + 1.0) / (wrong + 1.0)).ln());
    }
    Curve::new(slope.min(1e6) as f32, offset.clamp(-1e6, 1e6) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_curve_finds_the_probabilities_that_made_the_samples() {
        let truth = Curve::new(0.7, -0.4);
        let mut random = Random::new(5);
        let samples: Vec<Answers> = (0..50_000)
            .map(|_| {
                let c = random.uniform() as f32;
                Answers::one(f64::from(Curve::log_odds(c)), random.uniform() < f64::from(truth.probability(c)))
            })
            .collect();
        let fitted = fit_curve(&samples);
        assert!((fitted.slope - truth.slope).abs() < 0.03 && (fitted.offset - truth.offset).abs() < 0.03, "{fitted:?}");
    }

    #[test]
    fn a_curve_is_sound_whatever_the_samples() {
        for samples in [vec![], vec![(0.0, true)], vec![(3.0, false); 10], vec![(-2.0, true), (2.0, false)]] {
            let answers: Vec<_> = samples.iter().map(|&(x, right)| Answers::one(x, right)).collect();
            let curve = fit_curve(&answers);
            assert!(curve.slope >= 0.0 && curve.offset.is_finite(), "{samples:?}: {curve:?}");
        }
    }

    #[test]
    fn the_best_sharpness_does_not_depend_on_scale() {
        let mut random = Random::new(6);
        let logits: Vec<f32> = (0..3000).map(|_| 4.0 * random.uniform() as f32).collect();
        let labels: Vec<usize> = logits
            .chunks_exact(3)
            .map(
                |l| if random.uniform() < 0.3 { 0 } else { (0..3).max_by(|&a, &b| l[a].total_cmp(&l[b])).unwrap_or(0) },
            )
            .collect();
        let scaled: Vec<f32> = logits.iter().map(|l| 5.0 * l).collect();
        let (a, b) = (sharpest_likelihood(&logits, &labels, 3), sharpest_likelihood(&scaled, &labels, 3));
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

//! How far stated probabilities are from how often answers are right.

/// Bins of the expected calibration error: 15, as Guo et al., On Calibration of Modern Neural Networks, 2017.
const BINS: usize = 15;

/// Expected calibration error of answers, each with the probability in [0, 1] that was stated and whether it was right: the
/// mean over answers of the distance between what was stated and what came true in 15 bins of equal width. 0 without answers.
///
/// ```
/// use dyn_perceiver_calibrate::evaluate::calibration_error;
/// let honest = (0..10).map(|i| (0.7, i < 7));
/// assert!(calibration_error(honest) < 1e-6);
/// let boastful = (0..10).map(|i| (0.9, i < 7));
/// assert!((calibration_error(boastful) - 0.2).abs() < 1e-6);
/// ```
pub fn calibration_error(answers: impl IntoIterator<Item = (f32, bool)>) -> f64 {
    let mut gaps = [0.0; BINS];
    let mut count = 0usize;
    for (stated, right) in answers {
        let bin = ((f64::from(stated) * BINS as f64) as usize).min(BINS - 1);
        gaps[bin] += f64::from(stated) - f64::from(u8::from(right));
        count += 1;
    }
    gaps.iter().map(|gap| gap.abs()).sum::<f64>() / count.max(1) as f64
}

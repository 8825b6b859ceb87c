//! "None of these": a confidence below which an answer is withheld.

use thiserror::Error;

use crate::binomial::tail;

/// Why no threshold can be set.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum RejectError {
    /// Shares are strictly between 0 and 1.
    #[error("a share of {share} is not between 0 and 1")]
    Share {
        /// The share asked for.
        share: f64,
    },
    /// With so few images no threshold can be trusted.
    #[error("no threshold can be certified with {images} images: at least {needed} are needed")]
    TooFew {
        /// Images given.
        images: usize,
        /// Images needed.
        needed: usize,
    },
}

/// A threshold and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reject {
    /// An answer is given from this confidence on.
    pub threshold: f32,
    /// Images of own classes that it withholds, of those it was set on.
    pub withheld: usize,
    /// The share of own images that it withholds at most, with the confidence asked for.
    pub share: f64,
}

/// The highest threshold that withholds at most `share` of the answers about own classes, and that with `confidence`:
/// `confidences` are those of images of own classes, by classifiers that have not seen them. The binomial test is exact,
/// so it holds for any number of images.
///
/// # Errors
/// [`RejectError`].
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::learn::reject;
///
/// let confidences: Vec<f32> = (0..200u8).map(|i| f32::from(i) / 200.0).collect();
/// let found = reject(&confidences, 0.05, 0.95)?;
/// // Of 200 images 10 are 5 %; to be sure of 5 %, fewer are withheld.
/// assert!(found.withheld < 10 && found.withheld > 2);
/// # Ok::<(), dyn_perceiver_calibrate::learn::RejectError>(())
/// ```
pub fn reject(confidences: &[f32], share: f64, confidence: f64) -> Result<Reject, RejectError> {
    for share in [share, confidence] {
        if !(share > 0.0 && share < 1.0) {
            return Err(RejectError::Share { share });
        }
    }
    let images = confidences.len();
    let needed = ((1.0 - confidence).ln() / (1.0 - share).ln()).ceil() as usize;
    if images < needed {
        return Err(RejectError::TooFew { images, needed });
    }
    let mut sorted = confidences.to_vec();
    sorted.sort_by(f32::total_cmp);
    // Thresholds are tested from the lowest on, and the first that fails ends it: fixed-sequence testing needs no correction.
    let certified = (0..images).take_while(|&withheld| tail(withheld, images, share) <= 1.0 - confidence).count();
    let withheld = certified.saturating_sub(1);
    // Answers from this image's confidence on are given: those before it are withheld.
    let threshold = sorted.get(withheld).copied().unwrap_or(0.0);
    let withheld = sorted.iter().filter(|&&c| c < threshold).count();
    Ok(Reject { threshold, withheld, share })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn own_answers_are_withheld_as_rarely_as_promised() {
        let mut random = Random::new(11);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| random.uniform().sqrt() as f32).collect() };
        let (mut broken, rounds) = (0, 400);
        for _ in 0..rounds {
            let found = reject(&draw(150), 0.1, 0.9).unwrap();
            // Confidences are square roots of uniform numbers: below t lie t squared of them.
            broken += usize::from(f64::from(found.threshold).powi(2) > 0.1);
        }
        assert!(broken as f64 <= 0.13 * f64::from(rounds), "{broken} of {rounds} promises broken");
    }

    #[test]
    fn too_few_images_promise_nothing() {
        assert_eq!(reject(&[0.5; 20], 0.05, 0.95), Err(RejectError::TooFew { images: 20, needed: 59 }));
        assert_eq!(reject(&[0.5; 59], 0.05, 0.95).unwrap().withheld, 0);
        assert!(reject(&[0.5; 59], 0.0, 0.95).is_err());
        // Equal confidences are not told apart: none of them is withheld.
        assert_eq!(reject(&[0.5; 500], 0.05, 0.95).unwrap().withheld, 0);
    }
}

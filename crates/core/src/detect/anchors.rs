//! The boxes that a head's deltas are relative to.

use super::BoundingBox;
use crate::inline::InlineVec;

/// The most ratios, and the most scales.
const MAX_EACH: usize = 8;
/// The most anchors at one place.
pub const MAX_ANCHORS: usize = MAX_EACH * MAX_EACH;

/// Anchors at one place: ratio by ratio, within a ratio scale by scale.
///
/// The anchor of row i and column j is centred at (j x stride, i x stride).
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Anchors {
    /// Height over width.
    ratios: InlineVec<f32, MAX_EACH>,
    /// Side at ratio 1, in strides.
    scales: InlineVec<f32, MAX_EACH>,
}

impl Anchors {
    /// Anchors of these ratios (height over width) and scales (side at ratio 1, in strides). None if there are no or more
    /// than eight of either, or one that is no number above 0.
    pub fn new(ratios: &[f32], scales: &[f32]) -> Option<Self> {
        let positive = |values: &[f32]| values.iter().all(|value| value.is_normal() && *value > 0.0);
        if !(positive(ratios) && positive(scales)) {
            return None;
        }
        Some(Anchors { ratios: InlineVec::from_slice(ratios).ok()?, scales: InlineVec::from_slice(scales).ok()? })
    }

    /// Those of RetinaNet: ratios 0.5, 1 and 2, and three scales an octave from four strides on.
    pub fn retina() -> Self {
        let mut scales = InlineVec::one(4.0);
        for octave in [1.0, 2.0] {
            let _ = scales.push(4.0 * libm::exp2f(octave / 3.0));
        }
        let mut ratios = InlineVec::one(0.5);
        for ratio in [1.0, 2.0] {
            let _ = ratios.push(ratio);
        }
        Anchors { ratios, scales }
    }

    /// Anchors at one place.
    pub fn len(&self) -> usize {
        self.ratios.len() * self.scales.len()
    }

    /// Never: there is one ratio and one scale at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The anchor `index`, from 0, at row and column of a level of that stride. None beyond the last one.
    pub fn at(&self, index: usize, stride: f32, row: usize, column: usize) -> Option<BoundingBox> {
        let ratio = libm::sqrtf(*self.ratios.get(index / self.scales.len())?);
        let side = stride * self.scales.get(index % self.scales.len())?;
        let (half_width, half_height) = (side / ratio / 2.0, side * ratio / 2.0);
        let (x, y) = (column as f32 * stride, row as f32 * stride);
        Some(BoundingBox::new(x - half_width, y - half_height, x + half_width, y + half_height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_ratio_by_ratio_and_centres_have_no_half_pixel() {
        let anchors = Anchors::retina();
        assert_eq!(anchors.len(), 9);
        let first = anchors.at(0, 8.0, 0, 0).unwrap();
        let near = |a: BoundingBox, b: [f32; 4]| a.corners().iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
        assert!(near(first, [-22.62742, -11.31371, 22.62742, 11.31371]), "{first:?}");
        assert!(near(anchors.at(1, 8.0, 0, 0).unwrap(), [-28.50876, -14.25438, 28.50876, 14.25438]));
        assert!(near(anchors.at(3, 8.0, 2, 1).unwrap(), [8.0 - 16.0, 16.0 - 16.0, 8.0 + 16.0, 16.0 + 16.0]));
        assert_eq!(anchors.at(9, 8.0, 0, 0), None);
        assert_eq!(Anchors::new(&[], &[1.0]), None);
        assert_eq!(Anchors::new(&[1.0], &[f32::NAN]), None);
        assert_eq!(Anchors::new(&[1.0; 9], &[1.0]), None);
        assert_eq!(Anchors::new(&[0.5, 1.0, 2.0], &[4.0]).unwrap().len(), 3);
    }
}

//! Boxes and how much they overlap.

/// A box by its corners, in pixels; x to the right, y down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BoundingBox {
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

impl BoundingBox {
    /// A box from left, top, right and bottom.
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        BoundingBox { x1, y1, x2, y2 }
    }

    /// Left, top, right, bottom.
    pub const fn corners(self) -> [f32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }

    /// Pixels from left to right.
    pub fn width(self) -> f32 {
        self.x2 - self.x1
    }

    /// Pixels from top to bottom.
    pub fn height(self) -> f32 {
        self.y2 - self.y1
    }

    /// Square pixels; 0 of what is no box.
    pub fn area(self) -> f32 {
        if self.is_box() { self.width() * self.height() } else { 0.0 }
    }

    /// Whether it has width and height, both of them finite.
    pub fn is_box(self) -> bool {
        let positive = |side: f32| side > 0.0 && side.is_finite();
        positive(self.width()) && positive(self.height())
    }

    /// The part within `[0, width] x [0, height]`; `size` is width and height.
    #[must_use]
    pub fn clipped(self, [width, height]: [f32; 2]) -> Self {
        // What is no number stays none.
        let clip = |value: f32, most: f32| match value {
            below if below < 0.0 => 0.0,
            above if above > most => most,
            within => within,
        };
        BoundingBox::new(clip(self.x1, width), clip(self.y1, height), clip(self.x2, width), clip(self.y2, height))
    }

    /// Intersection over union, in [0, 1]; 0 where one of the two is no box.
    pub fn iou(self, other: Self) -> f32 {
        let width = self.x2.min(other.x2) - self.x1.max(other.x1);
        let height = self.y2.min(other.y2) - self.y1.max(other.y1);
        if !(width > 0.0 && height > 0.0 && self.is_box() && other.is_box()) {
            return 0.0;
        }
        let both = width * height;
        let union = self.area() + other.area() - both;
        if union > 0.0 { both / union } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_what_both_cover_over_what_either_covers() {
        let a = BoundingBox::new(0.0, 0.0, 2.0, 1.0);
        assert_eq!(a.iou(a), 1.0);
        assert_eq!(a.iou(BoundingBox::new(0.0, 0.0, 1.0, 1.0)), 0.5);
        assert_eq!(a.iou(BoundingBox::new(2.0, 0.0, 3.0, 1.0)), 0.0);
        assert_eq!(a.iou(BoundingBox::new(f32::NAN, 0.0, 1.0, 1.0)), 0.0);
        assert!(!BoundingBox::new(f32::NAN, 0.0, 1.0, 1.0).clipped([4.0, 5.0]).is_box());
        assert!(!BoundingBox::new(0.0, 0.0, f32::INFINITY, 1.0).is_box());
        assert_eq!(BoundingBox::new(3.0, 0.0, 1.0, 1.0).area(), 0.0);
        assert_eq!(BoundingBox::new(-3.0, -1.0, 9.0, 9.0).clipped([4.0, 5.0]).corners(), [0.0, 0.0, 4.0, 5.0]);
    }
}

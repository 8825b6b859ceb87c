//! How four numbers say where a box is beside its anchor.

use super::BoundingBox;

/// Deltas (dx, dy, dw, dh): the centre moves by delta times the anchor's size, sizes grow by exp(delta).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct BoxCode {
    /// Added to each delta after the deviations.
    pub means: [f32; 4],
    /// Multiplies each delta.
    pub deviations: [f32; 4],
    /// dw and dh are kept within plus and minus this.
    pub clamp: f32,
}

impl BoxCode {
    /// RetinaNet's: means 0, deviations 1, sizes at most 1000/16 of the anchor's.
    pub fn retina() -> Self {
        BoxCode { means: [0.0; 4], deviations: [1.0; 4], clamp: libm::logf(1000.0 / 16.0) }
    }

    /// A code of these means, deviations and clamp.
    pub const fn new(means: [f32; 4], deviations: [f32; 4], clamp: f32) -> Self {
        BoxCode { means, deviations, clamp }
    }

    /// The box of deltas, clipped to an image of `size`, width and height. None where it is no box.
    pub fn decode(&self, anchor: BoundingBox, deltas: [f32; 4], size: [f32; 2]) -> Option<BoundingBox> {
        if deltas.iter().any(|delta| !delta.is_finite()) {
            return None;
        }
        let mut scaled = [0.0; 4];
        for (i, scaled) in scaled.iter_mut().enumerate() {
            *scaled = deltas[i] * self.deviations[i] + self.means[i];
        }
        let [dx, dy, dw, dh] = scaled;
        let size_of = |delta: f32| libm::expf(delta.max(-self.clamp).min(self.clamp));
        let (width, height) = (anchor.width(), anchor.height());
        let (x, y) = ((anchor.x1 + anchor.x2) / 2.0 + dx * width, (anchor.y1 + anchor.y2) / 2.0 + dy * height);
        let (half_width, half_height) = (width * size_of(dw) / 2.0, height * size_of(dh) / 2.0);
        let found = BoundingBox::new(x - half_width, y - half_height, x + half_width, y + half_height);
        let clipped = found.clipped(size);
        clipped.is_box().then_some(clipped)
    }

    /// The deltas of a box beside an anchor: what [`BoxCode::decode`] takes back to the box. None where one of them is no
    /// box, or a deviation is 0.
    pub fn encode(&self, anchor: BoundingBox, target: BoundingBox) -> Option<[f32; 4]> {
        if !(anchor.is_box() && target.is_box()) || self.deviations.contains(&0.0) {
            return None;
        }
        let (width, height) = (anchor.width(), anchor.height());
        let centre = |a: f32, b: f32| (a + b) / 2.0;
        let deltas = [
            (centre(target.x1, target.x2) - centre(anchor.x1, anchor.x2)) / width,
            (centre(target.y1, target.y2) - centre(anchor.y1, anchor.y2)) / height,
            libm::logf(target.width() / width),
            libm::logf(target.height() / height),
        ];
        let mut coded = [0.0; 4];
        for (i, coded) in coded.iter_mut().enumerate() {
            *coded = (deltas[i] - self.means[i]) / self.deviations[i];
        }
        Some(coded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_box_comes_back_from_its_deltas(
            corners in [0f32..600.0, 0f32..600.0, 2f32..300.0, 2f32..300.0],
            anchor in [0f32..600.0, 0f32..600.0, 8f32..120.0, 8f32..120.0],
            deviations in [0.1f32..2.0, 0.1f32..2.0, 0.1f32..2.0, 0.1f32..2.0],
        ) {
            let from = |[x, y, w, h]: [f32; 4]| BoundingBox::new(x, y, x + w, y + h);
            let (target, anchor) = (from(corners), from(anchor));
            let code = BoxCode::new([0.0; 4], deviations, 4.135);
            let deltas = code.encode(anchor, target).unwrap();
            let back = code.decode(anchor, deltas, [1000.0, 1000.0]).unwrap();
            for (a, b) in back.corners().iter().zip(target.corners()) {
                prop_assert!((a - b).abs() < 0.01, "{back:?} for {target:?}");
            }
        }

        #[test]
        fn whatever_is_decoded_is_a_box_within_the_image_or_nothing(
            corners in proptest::array::uniform4(any::<f32>()),
            deltas in proptest::array::uniform4(any::<f32>()),
        ) {
            let [x1, y1, x2, y2] = corners;
            let code = BoxCode::retina();
            if let Some(found) = code.decode(BoundingBox::new(x1, y1, x2, y2), deltas, [160.0, 128.0]) {
                prop_assert!(found.is_box());
                prop_assert!(found.x1 >= 0.0 && found.y1 >= 0.0 && found.x2 <= 160.0 && found.y2 <= 128.0);
            }
        }
    }
}

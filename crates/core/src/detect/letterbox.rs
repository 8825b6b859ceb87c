//! A frame fitted whole into the network's input, and boxes brought back.

use super::BoundingBox;

/// The frame keeps its aspect, touches the input on two sides and is centred between the other two.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Letterbox {
    /// Width and height of the frame, in pixels.
    pub frame: [u32; 2],
    /// Width and height of the frame within the input, in pixels.
    pub size: [u32; 2],
    /// Left and top of the frame within the input, in pixels.
    pub offset: [u32; 2],
}

impl Letterbox {
    /// Fits a frame of width and height `frame` into an input of width and height `input`. None where a side is 0.
    pub fn fit(frame: [u32; 2], input: [u32; 2]) -> Option<Self> {
        if frame.contains(&0) || input.contains(&0) {
            return None;
        }
        let [frame_width, frame_height] = frame.map(u64::from);
        let [width, height] = input.map(u64::from);
        // The other side follows from the aspect, rounded to the nearest pixel and at least one.
        let side = |a: u64, b: u64, c: u64| ((2 * a * b + c) / (2 * c)).max(1) as u32;
        let size = if frame_width * height >= frame_height * width {
            [input[0], side(width, frame_height, frame_width).min(input[1])]
        } else {
            [side(height, frame_width, frame_height).min(input[0]), input[1]]
        };
        let offset = [(input[0] - size[0]) / 2, (input[1] - size[1]) / 2];
        Some(Letterbox { frame, size, offset })
    }

    /// A box in the input's pixels as one in the frame's, clipped to the frame. None where nothing of it is in the frame.
    pub fn to_frame(&self, found: BoundingBox) -> Option<BoundingBox> {
        let [sx, sy] = self.scale();
        let [left, top] = self.offset.map(|side| side as f32);
        let (x, y) = (|x: f32| (x - left) / sx, |y: f32| (y - top) / sy);
        let moved = BoundingBox::new(x(found.x1), y(found.y1), x(found.x2), y(found.y2));
        let clipped = moved.clipped(self.frame.map(|side| side as f32));
        clipped.is_box().then_some(clipped)
    }

    /// A box in the frame's pixels as one in the input's.
    pub fn to_input(&self, found: BoundingBox) -> BoundingBox {
        let [sx, sy] = self.scale();
        let [left, top] = self.offset.map(|side| side as f32);
        BoundingBox::new(found.x1 * sx + left, found.y1 * sy + top, found.x2 * sx + left, found.y2 * sy + top)
    }

    /// Pixels of the input per pixel of the frame, across and down.
    fn scale(&self) -> [f32; 2] {
        [0, 1].map(|axis| self.size[axis] as f32 / self.frame[axis] as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wide_frame_leaves_bars_above_and_below() {
        let fit = Letterbox::fit([640, 480], [320, 256]).unwrap();
        assert_eq!((fit.size, fit.offset), ([320, 240], [0, 8]));
        let tall = Letterbox::fit([480, 640], [320, 256]).unwrap();
        assert_eq!((tall.size, tall.offset), ([192, 256], [64, 0]));
        assert_eq!(Letterbox::fit([0, 4], [2, 2]), None);
        assert_eq!(Letterbox::fit([1, u32::MAX], [32, 32]).unwrap().size, [1, 32]);
        // What lies in a bar is nowhere in the frame.
        assert_eq!(fit.to_frame(BoundingBox::new(0.0, 0.0, 320.0, 8.0)), None);
    }

    proptest! {
        #[test]
        fn boxes_come_back_to_the_frame(
            frame in [1u32..4000, 1u32..4000], input in [32u32..640, 32u32..640], at in [0f32..0.5, 0f32..0.5],
        ) {
            let fit = Letterbox::fit(frame, input).unwrap();
            prop_assert!(fit.size[0] + 2 * fit.offset[0] <= input[0] && fit.size[1] + 2 * fit.offset[1] <= input[1]);
            prop_assert!(fit.size[0] == input[0] || fit.size[1] == input[1]);
            let [width, height] = frame.map(|side| side as f32);
            let found = BoundingBox::new(at[0] * width, at[1] * height, (at[0] + 0.5) * width, (at[1] + 0.5) * height);
            let back = fit.to_frame(fit.to_input(found)).unwrap();
            for (a, b) in back.corners().iter().zip(found.corners()) {
                prop_assert!((a - b).abs() <= 1e-3 * width.max(height), "{back:?} for {found:?}");
            }
        }
    }
}

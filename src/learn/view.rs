//! Several ways of looking at one photo: more rows to learn from than there are photos.

use crate::frame::Frame;
use crate::preprocess::{Crop, Preprocess};

/// How much of the frame's largest part of the network's shape a corner is, by its sides.
const CORNER: f64 = 0.75;

/// How much a nearer look is, where the network sees all of the frame.
const NEARER: f64 = 0.875;

/// One way of looking at a photo.
///
/// # Examples
/// ```
/// use dyn_perceiver::learn::View;
///
/// let views = View::several(4);
/// assert_eq!((views.len(), views[0]), (4, View::default()));
/// assert!(views[1].mirrored && !views[0].mirrored);
/// assert_eq!(View::several(100).len(), View::MOST);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Which part of the photo.
    pub part: Part,
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

/// Which part of a photo is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// What the network sees of any frame.
    #[default]
    Own,
    /// From another distance: all of the photo's largest centred part of the network's shape, or a little less than
    /// all where the network sees that much itself.
    Distance,
    /// A corner of that part, three quarters of its sides.
    Corner {
        /// The right one.
        right: bool,
        /// The lower one.
        lower: bool,
    },
}

impl View {
    /// As many different views as there are.
    pub const MOST: usize = 8;

    /// The photo as `part` has it, mirrored left to right or not.
    pub fn new(part: Part, mirrored: bool) -> Self {
        View { part, mirrored }
    }

    /// The first so many views, at least one and at most [`View::MOST`], those first that help most: the photo as the network
    /// sees it, the same mirrored, from another distance, and corners of it.
    pub fn several(count: usize) -> Vec<View> {
        let corner = |right, lower| Part::Corner { right, lower };
        let all: [View; Self::MOST] = [
            View::new(Part::Own, false),
            View::new(Part::Own, true),
            View::new(Part::Distance, false),
            View::new(Part::Distance, true),
            View::new(corner(false, false), false),
            View::new(corner(true, true), true),
            View::new(corner(true, false), true),
            View::new(corner(false, true), false),
        ];
        all[..count.clamp(1, Self::MOST)].to_vec()
    }
}

impl Part {
    /// The part of a frame of `size` (width, height) that this is, for a network that is preprocessed for by `own`.
    pub(super) fn crop(self, own: &Preprocess, size: [u32; 2]) -> Crop {
        let share = match (self, own.crop) {
            (Part::Own, _) => return own.crop,
            (Part::Corner { .. }, _) => CORNER,
            (Part::Distance, Crop::Centre(share)) if share < 1.0 => 1.0,
            (Part::Distance, _) => NEARER,
        };
        let whole = size.map(f64::from);
        // What keeps its shape is cut out in the network's; what is stretched is so in any case.
        let [width, height] = match own.crop {
            Crop::Stretch => whole,
            _ => {
                let shape = [own.width, own.height].map(f64::from);
                let scale = (whole[0] / shape[0]).min(whole[1] / shape[1]);
                shape.map(|side| side * scale)
            }
        };
        let (right, lower) = match self {
            Part::Corner { right, lower } => (f64::from(u8::from(right)), f64::from(u8::from(lower))),
            _ => (0.5, 0.5),
        };
        // Whole pixels of the frame: the first, and how many.
        let along = |all: u32, length: f64, at: f64| {
            let cut = ((length * share).round() as u32).clamp(1, all.max(1));
            let first = (f64::from(all) - length) / 2.0 + (length - f64::from(cut)) * at;
            ((first.round().max(0.0) as u32).min(all.saturating_sub(cut)), cut)
        };
        let ((left, width), (top, height)) = (along(size[0], width, right), along(size[1], height, lower));
        Crop::Region { left, top, width, height }
    }
}

/// Exchanges left and right of the planes of an input tensor whose rows are `width` long.
pub(super) fn mirror(tensor: &mut [f32], width: usize) {
    tensor.chunks_exact_mut(width.max(1)).for_each(<[f32]>::reverse);
}

/// The size of a frame, (width, height), if it tells.
pub(super) fn size(frame: &Frame) -> Option<[u32; 2]> {
    (frame.format != crate::frame::PixelFormat::Mjpeg).then_some([frame.width, frame.height])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region(crop: Crop) -> [u32; 4] {
        let Crop::Region { left, top, width, height } = crop else { panic!("{crop:?}") };
        [left, top, width, height]
    }

    #[test]
    fn parts_are_cut_out_of_the_centre_in_the_networks_shape() {
        let own = Preprocess::new(100, 100).with_crop(Crop::Centre(0.875));
        let of = |part: Part| region(part.crop(&own, [400, 200]));
        assert_eq!(Part::Own.crop(&own, [400, 200]), own.crop);
        assert_eq!(of(Part::Distance), [100, 0, 200, 200]);
        assert_eq!(of(Part::Corner { right: false, lower: false }), [100, 0, 150, 150]);
        assert_eq!(of(Part::Corner { right: true, lower: true }), [150, 50, 150, 150]);
        // A network that is shown all of a frame, in whatever shape.
        let own = Preprocess::new(100, 100);
        let of = |part: Part| region(part.crop(&own, [400, 200]));
        assert_eq!(of(Part::Distance), [25, 13, 350, 175]);
        assert_eq!(of(Part::Corner { right: true, lower: false }), [100, 0, 300, 150]);
        let own = own.with_crop(Crop::Letterbox);
        assert_eq!(region(Part::Distance.crop(&own, [400, 200])), [113, 13, 175, 175]);
    }

    #[test]
    fn views_differ() {
        let views = View::several(usize::MAX);
        assert!(views.iter().enumerate().all(|(i, view)| !views[..i].contains(view)));
        assert_eq!(View::several(0), [View::default()]);
    }

    proptest! {
        #[test]
        fn parts_lie_inside_any_frame(
            width in 1u32..2000, height in 1u32..2000, side in 1u32..300, other in 1u32..300, kind in 0usize..4,
        ) {
            let crop = [Crop::Stretch, Crop::Letterbox, Crop::Centre(1.0), Crop::Centre(0.7)][kind];
            let own = Preprocess::new(side, other).with_crop(crop);
            for view in View::several(View::MOST).into_iter().filter(|view| view.part != Part::Own) {
                let [left, top, w, h] = region(view.part.crop(&own, [width, height]));
                prop_assert!(w > 0 && h > 0 && left + w <= width && top + h <= height);
            }
        }
    }
}

//! Weights for resampling one axis.

/// How pixels between pixels are found when a picture is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// A triangle one pixel wide to either side.
    #[default]
    Bilinear,
    /// Keys' cubic with a = -1/2, two pixels wide to either side.
    Bicubic,
}

impl Interpolation {
    /// Half the filter's width, and the filter.
    fn filter(self) -> (f64, fn(f64) -> f64) {
        match self {
            Self::Nearest => (0.0, |_| 1.0),
            Self::Bilinear => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::Bicubic => (2.0, |x| {
                let (x, a) = (x.abs(), -0.5);
                if x < 1.0 {
                    ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
                } else {
                    0.0
                }
            }),
        }
    }
}

/// For each output pixel of an axis, the input pixels that make it up and their weights, which add up to 1.
#[derive(Clone, Debug, Default)]
pub(super) struct Weights {
    /// Per output pixel: first input pixel, and where its weights begin in `weights`. One more entry closes the last.
    windows: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Weights {
    /// Maps `length` input pixels from place `from` (fractions of a pixel are fine) on to `output` pixels; the axis has
    /// `input` pixels in all.
    ///
    /// Pixel centres lie at half-integers. Made smaller, the filter is widened by the scale, which removes aliasing;
    /// this is how Pillow and torchvision resample. Made larger, bilinear is PyTorch's `align_corners=False`.
    pub(super) fn new(input: usize, from: f64, length: f64, output: usize, interpolation: Interpolation) -> Self {
        let (radius, filter) = interpolation.filter();
        let scale = length / output as f64;
        let stretch = scale.max(1.0);
        let support = radius * stretch;
        let mut axis = Self::default();
        let mut window = Vec::new();
        for i in 0..output {
            let centre = from + (i as f64 + 0.5) * scale;
            let (first, last) = if interpolation == Interpolation::Nearest {
                let nearest = (centre.floor().max(0.0) as usize).min(input - 1);
                (nearest, nearest + 1)
            } else {
                let first = (centre - support + 0.5).floor().max(0.0) as usize;
                let last = ((centre + support + 0.5).floor().max(0.0) as usize).min(input);
                (first.min(input - 1), last.max(first.min(input - 1) + 1))
            };
            window.clear();
            window.extend((first..last).map(|j| filter((j as f64 + 0.5 - centre) / stretch)));
            let sum: f64 = window.iter().sum();
            axis.windows.push((first, axis.weights.len()));
            axis.weights.extend(window.iter().map(|weight| (weight / sum) as f32));
        }
        axis.windows.push((input, axis.weights.len()));
        axis
    }

    /// Number of output pixels.
    pub(super) fn len(&self) -> usize {
        self.windows.len().saturating_sub(1)
    }

    /// First input pixel and weights of each output pixel, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.windows.windows(2).map(|pair| (pair[0].0, &self.weights[pair[0].1..pair[1].1]))
    }

    /// First input pixel and weights of output pixel `i`.
    pub(super) fn window(&self, i: usize) -> (usize, &[f32]) {
        (self.windows[i].0, &self.weights[self.windows[i].1..self.windows[i + 1].1])
    }

    /// The input pixels that are used at all.
    pub(super) fn inputs(&self) -> std::ops::Range<usize> {
        let first = self.iter().next().map_or(0, |(first, _)| first);
        let end = self.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(0);
        first..end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Interpolation; 3] = [Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic];

    #[test]
    fn doubling_is_bilinear_with_half_pixel_centres() {
        let axis = Weights::new(2, 0.0, 2.0, 4, Interpolation::Bilinear);
        let at = |i| -> f32 {
            let (first, weights) = axis.window(i);
            weights.iter().zip(&[0.0, 1.0][first..]).map(|(weight, value)| weight * value).sum()
        };
        assert_eq!([at(0), at(1), at(2), at(3)], [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn the_same_size_changes_nothing() {
        for interpolation in ALL {
            let axis = Weights::new(5, 0.0, 5.0, 5, interpolation);
            for (i, (first, weights)) in axis.iter().enumerate() {
                for (j, &weight) in weights.iter().enumerate() {
                    assert_eq!(weight, if first + j == i { 1.0 } else { 0.0 }, "{interpolation:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn windows_stay_inside_move_forward_and_weigh_one(
            input in 1usize..200, output in 1usize..100, from in 0.0f64..0.9, length in 0.05f64..1.0, which in 0usize..3,
        ) {
            let length = (length * (1.0 - from) * input as f64).max(1e-3);
            let axis = Weights::new(input, from * input as f64, length, output, ALL[which]);
            prop_assert_eq!(axis.len(), output);
            let mut last = (0, 0);
            for (first, weights) in axis.iter() {
                let end = first + weights.len();
                prop_assert!(!weights.is_empty() && end <= input);
                prop_assert!(first >= last.0 && end >= last.1);
                prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                last = (first, end);
            }
            prop_assert!(axis.inputs().end <= input);
        }
    }
}

//! Parameters of preprocessing: as a model file states them, and complete with the size of the network's input.

use serde::{Deserialize, Serialize};

use super::{Interpolation, PreprocessError};
use crate::frame::PixelFormat;

/// Which part of a frame the network sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Crop {
    /// All of it, stretched to the network's shape.
    #[default]
    Stretch,
    /// The largest centred part of the network's shape, reduced to this fraction of its sides, in (0, 1]. torchvision's
    /// `Resize(256)` and `CenterCrop(224)` are 224 / 256 = 0.875.
    Centre(f32),
    /// All of it in its own shape; what is left over at the sides gets the value 0 after normalisation, the mean colour.
    Letterbox,
    /// A rectangle in pixels of the frame, stretched to the network's shape.
    Region {
        /// Columns to its left.
        left: u32,
        /// Rows above it.
        top: u32,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
}

/// What a network's training did to its pictures, and so what has to be done to a frame.
///
/// ```
/// use dyn_perceiver::preprocess::{Crop, Preprocess};
///
/// let preprocess = Preprocess::new(224, 224)
///     .with_normalisation([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
///     .with_crop(Crop::Centre(0.875));
/// assert_eq!(preprocess.len(), 3 * 224 * 224);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Preprocess {
    /// Width of the network's input in pixels.
    pub width: u32,
    /// Height of the network's input in pixels.
    pub height: u32,
    /// Mean of red, green and blue, of pixels in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, of pixels in [0, 1].
    pub std: [f32; 3],
    /// The part of the frame that is used.
    #[serde(default)]
    pub crop: Crop,
    /// How it is resized.
    #[serde(default)]
    pub interpolation: Interpolation,
}

impl Preprocess {
    /// A frame stretched to `width x height`, its pixels scaled to [0, 1] and not normalised further.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            mean: [0.0; 3],
            std: [1.0; 3],
            crop: Crop::Stretch,
            interpolation: Interpolation::Bilinear,
        }
    }

    /// With another mean and standard deviation of red, green and blue, of pixels in [0, 1].
    #[must_use]
    pub fn with_normalisation(mut self, mean: [f32; 3], std: [f32; 3]) -> Self {
        (self.mean, self.std) = (mean, std);
        self
    }

    /// With another part of the frame.
    #[must_use]
    pub fn with_crop(mut self, crop: Crop) -> Self {
        self.crop = crop;
        self
    }

    /// Resized in another way.
    #[must_use]
    pub fn with_interpolation(mut self, interpolation: Interpolation) -> Self {
        self.interpolation = interpolation;
        self
    }

    /// Floats of the network's input: `3 x height x width`.
    #[must_use]
    pub fn len(&self) -> usize {
        3 * self.height as usize * self.width as usize
    }

    /// Whether the input has no pixel; such parameters are refused by [`Preprocessor::new`](super::Preprocessor::new).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn check(&self) -> Result<(), PreprocessError> {
        let wrong = |field, actual: String, expected| Err(PreprocessError::Parameter { field, actual, expected });
        let side = 1..=PixelFormat::MAX_SIDE;
        if !side.contains(&self.width) || !side.contains(&self.height) {
            return wrong("the size", format!("{}x{}", self.width, self.height), "1 to 16384 pixels a side");
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return wrong("the mean", format!("{:?}", self.mean), "finite numbers");
        }
        if !self.std.iter().all(|std| std.is_normal() && *std > 0.0) {
            return wrong("the standard deviation", format!("{:?}", self.std), "numbers above 0");
        }
        match self.crop {
            Crop::Centre(fraction) if !(fraction > 0.0 && fraction <= 1.0) => {
                wrong("the fraction of the centre", fraction.to_string(), "a number above 0 and up to 1")
            }
            _ => Ok(()),
        }
    }
}

/// What a model file says of its preprocessing: crop, resize, then `(pixel / 255 - mean) / std` per channel.
///
/// ```
/// use dyn_perceiver::preprocess::{Crop, Preprocessing};
///
/// let imagenet = Preprocessing::default().for_input(224, 224);
/// assert_eq!(imagenet.crop, Crop::Centre(0.875));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Preprocessing {
    /// Mean per channel (red, green, blue), of pixels scaled to [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per channel, of pixels scaled to [0, 1].
    pub std: [f32; 3],
    /// Which share of the image's shorter side the centred square crop keeps, in (0, 1].
    pub crop: f32,
    /// How pixels are interpolated.
    pub interpolation: Interpolation,
}

impl Default for Preprocessing {
    /// ImageNet's statistics and its usual crop of 224 out of 256 pixels.
    fn default() -> Self {
        Self {
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            crop: 0.875,
            interpolation: Interpolation::Bilinear,
        }
    }
}

impl Preprocessing {
    /// All parameters, for a network's input of `width x height` pixels.
    #[must_use]
    pub fn for_input(&self, width: u32, height: u32) -> Preprocess {
        Preprocess::new(width, height)
            .with_normalisation(self.mean, self.std)
            .with_crop(Crop::Centre(self.crop))
            .with_interpolation(self.interpolation)
    }
}

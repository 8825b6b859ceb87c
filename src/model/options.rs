//! What a caller may say about a model that is loaded.

use super::guard::LoadLimits;
use super::layout::Layout;

/// Options for [`super::Model::load_with`]. What is left out is taken from the file.
///
/// ```
/// use dyn_perceiver::model::LoadOptions;
/// let options = LoadOptions::default().with_size([192, 256]).with_range([-1.0, 1.0]);
/// assert_eq!(options.size, Some([192, 256]));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Exits by output name. Without it, those that the file's metadata lists; without that, every output of shape
    /// (N, classes), trailing axes of 1 allowed.
    pub exits: Option<Vec<String>>,
    /// Images per run, at least 1.
    pub batch: usize,
    /// Height and width of the input, for a file that leaves them open.
    pub size: Option<[usize; 2]>,
    /// Order of the input's axes, for a file whose shape does not tell.
    pub layout: Option<Layout>,
    /// Mean of red, green and blue, in units of [`LoadOptions::range`].
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, in the same units.
    pub std: Option<[f32; 3]>,
    /// What a black and a white pixel are before mean and deviation are applied; [0, 1] without it. If only the range is
    /// given, nothing else is applied.
    pub range: Option<[f32; 2]>,
    /// Which share of the shorter side the centred crop keeps, in (0, 1].
    pub crop: Option<f32>,
    /// Names of the classes, in place of the file's.
    pub labels: Option<Vec<String>>,
    /// What loading may cost.
    pub limits: LoadLimits,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            exits: None,
            batch: 1,
            size: None,
            layout: None,
            mean: None,
            std: None,
            range: None,
            crop: None,
            labels: None,
            limits: LoadLimits::default(),
        }
    }
}

impl LoadOptions {
    /// With these exits, by output name.
    #[must_use]
    pub fn with_exits(mut self, exits: Option<Vec<String>>) -> Self {
        self.exits = exits;
        self
    }

    /// For so many images per run.
    #[must_use]
    pub fn with_batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// With this height and width.
    #[must_use]
    pub fn with_size(mut self, size: [usize; 2]) -> Self {
        self.size = Some(size);
        self
    }

    /// With this order of the input's axes.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// With this mean per channel.
    #[must_use]
    pub fn with_mean(mut self, mean: [f32; 3]) -> Self {
        self.mean = Some(mean);
        self
    }

    /// With this standard deviation per channel.
    #[must_use]
    pub fn with_std(mut self, std: [f32; 3]) -> Self {
        self.std = Some(std);
        self
    }

    /// With this range of pixels.
    #[must_use]
    pub fn with_range(mut self, range: [f32; 2]) -> Self {
        self.range = Some(range);
        self
    }

    /// With this crop.
    #[must_use]
    pub fn with_crop(mut self, crop: f32) -> Self {
        self.crop = Some(crop);
        self
    }

    /// With these names of the classes, in their order.
    #[must_use]
    pub fn with_labels(mut self, labels: Vec<String>) -> Self {
        self.labels = Some(labels);
        self
    }

    /// With these limits on what loading may cost.
    #[must_use]
    pub fn with_limits(mut self, limits: LoadLimits) -> Self {
        self.limits = limits;
        self
    }
}

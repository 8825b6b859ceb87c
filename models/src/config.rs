//! What there is to choose about a network, and the published names.

use crate::backbone::{self, Backbone};
use crate::{Error, Task};

/// Everything that determines the architecture of one Dyn-Perceiver, with the published defaults.
///
/// Parameter names follow the authors' constructor (Han et al., ICCV 2023, section 3 and appendix A).
///
/// # Examples
/// ```
/// use dyn_perceiver_models::Config;
///
/// let mut config = Config::from_name("reg400m_perceiver_t32")?.with_input_size(64).with_classes(10);
/// config.with_dwc = false;
/// assert_eq!(config.name(), "reg400m_perceiver_t32");
/// # Ok::<(), dyn_perceiver_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Backbone as it stands in a published name: `mobilenetV3_0x75`, `reg800m`, `resnet50_0375`, ...
    pub backbone: String,
    /// Latent tokens of stage 1; stages 2 to 4 have a half, a quarter and an eighth.
    pub latents: usize,
    /// Multiplies the 3, 3, 9, 3 self-attention layers of the four stages.
    pub depth_factor: [usize; 4],
    /// Hidden channels of a self-attention layer's MLP over its channels.
    pub sa_widening: usize,
    /// Height and width of the image in pixels.
    pub input_size: [usize; 2],
    /// Number of classes of the exits.
    pub classes: usize,
    /// Classes of exit `cnn` where it has others: the authors' RegNetY and ResNet-50 keep 1000 there whatever the number
    /// of classes is. Such an exit is an output of the file, but not among its listed exits.
    pub cnn_classes: Option<usize>,
    /// What the network is for.
    pub task: Task,
    /// Whether stages 2 to 4 read image features into the latent code (stage 1 always does).
    pub with_x2z: bool,
    /// Whether the latent code is written back into the features before stages 2 to 4.
    pub with_z2x: bool,
    /// Whether a depthwise 7x7 convolution precedes every reading of image features.
    pub with_dwc: bool,
    /// Whether the latent code is written into the last features before `merge`.
    pub with_last_ca: bool,
    /// Whether an exit sees the logits of the exit before it (information skip connection).
    pub with_isc: bool,
    /// Whether features are pooled to 7x7 tokens before the latent code reads them.
    pub spatial_reduction: bool,
}

/// What stands between backbone and number of latents in a name.
const INFIX: &str = "_perceiver_t";

impl Config {
    /// The network of a published name such as `reg800m_perceiver_t128`, at 224x224 with 1000 classes, depth factor 1
    /// and a widening of 4. Other numbers of latents and other widths than the published ones can be named too.
    ///
    /// # Errors
    /// [`Error::UnknownName`] lists the backbones that exist.
    pub fn from_name(name: &str) -> Result<Config, Error> {
        let unknown = || Error::UnknownName { name: name.to_owned(), known: backbone::published().join(", ") };
        let (backbone, latents) = name.split_once(INFIX).ok_or_else(unknown)?;
        let latents = latents.parse().map_err(|_| unknown())?;
        backbone::parse(backbone).ok_or_else(unknown)?;
        Ok(Config::new(backbone, latents))
    }

    pub(crate) fn new(backbone: &str, latents: usize) -> Config {
        Config {
            backbone: backbone.to_owned(),
            latents,
            depth_factor: [1; 4],
            sa_widening: 4,
            input_size: [224, 224],
            classes: 1000,
            cnn_classes: None,
            task: Task::Classification,
            with_x2z: true,
            with_z2x: true,
            with_dwc: true,
            with_last_ca: true,
            with_isc: true,
            spatial_reduction: true,
        }
    }

    /// Replaces the factors by which the self-attention layers of the four stages are multiplied.
    #[must_use]
    pub fn with_depth_factor(mut self, depth_factor: [usize; 4]) -> Config {
        self.depth_factor = depth_factor;
        self
    }

    /// Replaces the widening of the self-attention layers' MLPs.
    #[must_use]
    pub fn with_sa_widening(mut self, sa_widening: usize) -> Config {
        self.sa_widening = sa_widening;
        self
    }

    /// Replaces height and width of a square image, in pixels.
    #[must_use]
    pub fn with_input_size(self, side: usize) -> Config {
        self.with_input_shape(side, side)
    }

    /// Replaces height and width of the image, in pixels.
    #[must_use]
    pub fn with_input_shape(mut self, height: usize, width: usize) -> Config {
        self.input_size = [height, width];
        self
    }

    /// Replaces what the network is for.
    #[must_use]
    pub fn with_task(mut self, task: Task) -> Config {
        self.task = task;
        self
    }

    /// Gives exit `cnn` a number of classes of its own.
    #[must_use]
    pub fn with_cnn_classes(mut self, classes: usize) -> Config {
        self.cnn_classes = Some(classes);
        self
    }

    /// Replaces the number of classes of the exits.
    #[must_use]
    pub fn with_classes(mut self, classes: usize) -> Config {
        self.classes = classes;
        self
    }

    /// The published form of the name.
    pub fn name(&self) -> String {
        format!("{}{INFIX}{}", self.backbone, self.latents)
    }

    /// Latent tokens of stage `k`, 1 to 4.
    pub(crate) fn tokens(&self, k: usize) -> usize {
        self.latents >> (k - 1)
    }

    /// Self-attention layers of stage `k`, 1 to 4.
    pub(crate) fn layers(&self, k: usize) -> usize {
        SELF_ATTENTION_LAYERS[k - 1] * self.depth_factor[k - 1]
    }

    /// Checks the numbers and finds the backbone.
    pub(crate) fn resolve(&self) -> Result<Box<dyn Backbone>, Error> {
        let range = |field, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::Configuration { field, actual: value.to_string(), expected: format!("{low} to {high}") })
        };
        range("number of latents", self.latents, 8, 1 << 16)?;
        for side in self.input_size {
            range("input size", side, 16, 1 << 13)?;
        }
        self.task.check(self.input_size)?;
        range("number of classes", self.classes, 1, 1 << 20)?;
        range("number of classes of exit cnn", self.cnn_classes.unwrap_or(1), 1, 1 << 20)?;
        range("self-attention widening", self.sa_widening, 1, 64)?;
        for factor in self.depth_factor {
            range("depth factor", factor, 1, 64)?;
        }
        backbone::parse(&self.backbone)
            .ok_or_else(|| Error::UnknownName { name: self.name(), known: backbone::published().join(", ") })
    }
}

/// Self-attention layers of the four stages at depth factor 1.
pub(crate) const SELF_ATTENTION_LAYERS: [usize; 4] = [3, 3, 9, 3];

/// The family: every backbone of the paper with 128 latents, except that width 0.625 of ResNet-50 was published with 160,
/// and EfficientNet-Lite0 with 64.
pub fn family() -> Vec<Config> {
    let latents = |(name, latents)| (name, if name == "resnet50_0625" { 160 } else { latents });
    backbone::published_latents().map(latents).map(|(name, latents)| Config::new(name, latents)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_come_back() {
        for config in family() {
            assert_eq!(Config::from_name(&config.name()).unwrap(), config);
        }
        assert_eq!(family().len(), 16);
        assert_eq!(Config::from_name("reg800m_perceiver_t256").unwrap().latents, 256);
        assert!(Config::from_name("mobilenetV3_0x3_perceiver_t16").is_ok());
    }

    #[test]
    fn unknown_names_list_what_exists() {
        for name in ["", "reg800m", "reg801m_perceiver_t128", "reg800m_perceiver_t", "reg800m_perceiver_t-1"] {
            let text = Config::from_name(name).unwrap_err().to_string();
            assert!(
                text.contains("mobilenetV3_0x75") && text.contains("reg3x2g") && text.contains("resnet50_0375"),
                "{text}"
            );
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let ok = Config::from_name("reg400m_perceiver_t32").unwrap();
        for bad in [
            Config { latents: 4, ..ok.clone() },
            Config { input_size: [0, 64], ..ok.clone() },
            ok.clone().with_input_shape(64, 72).with_task(Task::Detection(crate::Detection::new(3))),
            ok.clone().with_task(Task::Action(crate::Action::new(1, crate::VideoMode::Online))),
            Config { classes: 0, ..ok.clone() },
            Config { depth_factor: [1, 0, 1, 1], ..ok.clone() },
            Config { sa_widening: 0, ..ok.clone() },
        ] {
            assert!(matches!(bad.resolve(), Err(Error::Configuration { .. })), "{bad:?}");
        }
    }
}

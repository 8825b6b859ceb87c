//! What a model file says about its input and its classes, read back by whoever runs it.

use crate::{Config, Error};

/// Names of ImageNet's 1000 classes in the order of its label files, one a line; see NOTICE for where they come from.
const IMAGENET_LABELS: &str = include_str!("imagenet_labels.txt");

/// Mean and standard deviation per channel of ImageNet's pixels in [0, 1].
pub(crate) const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// How an image file becomes the network's input, and what its classes are called.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metadata {
    /// Mean per channel (red, green, blue), of pixels in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per channel, of pixels in [0, 1].
    pub std: [f32; 3],
    /// How pixels are interpolated when an image is resized: `bilinear` or `bicubic`.
    pub interpolation: String,
    /// Centre crop as a share of the shorter side: 1 takes all of it, 0.875 is resize to 256 and crop of 224.
    pub crop: f32,
    /// Names of the classes; empty if they have none.
    pub labels: Vec<String>,
}

impl Metadata {
    /// ImageNet's evaluation preprocessing, and its class names if there are 1000 classes.
    pub fn imagenet(classes: usize) -> Metadata {
        let labels = if classes == 1000 { IMAGENET_LABELS.lines().map(str::to_owned).collect() } else { Vec::new() };
        let (mean, std) = IMAGENET;
        Metadata { mean, std, interpolation: "bicubic".to_owned(), crop: 0.875, labels }
    }

    /// The preprocessing that the backbone's published weights were trained with; for most that is ImageNet's.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a backbone that does not exist, [`Error::Configuration`] for an impossible number.
    pub fn of(config: &Config) -> Result<Metadata, Error> {
        let (mean, std) = config.resolve()?.normalisation();
        Ok(Metadata { mean, std, ..Metadata::imagenet(config.classes) })
    }

    /// Checks the numbers against `classes`.
    pub(crate) fn check(&self, classes: usize) -> Result<(), Error> {
        let wrong = |field, actual: String, expected: &str| {
            Err(Error::Configuration { field, actual, expected: expected.to_owned() })
        };
        if !self.mean.iter().all(|m| m.is_finite()) {
            return wrong("mean", format!("{:?}", self.mean), "three finite numbers");
        }
        if !self.std.iter().all(|s| s.is_finite() && *s > 0.0) {
            return wrong("standard deviation", format!("{:?}", self.std), "three positive numbers");
        }
        if !(self.crop > 0.0 && self.crop <= 1.0) {
            return wrong("crop", self.crop.to_string(), "a share in (0, 1]");
        }
        if !["bilinear", "bicubic"].contains(&self.interpolation.as_str()) {
            return wrong("interpolation", self.interpolation.clone(), "bilinear or bicubic");
        }
        if !self.labels.is_empty() && self.labels.len() != classes {
            return wrong("number of labels", self.labels.len().to_string(), &format!("{classes}, one per class"));
        }
        Ok(())
    }

    /// Keys and values as they stand in the file, under the prefix `dyn_perceiver.`.
    pub(crate) fn entries(&self, name: &str, size: usize) -> Vec<(&'static str, String)> {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let mut entries = vec![
            ("dyn_perceiver.arch", name.to_owned()),
            ("dyn_perceiver.exits", crate::EXITS.join(",")),
            ("dyn_perceiver.mean", list(&self.mean)),
            ("dyn_perceiver.std", list(&self.std)),
            ("dyn_perceiver.size", size.to_string()),
            ("dyn_perceiver.interpolation", self.interpolation.clone()),
            ("dyn_perceiver.crop", self.crop.to_string()),
        ];
        if !self.labels.is_empty() {
            entries.push(("dyn_perceiver.labels", serde_json::Value::from(self.labels.clone()).to_string()));
        }
        entries
    }
}

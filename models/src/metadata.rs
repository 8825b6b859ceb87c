//! What a model file says about its input and its classes, read back by whoever runs it.

use serde_json::{Value, json};

use crate::task::{ANCHORS, LEVELS, STRIDES};
use crate::{Config, Detection, Error, Network, Task};

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
    /// Names of the exits' classes; empty if they have none.
    pub labels: Vec<String>,
    /// Names of a detector's box classes; empty if they have none.
    pub box_labels: Vec<String>,
    /// Seconds between the frames that a network of videos was trained on, if it is known.
    pub frame_period: Option<f32>,
}

/// Height over width of a detector's anchors, and their side in strides at ratio 1.
const RATIOS: [f32; 3] = [0.5, 1.0, 2.0];
const OCTAVES: usize = 3;
const SCALE: f64 = 4.0;
/// Pairs of anchor and class that count as found, and which of them are the same object, as RetinaNet has them.
const SCORE: f32 = 0.05;
const OVERLAP: f32 = 0.5;
const CANDIDATES: usize = 1000;
const BOXES: usize = 100;
/// Least logarithm of what a box may be over its anchor; the greatest is the same above 0.
const SMALLEST_SIZE: f64 = 16.0 / 1000.0;
/// Exits that say whether there is anything before the backbone ends.
const PRESENCE: [&str; 2] = ["early3", "att"];

impl Metadata {
    /// ImageNet's evaluation preprocessing, and its class names if there are 1000 classes.
    pub fn imagenet(classes: usize) -> Metadata {
        let labels = if classes == 1000 { IMAGENET_LABELS.lines().map(str::to_owned).collect() } else { Vec::new() };
        let (mean, std) = IMAGENET;
        Metadata {
            mean,
            std,
            interpolation: "bicubic".to_owned(),
            crop: 0.875,
            labels,
            box_labels: Vec::new(),
            frame_period: None,
        }
    }

    /// The preprocessing that the backbone's published weights were trained with; for most that is ImageNet's.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a backbone that does not exist, [`Error::Configuration`] for an impossible number.
    pub fn of(config: &Config) -> Result<Metadata, Error> {
        let (mean, std) = config.resolve()?.normalisation();
        Ok(Metadata { mean, std, ..Metadata::imagenet(config.classes) })
    }

    /// Checks the numbers against those of the network.
    pub(crate) fn check(&self, config: &Config) -> Result<(), Error> {
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
        let one_each = |field, labels: &[String], classes: usize| {
            if labels.is_empty() || labels.len() == classes {
                return Ok(());
            }
            wrong(field, labels.len().to_string(), &format!("{classes}, one per class"))
        };
        one_each("number of labels", &self.labels, config.classes)?;
        if let Task::Detection(detection) = &config.task {
            one_each("number of box labels", &self.box_labels, detection.classes)?;
        }
        match self.frame_period {
            Some(period) if !(period.is_finite() && period > 0.0) => {
                wrong("frame period", period.to_string(), "a number of seconds above 0")
            }
            _ => Ok(()),
        }
    }

    /// Keys and values as they stand in the file, under the prefix `dyn_perceiver.`.
    pub(crate) fn entries(&self, network: &Network) -> Vec<(&'static str, String)> {
        let config = network.config();
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let size = match config.input_size {
            [height, width] if height == width => height.to_string(),
            [height, width] => format!("{height}x{width}"),
        };
        let alike = |exit: &&str| **exit != *"cnn" || config.cnn_classes.is_none();
        let exits: Vec<&str> = crate::EXITS.into_iter().filter(alike).collect();
        let mut entries = vec![
            ("dyn_perceiver.arch", config.name()),
            ("dyn_perceiver.exits", exits.join(",")),
            ("dyn_perceiver.mean", list(&self.mean)),
            ("dyn_perceiver.std", list(&self.std)),
            ("dyn_perceiver.size", size),
            ("dyn_perceiver.interpolation", self.interpolation.clone()),
            ("dyn_perceiver.crop", self.crop.to_string()),
        ];
        if !self.labels.is_empty() {
            entries.push(("dyn_perceiver.labels", Value::from(self.labels.clone()).to_string()));
        }
        match &config.task {
            Task::Classification => {}
            Task::Detection(detection) => {
                entries.push(("dyn_perceiver.task", config.task.name().to_owned()));
                entries.push(("dyn_perceiver.boxes", self.boxes(detection).to_string()));
                let presence = json!({ "exits": PRESENCE, "nothing": 0 });
                entries.push(("dyn_perceiver.presence", presence.to_string()));
            }
            Task::Action(action) => {
                entries.push(("dyn_perceiver.task", config.task.name().to_owned()));
                entries.push(("dyn_perceiver.video", action.mode.name().to_owned()));
                entries.push(("dyn_perceiver.window", action.frames.to_string()));
                let states = network.graph().states.iter();
                let pairs: Vec<Value> = states.map(|(state, next)| json!([state.name, next.name])).collect();
                if !pairs.is_empty() {
                    entries.push(("dyn_perceiver.states", Value::from(pairs).to_string()));
                }
                if let Some(period) = self.frame_period {
                    entries.push(("dyn_perceiver.frame_period", period.to_string()));
                }
            }
        }
        entries
    }

    /// Everything that turns the maps of a detector into boxes.
    fn boxes(&self, detection: &Detection) -> Value {
        let level = |(name, stride): (&str, usize)| {
            let [classes, boxes] = [format!("cls.{name}"), format!("box.{name}")];
            json!({ "name": name, "stride": stride, "classes": classes, "boxes": boxes })
        };
        let levels: Vec<Value> = LEVELS.into_iter().zip(STRIDES).map(level).collect();
        let scales: Vec<f64> = (0..OCTAVES).map(|o| SCALE * (o as f64 / OCTAVES as f64).exp2()).collect();
        debug_assert_eq!(RATIOS.len() * scales.len(), ANCHORS);
        json!({
            "classes": detection.classes,
            "labels": self.box_labels,
            "levels": levels,
            "anchors": { "ratios": RATIOS, "scales": scales, "centre": "corner" },
            "code": { "means": [0.0, 0.0, 0.0, 0.0], "deviations": [1.0, 1.0, 1.0, 1.0], "clamp": -SMALLEST_SIZE.ln() },
            "score": SCORE,
            "overlap": OVERLAP,
            "candidates": CANDIDATES,
            "boxes": BOXES,
            "fit": "letterbox",
        })
    }
}

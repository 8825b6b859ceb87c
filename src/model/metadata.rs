//! What a model file says about its input and its classes, in ONNX `metadata_props`.

use std::collections::HashMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::preprocess::{Interpolation, Preprocessing};

use super::layout::{Layout, UnknownLayout};
use super::options::LoadOptions;
use super::task::{BoxSpec, Presence};

/// Exits in the order in which the author lists them: names separated by commas.
pub(super) const EXITS: &str = "dyn_perceiver.exits";
/// Channel means, in units of a pixel value over 255: numbers separated by commas.
const MEAN: &str = "dyn_perceiver.mean";
/// Channel standard deviations, in the same units.
const STD: &str = "dyn_perceiver.std";
/// Height and width of the input, for models whose graph leaves them open: `HEIGHTxWIDTH`, or one number for a square.
pub(super) const SIZE: &str = "dyn_perceiver.size";
/// What a black and a white pixel become before mean and deviation are applied: `0,1` (the default), `0,255`, `-1,1`.
const RANGE: &str = "dyn_perceiver.range";
/// `nchw` or `nhwc`, for models whose graph leaves it open.
const LAYOUT: &str = "dyn_perceiver.layout";
/// `bilinear` or `bicubic`.
const INTERPOLATION: &str = "dyn_perceiver.interpolation";
/// Which share of the shorter side the centred square crop keeps, in (0, 1].
const CROP: &str = "dyn_perceiver.crop";
/// Class names: a JSON array of strings.
const LABELS: &str = "dyn_perceiver.labels";

/// How the maps of a detector become boxes: a JSON object.
pub(super) const BOXES: &str = "dyn_perceiver.boxes";
/// Which exits tell an empty image: a JSON object.
pub(super) const PRESENCE: &str = "dyn_perceiver.presence";
/// What goes from frame to frame: a JSON array of pairs of an input and the output that becomes it.
pub(super) const STATES: &str = "dyn_perceiver.states";
/// Frames over which answers are summed.
const WINDOW: &str = "dyn_perceiver.window";
/// Seconds between the frames of a video.
const FRAME_PERIOD: &str = "dyn_perceiver.frame_period";

/// Most states of a network of videos.
const MOST_STATES: usize = 256;

/// Where a model's normalisation comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PreprocessingSource {
    /// The file's metadata.
    #[default]
    Metadata,
    /// [`super::LoadOptions`].
    Options,
    /// The input takes 8-bit pixels, so there is nothing to normalise.
    Pixels,
    /// Nothing is said of it, and ImageNet's values are assumed; [`super::ModelInfo::warnings`] tells so.
    Assumed,
}

/// The metadata as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub exits: Option<Vec<String>>,
    pub size: Option<[usize; 2]>,
    pub layout: Option<Layout>,
    pub mean: Option<[f32; 3]>,
    pub std: Option<[f32; 3]>,
    pub range: Option<[f32; 2]>,
    pub crop: Option<f32>,
    pub interpolation: Option<Interpolation>,
    pub labels: Option<Vec<String>>,
    pub boxes: Option<BoxSpec>,
    pub presence: Option<Presence>,
    /// Input and output of each.
    pub states: Vec<[String; 2]>,
    pub window: Option<usize>,
    pub frame_period: Option<f32>,
}

/// What metadata and options together say of the input.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Height and width for a file that leaves them open.
    pub size: Option<[usize; 2]>,
    /// Whether the options ask for the size, so that a file that fixes another is refused.
    pub size_is_asked: bool,
    pub layout: Option<Layout>,
}

impl Metadata {
    /// Overrides by the options.
    pub(super) fn settings(&self, options: &LoadOptions) -> Settings {
        Settings {
            size: options.size.or(self.size),
            size_is_asked: options.size.is_some(),
            layout: options.layout.or(self.layout),
        }
    }

    /// How an image becomes the input, and who says so; `bytes` for an input of 8-bit pixels.
    ///
    /// # Errors
    /// The key of a value that makes no sense, and why.
    pub(super) fn preprocessing(
        &self,
        options: &LoadOptions,
        bytes: bool,
    ) -> Result<(Preprocessing, PreprocessingSource), (&'static str, String)> {
        let given = |a: bool, b: bool, c: bool| a || b || c;
        let source = if given(options.mean.is_some(), options.std.is_some(), options.range.is_some()) {
            PreprocessingSource::Options
        } else if bytes {
            PreprocessingSource::Pixels
        } else if given(self.mean.is_some(), self.std.is_some(), self.range.is_some()) {
            PreprocessingSource::Metadata
        } else {
            PreprocessingSource::Assumed
        };
        let image_net = Preprocessing::default();
        let (mean, std, range) = match source {
            PreprocessingSource::Pixels => ([0.0; 3], [1.0; 3], [0.0, 255.0]),
            PreprocessingSource::Assumed => (image_net.mean, image_net.std, [0.0, 1.0]),
            _ => {
                let (mean, std) = (options.mean.or(self.mean), options.std.or(self.std));
                let range = options.range.or(self.range);
                // Half of a normalisation is ImageNet's other half only where the range is the usual one.
                let plain = range.is_some();
                let mean = mean.unwrap_or(if plain { [0.0; 3] } else { image_net.mean });
                (mean, std.unwrap_or(if plain { [1.0; 3] } else { image_net.std }), range.unwrap_or([0.0, 1.0]))
            }
        };
        let [low, high] = range;
        let width = high - low;
        if !(low.is_finite() && high.is_finite() && width > 0.0) {
            return Err((RANGE, format!("expected a lower and a higher number, got {low} and {high}")));
        }
        if let Some(std) = std.iter().find(|std| !(std.is_normal() && **std > 0.0)) {
            return Err((STD, format!("expected numbers above 0, got {std}")));
        }
        if let Some(mean) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err((MEAN, format!("expected finite numbers, got {mean}")));
        }
        // ((low + p * width) - mean) / std of a pixel p in [0, 1], as (p - mean') / std'.
        let preprocessing = Preprocessing {
            mean: mean.map(|mean| (mean - low) / width),
            std: std.map(|std| std / width),
            crop: options.crop.or(self.crop).unwrap_or(image_net.crop),
            interpolation: self.interpolation.unwrap_or(image_net.interpolation),
        };
        Ok((preprocessing, source))
    }
}

/// What a model says whose normalisation is assumed.
pub(super) const ASSUMED: &str = "the file does not say how its images are normalised, and ImageNet's mean and deviation \
     are assumed: set dyn_perceiver.mean and dyn_perceiver.std in its metadata, or give --mean, --std or --range";

/// Reads the entries that are this project's; others are left alone.
///
/// # Errors
/// The key of an entry that makes no sense, and why.
pub(super) fn read(entries: &HashMap<&str, &str>) -> Result<Metadata, (&'static str, String)> {
    let mut metadata = Metadata::default();
    if let Some(names) = entries.get(EXITS) {
        metadata.exits = Some(names.split(',').map(|name| name.trim().to_string()).collect());
    }
    if let Some(text) = entries.get(SIZE) {
        let wanted = || (SIZE, format!("expected HEIGHTxWIDTH or one number above 0, got {text:?}"));
        metadata.size = Some(size(text).ok_or_else(wanted)?);
    }
    if let Some(text) = entries.get(LAYOUT) {
        metadata.layout = Some(text.parse().map_err(|e: UnknownLayout| (LAYOUT, e.to_string()))?);
    }
    if let Some(text) = entries.get(RANGE) {
        metadata.range = Some(range(text).ok_or_else(|| {
            (RANGE, format!("expected a lower and a higher number, separated by a comma, got {text:?}"))
        })?);
    }
    if let Some(text) = entries.get(MEAN) {
        metadata.mean = Some(channels(MEAN, text)?);
    }
    if let Some(text) = entries.get(STD) {
        let std = channels(STD, text)?;
        if std.iter().any(|&s| s <= 0.0) {
            return Err((STD, format!("expected numbers above 0, got {text:?}")));
        }
        metadata.std = Some(std);
    }
    if let Some(text) = entries.get(CROP) {
        let crop = number(CROP, text)?;
        if !(crop > 0.0 && crop <= 1.0) {
            return Err((CROP, format!("expected a number in (0, 1], got {text:?}")));
        }
        metadata.crop = Some(crop);
    }
    metadata.interpolation = match entries.get(INTERPOLATION).copied() {
        None => None,
        Some("bilinear") => Some(Interpolation::Bilinear),
        Some("bicubic") => Some(Interpolation::Bicubic),
        Some(other) => return Err((INTERPOLATION, format!("expected bilinear or bicubic, got {other:?}"))),
    };
    if let Some(text) = entries.get(LABELS) {
        let labels =
            serde_json::from_str(text).map_err(|e| (LABELS, format!("expected a JSON array of names: {e}")))?;
        metadata.labels = Some(labels);
    }
    read_task(entries, &mut metadata)?;
    Ok(metadata)
}

/// Reads what makes a model a detector or a network of videos.
fn read_task(entries: &HashMap<&str, &str>, metadata: &mut Metadata) -> Result<(), (&'static str, String)> {
    if let Some(text) = entries.get(BOXES) {
        let boxes: BoxSpec =
            serde_json::from_str(text).map_err(|e| (BOXES, format!("expected a JSON object of boxes: {e}")))?;
        boxes.check().map_err(|reason| (BOXES, reason))?;
        metadata.boxes = Some(boxes);
    }
    if let Some(text) = entries.get(PRESENCE) {
        let presence = serde_json::from_str(text);
        metadata.presence = Some(presence.map_err(|e| (PRESENCE, format!("expected exits and a class: {e}")))?);
    }
    if let Some(text) = entries.get(STATES) {
        let states: Vec<[String; 2]> =
            serde_json::from_str(text).map_err(|e| (STATES, format!("expected pairs of names: {e}")))?;
        let names: std::collections::HashSet<&String> = states.iter().flatten().collect();
        if states.len() > MOST_STATES || names.len() != 2 * states.len() {
            return Err((STATES, format!("expected at most {MOST_STATES} pairs, each name once")));
        }
        metadata.states = states;
    }
    if let Some(text) = entries.get(WINDOW) {
        metadata.window = Some(number(WINDOW, text)?);
    }
    if let Some(text) = entries.get(FRAME_PERIOD) {
        let period: f32 = number(FRAME_PERIOD, text)?;
        if !(period.is_finite() && period > 0.0) {
            return Err((FRAME_PERIOD, format!("expected seconds above 0, got {text:?}")));
        }
        metadata.frame_period = Some(period);
    }
    Ok(())
}

/// `224`, `192x256` or `192,256`: height and width, above 0.
pub(super) fn size(text: &str) -> Option<[usize; 2]> {
    let side = |text: &str| text.trim().parse::<usize>().ok().filter(|&side| side > 0);
    match text.split_once(['x', 'X', ',']) {
        Some((height, width)) => Some([side(height)?, side(width)?]),
        None => side(text).map(|side| [side, side]),
    }
}

fn range(text: &str) -> Option<[f32; 2]> {
    let (low, high) = text.split_once(',')?;
    let [low, high]: [f32; 2] = [low.trim().parse().ok()?, high.trim().parse().ok()?];
    (low.is_finite() && high.is_finite() && low < high).then_some([low, high])
}

fn number<T: FromStr>(key: &'static str, text: &str) -> Result<T, (&'static str, String)> {
    text.trim().parse().map_err(|_| (key, format!("expected a number, got {text:?}")))
}

fn channels(key: &'static str, text: &str) -> Result<[f32; 3], (&'static str, String)> {
    let values = text.split(',').map(|part| number::<f32>(key, part)).collect::<Result<Vec<_>, _>>()?;
    // One number is that of every channel.
    let values = if let &[one] = &values[..] { vec![one; 3] } else { values };
    match <[f32; 3]>::try_from(values.as_slice()) {
        Ok(values) if values.iter().all(|v| v.is_finite()) => Ok(values),
        _ => Err((key, format!("expected one or three finite numbers, got {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there_and_defaults_the_rest() {
        let entries = HashMap::from([(MEAN, "0.5, 0.25,0"), (SIZE, "64"), (EXITS, "a, b"), ("other", "x")]);
        let metadata = read(&entries).unwrap();
        let (preprocessing, source) = metadata.preprocessing(&LoadOptions::default(), false).unwrap();
        assert_eq!(preprocessing.mean, [0.5, 0.25, 0.0]);
        assert_eq!(preprocessing.std, Preprocessing::default().std);
        assert_eq!(source, PreprocessingSource::Metadata);
        assert_eq!(metadata.size, Some([64, 64]));
        assert_eq!(metadata.exits.unwrap(), ["a", "b"]);
        assert_eq!(metadata.labels, None);
    }

    #[test]
    fn refuses_nonsense_by_key() {
        for (key, text) in [
            (MEAN, "1,2"),
            (MEAN, "1,2,x"),
            (MEAN, "1,2,NaN"),
            (STD, "1,0,1"),
            (SIZE, "-4"),
            (SIZE, "0"),
            (SIZE, "4x"),
            (RANGE, "1"),
            (RANGE, "1,0"),
            (RANGE, "0,inf"),
            (LAYOUT, "chw"),
            (CROP, "0"),
            (CROP, "1.5"),
            (INTERPOLATION, "nearest"),
            (LABELS, "[1, 2]"),
            (LABELS, "cat,dog"),
            (BOXES, "{}"),
            (PRESENCE, "1"),
            (STATES, "[[\"a\", \"b\"], [\"a\", \"c\"]]"),
            (WINDOW, "x"),
            (FRAME_PERIOD, "0"),
        ] {
            assert_eq!(read(&HashMap::from([(key, text)])).unwrap_err().0, key, "{key} = {text}");
        }
    }

    #[test]
    fn a_range_is_part_of_mean_and_deviation() {
        let of = |entries: &[(&str, &str)], options: &LoadOptions, bytes| {
            let entries: HashMap<&str, &str> = entries.iter().copied().collect();
            read(&entries).unwrap().preprocessing(options, bytes).unwrap()
        };
        let value = |(p, _): &(Preprocessing, PreprocessingSource), pixel: f32| (pixel - p.mean[0]) / p.std[0];
        let plain = LoadOptions::default();
        let signed = of(&[(RANGE, "-1,1")], &plain, false);
        assert_eq!([value(&signed, 0.0), value(&signed, 1.0)], [-1.0, 1.0]);
        let bytes = of(&[(MEAN, "127.5"), (STD, "127.5"), (RANGE, "0,255")], &plain, false);
        assert_eq!([value(&bytes, 0.0), value(&bytes, 1.0)], [-1.0, 1.0]);
        let pixels = of(&[(MEAN, "0.5")], &plain, true);
        assert_eq!((value(&pixels, 1.0).round(), pixels.1), (255.0, PreprocessingSource::Pixels));
        let assumed = of(&[(CROP, "1")], &plain, false);
        assert_eq!(assumed.1, PreprocessingSource::Assumed);
        let asked = of(&[(MEAN, "0.5")], &plain.with_mean([0.25; 3]).with_std([0.5; 3]), false);
        assert_eq!((value(&asked, 0.75), asked.1), (1.0, PreprocessingSource::Options));
    }

    #[test]
    fn sizes_are_one_side_or_height_by_width() {
        assert_eq!(size("224"), Some([224, 224]));
        assert_eq!(size("192x256"), Some([192, 256]));
        assert_eq!(size(" 192, 256 "), Some([192, 256]));
        for text in ["", "x", "0", "1x2x3", "-1", "2.5"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}

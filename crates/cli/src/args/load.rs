//! How a model file is read: what it leaves open, or says wrongly.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use dyn_perceiver::model::{Layout, LoadOptions};

use super::number;
use crate::output::failure::{Failure, OrInput as _, wrong};

/// What `--range` takes: both have had this name, and no text is both.
#[derive(Clone, Debug, PartialEq)]
enum Ranges {
    /// What a black and a white pixel are.
    Pixels([f32; 2]),
    /// Numbers of labelled images.
    Images(Range<u64>),
}

/// How a model file is read.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub(crate) struct LoadArgs {
    /// Take these outputs as exits, by name [default: the model's metadata, else every output of shape (N, classes)]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exits: Option<Vec<String>>,
    /// Subtract this mean per channel, in units of --range; one number stands for all [default: the model's metadata]
    #[arg(long, value_name = "R,G,B", value_parser = channels)]
    mean: Option<[f32; 3]>,
    /// Divide by this standard deviation per channel, in units of --range; one number stands for all [default: the model's
    /// metadata]
    #[arg(long, value_name = "R,G,B", value_parser = deviations)]
    std: Option<[f32; 3]>,
    /// Scale pixels to this range before mean and deviation, such as 0,1 or 0,255 or -1,1 [default: the model's metadata,
    /// else 0,1]. With labelled images also FROM..TO: use only these of them, counted from 0
    #[arg(long, value_name = "BLACK,WHITE", value_parser = range, allow_hyphen_values = true)]
    range: Vec<Ranges>,
    /// Set the input's width and height, for a model that leaves them open
    #[arg(long, value_name = "WxH", value_parser = number::size)]
    size: Option<(u32, u32)>,
    /// Take the input's axes to be in this order, nchw or nhwc, for a model that does not tell
    #[arg(long, value_name = "ORDER")]
    layout: Option<Layout>,
    /// Crop the centre: this share of the image's shorter side, in (0, 1] [default: the model's metadata, else 0.875]
    #[arg(long, value_name = "NUMBER", value_parser = crop)]
    crop: Option<f32>,
    /// Read the names of the classes from this file: one a line, or a JSON array [default: the model's metadata]. With
    /// pictures for a detector the file of their boxes, as COCO's instances.json
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

impl LoadArgs {
    /// As the library takes them.
    pub(crate) fn options(&self) -> Result<LoadOptions, Failure> {
        let mut options = LoadOptions::default().with_exits(self.exits.clone());
        options.mean = self.mean;
        options.std = self.std;
        options.range = self.pixels();
        options.size = self.size.map(|(width, height)| [height as usize, width as usize]);
        options.layout = self.layout;
        options.crop = self.crop;
        options.labels = self.names().map(labels).transpose()?;
        Ok(options)
    }

    /// The file of names, where `--labels` is one.
    fn names(&self) -> Option<&Path> {
        self.labels.as_deref().filter(|path| !is_object(path))
    }

    /// The file of boxes, where `--labels` is one: a JSON object, which no list of names is.
    pub(crate) fn boxes(&self) -> Option<&Path> {
        self.labels.as_deref().filter(|path| is_object(path))
    }

    fn pixels(&self) -> Option<[f32; 2]> {
        self.range.iter().rev().find_map(|range| if let Ranges::Pixels(pixels) = range { Some(*pixels) } else { None })
    }

    /// Which of the labelled images are asked for.
    pub(crate) fn images(&self) -> Option<Range<u64>> {
        self.range
            .iter()
            .rev()
            .find_map(|range| if let Ranges::Images(images) = range { Some(images.clone()) } else { None })
    }

    /// Refuses what says how an ONNX file is read, for a bundle: it was said when the bundle was compiled.
    pub(crate) fn for_bundle(&self, path: &Path) -> Result<(), Failure> {
        let given = [
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--range", self.pixels().is_some()),
            ("--size", self.size.is_some()),
            ("--layout", self.layout.is_some()),
            ("--crop", self.crop.is_some()),
            ("--labels", self.names().is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                wrong(format!("{}: a bundle has its preprocessing in it: give {option} to `compile`", path.display()))
            }
            None => Ok(()),
        }
    }
}

/// Whether a file begins as a JSON object does; not when it cannot be read.
fn is_object(path: &Path) -> bool {
    use std::io::Read as _;
    let mut begin = [0; 64];
    let read = std::fs::metadata(path).is_ok_and(|file| file.is_file());
    let count = if read { std::fs::File::open(path).and_then(|mut file| file.read(&mut begin)) } else { Ok(0) };
    let begin = begin.get(..count.unwrap_or(0)).unwrap_or_default();
    begin.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Names of classes: one a line, or a JSON array.
pub(crate) fn labels(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string()).or_input()?;
    if text.trim_start().starts_with('[') {
        let names = serde_json::from_str(&text);
        return names.with_context(|| format!("{}: expected an array of names", path.display())).or_input();
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn numbers(text: &str) -> Option<Vec<f32>> {
    text.split(',').map(|part| part.trim().parse().ok().filter(|number: &f32| number.is_finite())).collect()
}

/// One number or three.
pub(crate) fn channels(text: &str) -> Result<[f32; 3], String> {
    match numbers(text).as_deref() {
        Some(&[all]) => Ok([all; 3]),
        Some(&[r, g, b]) => Ok([r, g, b]),
        _ => Err("expected one number or three with commas between".to_owned()),
    }
}

/// One number or three, above 0.
pub(crate) fn deviations(text: &str) -> Result<[f32; 3], String> {
    channels(text)?.iter().all(|&std| std > 0.0).then_some(()).ok_or("expected a standard deviation above 0")?;
    channels(text)
}

fn range(text: &str) -> Result<Ranges, String> {
    if let Some((from, to)) = text.split_once("..") {
        let images = from.trim().parse().ok().zip(to.trim().parse().ok()).map(|(from, to)| from..to);
        let images = images.filter(|images: &Range<u64>| images.start < images.end);
        return images.map(Ranges::Images).ok_or_else(|| "expected such as 55000..60000".to_owned());
    }
    match numbers(text).as_deref() {
        Some(&[black, white]) if black != white => Ok(Ranges::Pixels([black, white])),
        _ => Err("expected two numbers such as 0,1 or 0,255 or -1,1; for images, such as 55000..60000".to_owned()),
    }
}

/// A share of a side, which 1 is, too.
pub(crate) fn crop(text: &str) -> Result<f32, String> {
    let crop = text.trim().parse().ok().filter(|&crop: &f32| crop > 0.0 && crop <= 1.0);
    crop.ok_or_else(|| "expected a number in (0, 1]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preprocessing_options_are_read_and_bounded() {
        assert_eq!(channels("0.5"), Ok([0.5; 3]));
        assert_eq!(channels("0.1, 0.2,-0.3"), Ok([0.1, 0.2, -0.3]));
        assert!(channels("1,2").is_err() && channels("a").is_err() && channels("nan").is_err());
        assert!(deviations("1,0,1").is_err() && deviations("0.5").is_ok());
        assert_eq!(range("-1,1"), Ok(Ranges::Pixels([-1.0, 1.0])));
        assert_eq!(range("5..9"), Ok(Ranges::Images(5..9)));
        assert!(range("1,1").is_err() && range("1").is_err() && range("9..5").is_err());
        assert!(crop("0").is_err() && crop("1.1").is_err() && crop("1").is_ok());
    }
}

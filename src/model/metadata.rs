//! What a model file says about its input and its classes, in ONNX `metadata_props`.

use std::collections::HashMap;
use std::str::FromStr;

use crate::preprocess::{Interpolation, Preprocessing};

/// Exits in the order in which the author lists them: names separated by commas.
pub(super) const EXITS: &str = "dyn_perceiver.exits";
/// Channel means, in units of a pixel value over 255: numbers separated by commas.
const MEAN: &str = "dyn_perceiver.mean";
/// Channel standard deviations, in the same units.
const STD: &str = "dyn_perceiver.std";
/// The side that a square input has, for models whose graph leaves it open.
const SIZE: &str = "dyn_perceiver.size";
/// `bilinear` or `bicubic`.
const INTERPOLATION: &str = "dyn_perceiver.interpolation";
/// Which share of the shorter side the centred square crop keeps, in (0, 1].
const CROP: &str = "dyn_perceiver.crop";
/// Class names: a JSON array of strings.
const LABELS: &str = "dyn_perceiver.labels";

/// The metadata as far as it is there.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub exits: Option<Vec<String>>,
    pub size: Option<usize>,
    pub preprocessing: Preprocessing,
    pub labels: Option<Vec<String>>,
}

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
        metadata.size = Some(number::<usize>(SIZE, text)?);
    }
    let preprocessing = &mut metadata.preprocessing;
    if let Some(text) = entries.get(MEAN) {
        preprocessing.mean = channels(MEAN, text)?;
    }
    if let Some(text) = entries.get(STD) {
        preprocessing.std = channels(STD, text)?;
        if preprocessing.std.iter().any(|&s| s <= 0.0) {
            return Err((STD, format!("expected numbers above 0, got {text:?}")));
        }
    }
    if let Some(text) = entries.get(CROP) {
        preprocessing.crop = number(CROP, text)?;
        if !(preprocessing.crop > 0.0 && preprocessing.crop <= 1.0) {
            return Err((CROP, format!("expected a number in (0, 1], got {text:?}")));
        }
    }
    match entries.get(INTERPOLATION).copied() {
        None => {}
        Some("bilinear") => preprocessing.interpolation = Interpolation::Bilinear,
        Some("bicubic") => preprocessing.interpolation = Interpolation::Bicubic,
        Some(other) => return Err((INTERPOLATION, format!("expected bilinear or bicubic, got {other:?}"))),
    }
    if let Some(text) = entries.get(LABELS) {
        let labels =
            serde_json::from_str(text).map_err(|e| (LABELS, format!("expected a JSON array of names: {e}")))?;
        metadata.labels = Some(labels);
    }
    Ok(metadata)
}

fn number<T: FromStr>(key: &'static str, text: &str) -> Result<T, (&'static str, String)> {
    text.trim().parse().map_err(|_| (key, format!("expected a number, got {text:?}")))
}

fn channels(key: &'static str, text: &str) -> Result<[f32; 3], (&'static str, String)> {
    let values = text.split(',').map(|part| number::<f32>(key, part)).collect::<Result<Vec<_>, _>>()?;
    match <[f32; 3]>::try_from(values.as_slice()) {
        Ok(values) if values.iter().all(|v| v.is_finite()) => Ok(values),
        _ => Err((key, format!("expected three finite numbers, got {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there_and_defaults_the_rest() {
        let entries = HashMap::from([(MEAN, "0.5, 0.25,0"), (SIZE, "64"), (EXITS, "a, b"), ("other", "x")]);
        let metadata = read(&entries).unwrap();
        assert_eq!(metadata.preprocessing.mean, [0.5, 0.25, 0.0]);
        assert_eq!(metadata.preprocessing.std, Preprocessing::default().std);
        assert_eq!(metadata.size, Some(64));
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
            (CROP, "0"),
            (CROP, "1.5"),
            (INTERPOLATION, "nearest"),
            (LABELS, "[1, 2]"),
            (LABELS, "cat,dog"),
        ] {
            assert_eq!(read(&HashMap::from([(key, text)])).unwrap_err().0, key, "{key} = {text}");
        }
    }
}

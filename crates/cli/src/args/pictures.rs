//! Pictures with boxes, as a detector is calibrated and evaluated on.

use std::path::Path;

use dyn_perceiver::calibrate::detection::{Detected, Truth};
use dyn_perceiver::camera::{Frame, ImageLimits, decode_image};
use dyn_perceiver::dataset::{CocoPicture, SkipReason, Skipped, read_coco};
use dyn_perceiver::detector::Detection;
use dyn_perceiver::plan::Plan;

use super::images::DataArgs;
use super::load::LoadArgs;
use crate::output::failure::{Failure, OrInput as _, chain, wrong};

/// The labelled pictures of a command, for the classes of boxes of `plan`; of them those in `--range`.
pub(crate) fn open(data: &DataArgs, load: &LoadArgs, plan: &Plan) -> Result<Vec<CocoPicture>, Failure> {
    let Some(file) = load.boxes() else {
        return wrong("a detector needs the boxes of the pictures: --labels FILE, as COCO's instances.json");
    };
    let Some(spec) = &plan.info().boxes else { return wrong("the model is no detector") };
    let mut pictures = read_coco(file, &data.data, &spec.labels, spec.classes).or_input()?;
    if let Some(range) = load.images() {
        let count = pictures.len() as u64;
        if range.end > count {
            return wrong(format!("{}: {count} pictures, asked for {}..{}", file.display(), range.start, range.end));
        }
        pictures = pictures.drain(range.start as usize..range.end as usize).collect();
    }
    if pictures.is_empty() {
        return wrong(format!("{}: no pictures", file.display()));
    }
    Ok(pictures)
}

/// Reads a picture; one that cannot be read is left out, unless the data are strict.
pub(crate) fn read(path: &Path, strict: bool) -> Result<Result<Frame, Skipped>, Failure> {
    match decode_image(path, ImageLimits::default()) {
        Ok(frame) => Ok(Ok(frame)),
        Err(error) if strict => Err(Failure::Input(error.into())),
        Err(error) => Ok(Err(Skipped::new(path, SkipReason::Unreadable(chain(&error.into()))))),
    }
}

/// True boxes of a picture, which is called `image`.
pub(crate) fn truths(image: u64, picture: &CocoPicture) -> impl Iterator<Item = Truth> {
    let of = move |one: &dyn_perceiver::dataset::CocoBox| {
        Truth::new(image, one.class as u64, one.bounds).with_area(one.area).with_crowd(one.crowd)
    };
    picture.boxes.iter().map(of)
}

/// Boxes that were found in a picture.
pub(crate) fn detected(image: u64, found: &[Detection]) -> Vec<Detected> {
    let of = |found: &Detection| {
        let [x1, y1, x2, y2] = found.area.corners().map(f64::from);
        Detected::new(image, found.class as u64, [x1, y1, x2 - x1, y2 - y1], f64::from(found.score))
    };
    found.iter().map(of).collect()
}

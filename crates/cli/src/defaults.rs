//! What a command uses if nothing else is named: the trained model, its policy and its test images, which are part of the
//! program.

use std::path::Path;

use dyn_perceiver::camera::{MemoryImage, MemorySource};
use dyn_perceiver::exit::CalibratedPolicy;
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::policy_file;
use dyn_perceiver_models::pretrained;

use crate::output::failure::{Failure, OrInput as _};

/// What the model and the images are called where a path would stand.
pub(crate) const NAME: &str = pretrained::NAME;

/// The trained model's ONNX file.
pub(crate) fn bytes() -> &'static [u8] {
    pretrained::MODEL
}

/// The trained model; with the answer "none of these" beside its classes if that is asked for.
pub(crate) fn model(none_of_these: bool, options: &LoadOptions) -> Result<Model, Failure> {
    let bytes = if none_of_these { pretrained::model_with_none()? } else { pretrained::MODEL.to_vec() };
    Model::from_bytes(bytes, NAME, options).or_input()
}

/// The policy that was calibrated for it, with or without that answer.
pub(crate) fn policy(none_of_these: bool) -> Result<CalibratedPolicy, Failure> {
    let file = if none_of_these { pretrained::NONE_POLICY } else { pretrained::POLICY };
    Ok(policy_file::parse(file, Path::new(NAME))?)
}

/// Its test images, with their labels.
pub(crate) fn frames() -> MemorySource {
    let photos = pretrained::photos().into_iter().enumerate();
    MemorySource::new(
        photos.map(|(i, photo)| MemoryImage::new(format!("photo {i}"), photo.jpeg, Some(photo.label))).collect(),
    )
}

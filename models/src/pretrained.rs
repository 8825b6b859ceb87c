//! The shipped model with its policy and frames, as bytes of the program that names them.

use std::io::Cursor;

use zip::{CompressionMethod, ZipArchive};

use crate::Error;
pub use crate::shared::{with_weights_of, without_weights_of};

/// The trained Dynamic Perceiver for clothes photographed at home, an ONNX file.
pub const MODEL: &[u8] = include_bytes!("../pretrained/clothing/model.onnx");
/// Its calibrated policy, as JSON.
pub const POLICY: &[u8] = include_bytes!("../pretrained/clothing/policy.json");
/// The model with the answer "none of these" beside its classes, without the weights that [`MODEL`] has: see [`model_with_none`].
pub const NONE: &[u8] = include_bytes!("../pretrained/clothing/none.onnx");
/// The calibrated policy of the model with that answer, as JSON.
pub const NONE_POLICY: &[u8] = include_bytes!("../pretrained/clothing/none.policy.json");
/// The names of its classes, one a line.
pub const LABELS: &str = include_str!("../pretrained/clothing/labels.txt");
/// Test photos, a zip file without compression: a folder per class.
pub const FRAMES: &[u8] = include_bytes!("../pretrained/clothing/frames.zip");
/// What the model is called where a path would stand.
pub const NAME: &str = "clothing (built in)";

/// The ONNX file of [`MODEL`] with "none of these" as the last class of every exit.
///
/// # Errors
/// [`Error::Malformed`], of a program whose files were changed.
pub fn model_with_none() -> Result<Vec<u8>, Error> {
    with_weights_of(MODEL, NONE)
}

/// A test photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Photo {
    /// Its class.
    pub label: u32,
    /// The JPEG file.
    pub jpeg: &'static [u8],
}

/// The test photos, in the order of the file.
pub fn photos() -> Vec<Photo> {
    // Part of the program, as a test holds it to.
    let Ok(mut archive) = ZipArchive::new(Cursor::new(FRAMES)) else { return Vec::new() };
    (0..archive.len()).filter_map(|i| photo(&mut archive, i)).collect()
}

fn photo(archive: &mut ZipArchive<Cursor<&'static [u8]>>, i: usize) -> Option<Photo> {
    let file = archive.by_index(i).ok().filter(|file| file.compression() == CompressionMethod::Stored)?;
    let name = file.name().ok()?;
    let folder = name.split('/').next()?;
    let label = LABELS.lines().position(|class| class == folder)?;
    let start = usize::try_from(file.data_start()?).ok()?;
    let end = start.checked_add(usize::try_from(file.size()).ok()?)?;
    Some(Photo { label: label as u32, jpeg: FRAMES.get(start..end)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_photo_is_a_jpeg_of_a_known_class() {
        let photos = photos();
        assert_eq!(photos.len(), ZipArchive::new(Cursor::new(FRAMES)).unwrap().len());
        assert!(photos.len() > 50);
        assert!(
            photos.iter().all(|photo| photo.jpeg.starts_with(&[0xff, 0xd8]) && photo.jpeg.ends_with(&[0xff, 0xd9]))
        );
        let classes = LABELS.lines().count() as u32;
        assert!((0..classes).all(|class| photos.iter().any(|photo| photo.label == class)));
    }
}

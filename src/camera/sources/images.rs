//! Image files, alone or in folders.

use std::path::{Path, PathBuf};

use super::decode::{Decoder, ImageLimits};
use crate::camera::{CameraError, Frame, FrameSource};
use crate::dataset::{ClassMatch, ImageFolder};

/// Image files, one frame each, in the order given or by name within a folder.
///
/// JPEG, PNG, WebP and BMP files are read, each known by its contents; see [`decode_image`](super::decode_image) for what
/// becomes of their pixels. A file that cannot be decoded is an error of its [`read`](FrameSource::read); the next call goes
/// on with the file after it.
#[derive(Debug)]
pub struct ImageSource {
    files: Vec<(PathBuf, Option<u32>)>,
    next: usize,
    /// How often the folder has changed from a file to the next.
    folders: u64,
    decoder: Decoder,
}

impl ImageSource {
    /// The files named, in that order.
    #[must_use]
    pub fn files(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self::labelled(paths.into_iter().map(|path| (path, None)))
    }

    /// The files named, in that order, each with its class where that is known.
    #[must_use]
    pub fn labelled(files: impl IntoIterator<Item = (PathBuf, Option<u32>)>) -> Self {
        Self { files: files.into_iter().collect(), next: 0, folders: 0, decoder: Decoder::default() }
    }

    /// With other limits of what a file may cost.
    #[must_use]
    pub fn with_limits(mut self, limits: ImageLimits) -> Self {
        self.decoder = Decoder::new(limits);
        self
    }

    /// Opens one file, or all images of a folder and the folders below, in the order of [`ImageFolder::images`].
    ///
    /// Where all images lie in folders, the label of an image is the place of its folder among those with images, in the
    /// order of names, as in torchvision's `ImageFolder`. Where a model's classes are known, they should rather be matched:
    /// see [`ImageSource::folder`]. Where some lie beside folders, no image has a label.
    ///
    /// # Errors
    /// [`CameraError`] when the path cannot be read or holds no image.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CameraError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|source| CameraError::Io { path: path.into(), source })?;
        if !metadata.is_dir() {
            return Ok(Self::files([path.to_path_buf()]));
        }
        let folder = ImageFolder::read(path)?;
        if folder.images().is_empty() {
            let expected = "a folder with .png, .jpg, .bmp or .webp files";
            return Err(CameraError::Empty { path: path.into(), expected });
        }
        Ok(Self::folder(&folder, folder.number_classes().as_ref()))
    }

    /// The images of a folder that was read, with the labels of their class folders; images beside these are left out.
    /// Without classes all images, none with a label.
    #[must_use]
    pub fn folder(folder: &ImageFolder, classes: Option<&ClassMatch>) -> Self {
        let images = folder.images().iter();
        let files = images.filter_map(|image| {
            let Some(classes) = classes else { return Some((image.path.clone(), None)) };
            let label = classes.labels.get(image.folder?).copied().flatten()?;
            Some((image.path.clone(), Some(label)))
        });
        Self::labelled(files)
    }

    /// The file of frame number `sequence`.
    #[must_use]
    pub fn path(&self, sequence: u64) -> Option<&Path> {
        usize::try_from(sequence).ok().and_then(|i| self.files.get(i)).map(|(path, _)| path.as_path())
    }
}

impl FrameSource for ImageSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let Some((path, label)) = self.files.get(self.next) else { return Ok(false) };
        let sequence = self.next as u64;
        let before = self.next.checked_sub(1).and_then(|before| self.files.get(before));
        self.folders += u64::from(before.is_some_and(|(before, _)| before.parent() != path.parent()));
        self.next += 1;
        self.decoder.read(path, frame)?;
        frame.sequence = sequence;
        frame.label = *label;
        Ok(true)
    }

    fn frames(&self) -> Option<u64> {
        Some(self.files.len() as u64)
    }

    fn stream(&self) -> u64 {
        self.folders
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, RgbImage};

    use super::*;
    use crate::camera::PixelFormat;

    #[test]
    fn a_folder_is_read_by_name_and_goes_on_after_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        RgbImage::from_pixel(5, 4, image::Rgb([10, 20, 30])).save(at("a.png")).unwrap();
        GrayImage::from_pixel(3, 2, image::Luma([77])).save(at("c.PNG")).unwrap();
        let whole = std::fs::read(at("a.png")).unwrap();
        std::fs::write(at("b.png"), &whole[..whole.len() / 2]).unwrap();
        std::fs::write(at("d.jpg"), b"hello").unwrap();
        std::fs::write(at("e.jpeg"), b"").unwrap();
        std::fs::write(at("notes.txt"), b"not looked at").unwrap();
        std::fs::write(at(".hidden.png"), b"not looked at").unwrap();

        let mut source = ImageSource::open(folder.path()).unwrap();
        assert_eq!(source.frames(), Some(5));
        let frame = source.next().unwrap().unwrap();
        assert_eq!((frame.format, frame.width, frame.height, frame.label), (PixelFormat::Rgb, 5, 4, None));
        assert_eq!(frame.pixels[..3], [10, 20, 30]);
        let error = source.next().unwrap_err().to_string();
        assert!(error.contains("b.png: not a readable image"), "{error}");
        let frame = source.next().unwrap().unwrap();
        assert_eq!((frame.format, frame.sequence, frame.pixels), (PixelFormat::Grey, 2, vec![77; 6]));
        assert!(source.path(2).unwrap().ends_with("c.PNG"));
        assert!(source.next().unwrap_err().to_string().contains("d.jpg: not a readable image"));
        assert!(source.next().unwrap_err().to_string().contains("e.jpeg: an image expected, but it is empty"));
        assert!(source.next().unwrap().is_none());
    }

    #[test]
    fn folders_in_a_folder_are_classes() {
        let folder = tempfile::tempdir().unwrap();
        for (class, value) in [("dog", 2), ("ant", 0), ("cat", 1)] {
            std::fs::create_dir(folder.path().join(class)).unwrap();
            GrayImage::from_pixel(2, 2, image::Luma([value])).save(folder.path().join(class).join("x.png")).unwrap();
        }
        let mut source = ImageSource::open(folder.path()).unwrap();
        for label in 0..3 {
            let frame = source.next().unwrap().unwrap();
            assert_eq!((frame.label, frame.pixels[0]), (Some(label), label as u8));
        }
        assert!(source.next().unwrap().is_none());
    }

    #[test]
    fn images_beside_folders_take_all_labels_away() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("cat/2024")).unwrap();
        for name in ["sheet.bmp", "cat/2024/a.png"] {
            GrayImage::from_pixel(2, 2, image::Luma([1])).save(folder.path().join(name)).unwrap();
        }
        let mut source = ImageSource::open(folder.path()).unwrap();
        for name in ["sheet.bmp", "a.png"] {
            let frame = source.next().unwrap().unwrap();
            assert_eq!(frame.label, None);
            assert!(source.path(frame.sequence).unwrap().ends_with(name));
        }
        assert!(source.next().unwrap().is_none());
    }

    #[test]
    fn a_missing_path_or_an_empty_folder_is_named() {
        assert!(ImageSource::open("no/such.png").unwrap_err().to_string().eq("no/such.png: cannot be read"));
        let folder = tempfile::tempdir().unwrap();
        let error = ImageSource::open(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("a folder with .png, .jpg, .bmp or .webp files expected, but it is empty"), "{error}");
    }
}

//! Photos of a user's own classes: a folder per class, to which photos are added.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::dataset::{ClassOrder, ImageFolder};

use crate::output::failure::{Failure, OrInput as _, wrong};

/// A photo and the class it is of, as `CLASS=IMAGE`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Addition {
    class: String,
    image: PathBuf,
}

impl FromStr for Addition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (class, image) = text.split_once('=').ok_or("expected CLASS=IMAGE, such as mug=photo.jpg")?;
        let component = Path::new(class).components().count() == 1 && !class.starts_with('.') && !class.contains('/');
        if !component {
            return Err("expected the name of a class in front of =, which is also that of a folder".into());
        }
        Ok(Addition { class: class.into(), image: image.into() })
    }
}

/// Copies photos into the folders of their classes, or moves those that lie in another class's. One that is there already
/// under that name is replaced.
pub(super) fn add(folder: &Path, additions: &[Addition]) -> Result<(), Failure> {
    for Addition { class, image } in additions {
        // A file that is no photo is refused before anything is copied.
        decode_image(image, ImageLimits::default()).or_input()?;
        let place = folder.join(class);
        std::fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
        let name = image.file_name().unwrap_or_default();
        let to = place.join(name);
        // An answer that is corrected: a photo of this folder leaves the class it was in.
        let inside = folder.canonicalize().is_ok_and(|f| image.canonicalize().is_ok_and(|image| image.starts_with(f)));
        if inside {
            std::fs::rename(image, &to).with_context(|| image.display().to_string())?;
            continue;
        }
        let bytes = std::fs::read(image).with_context(|| image.display().to_string())?;
        dyn_perceiver::file::atomic_write(&to, &bytes)?;
    }
    Ok(())
}

/// Photos in class folders.
#[derive(Debug)]
pub(super) struct Photos {
    folder: PathBuf,
    classes: Vec<String>,
    all: Vec<(PathBuf, usize)>,
}

impl Photos {
    /// The photos below `path`, whose folders are the classes, in the order of their names.
    pub(super) fn read(path: &Path) -> Result<Photos, Failure> {
        let folder = ImageFolder::read(path).or_input()?;
        let names: Vec<&str> = folder.folders().collect();
        let mut count = vec![0; names.len()];
        folder.images().iter().filter_map(|image| image.folder).for_each(|place| count[place] += 1);
        let mut place_of = vec![None; names.len()];
        let mut classes = vec![];
        for (place, name) in names.iter().enumerate().filter(|(place, _)| count[*place] > 0) {
            place_of[place] = Some(classes.len());
            classes.push((*name).to_owned());
        }
        if classes.len() < 2 {
            return wrong(format!(
                "{}: expected a folder of photos for each of at least 2 classes, found {}",
                path.display(),
                classes.len()
            ));
        }
        let all = folder.images().iter().filter_map(|image| Some((image.path.clone(), place_of[image.folder?]?)));
        Ok(Photos { folder: path.into(), classes, all: all.collect() })
    }

    /// The photos below `path` of a network's own classes, of each of which there is a folder.
    pub(super) fn of_classes(path: &Path, labels: &[String]) -> Result<Photos, Failure> {
        let folder = ImageFolder::read(path).or_input()?;
        if labels.is_empty() {
            return wrong("the network's classes have no names: give them with --labels");
        }
        let found = folder.match_classes(Some(labels), labels.len()).or_input()?;
        let missing = (0u32..).zip(labels).find(|(class, _)| !found.labels.contains(&Some(*class)));
        if let (ClassOrder::Names, None) = (&found.order, missing) {
            let label = |place: Option<usize>| found.labels.get(place?).copied().flatten().map(|label| label as usize);
            let all = folder.images().iter().filter_map(|image| Some((image.path.clone(), label(image.folder)?)));
            return Ok(Photos { folder: path.into(), classes: labels.to_vec(), all: all.collect() });
        }
        let missing = missing.map_or(String::new(), |(_, name)| format!(", none for {name}"));
        wrong(format!("{}: expected a folder of photos for each of the network's classes{missing}", path.display()))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn classes(&self) -> &[String] {
        &self.classes
    }

    pub(super) fn all(&self) -> &[(PathBuf, usize)] {
        &self.all
    }

    /// How many of `labels` are of each class.
    pub(super) fn counts(&self, labels: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        labels.iter().for_each(|&label| counts[label] += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_name_a_class_and_an_image() {
        let read = |text: &str| text.parse::<Addition>();
        assert_eq!(read("mug=a=b.jpg").unwrap(), Addition { class: "mug".into(), image: "a=b.jpg".into() });
        for wrong in ["mug", "../mug=a.jpg", "=a.jpg", "a/b=c.jpg", ".hidden=a.jpg"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

//! Pictures with boxes, as COCO's `instances.json` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Bytes that a file of labels may have: COCO's own are 450 MB.
const MOST_BYTES: u64 = 1 << 30;

/// Why a file of labels was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CocoError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no such JSON.
    #[error("{}: expected images, annotations and categories as COCO has them", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// Its content makes no sense, or does not fit the model.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A picture with its boxes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CocoPicture {
    /// Its number in the file.
    pub id: u64,
    /// Its file.
    pub path: PathBuf,
    /// What is in it.
    pub boxes: Vec<CocoBox>,
}

/// A box in a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CocoBox {
    /// The model's class.
    pub class: usize,
    /// Left, top, width and height in pixels.
    pub bounds: [f64; 4],
    /// Square pixels of the object.
    pub area: f64,
    /// Whether it is a crowd of objects.
    pub crowd: bool,
}

impl CocoPicture {
    /// Whether there is no object in it; a crowd alone leaves that open, and counts as one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }
}

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

/// Reads a file of labels whose pictures lie in `folder`. Categories are the model's classes of the same name; of a model
/// without names, they are its classes in the order of their numbers.
///
/// # Errors
/// [`CocoError`] when the file cannot be read, is no such JSON, names a picture outside of the folder or one that it does not
/// list, has a box that is none, or categories that are not the model's.
pub fn read_coco(file: &Path, folder: &Path, labels: &[String], classes: usize) -> Result<Vec<CocoPicture>, CocoError> {
    let read = |source| CocoError::Read { path: file.into(), source };
    let wrong = |reason: String| CocoError::Content { path: file.into(), reason };
    let bytes = fs::metadata(file).map_err(read)?.len();
    if bytes > MOST_BYTES {
        return Err(wrong(format!("{bytes} bytes, expected at most {MOST_BYTES}")));
    }
    let text = fs::read(file).map_err(read)?;
    let parsed: File = serde_json::from_slice(&text).map_err(|source| CocoError::Json { path: file.into(), source })?;
    let classes = classes_of(&parsed.categories, labels, classes).map_err(wrong)?;
    let mut places = BTreeMap::new();
    let mut pictures = Vec::with_capacity(parsed.images.len());
    for Image { id, file_name } in parsed.images {
        let name = Path::new(&file_name);
        if !name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(wrong(format!("picture {file_name:?} is not a path below the folder")));
        }
        if places.insert(id, pictures.len()).is_some() {
            return Err(wrong(format!("two pictures have the number {id}")));
        }
        pictures.push(CocoPicture { id, path: folder.join(name), boxes: vec![] });
    }
    for Annotation { image_id, category_id, bbox, area, iscrowd } in parsed.annotations {
        let picture = places.get(&image_id).and_then(|&place| pictures.get_mut(place));
        let picture = picture.ok_or_else(|| wrong(format!("a box is in picture {image_id}, which is not listed")))?;
        let class =
            *classes.get(&category_id).ok_or_else(|| wrong(format!("no category has the number {category_id}")))?;
        let area = area.unwrap_or(bbox[2] * bbox[3]);
        let numbers = bbox.iter().chain([&area]).all(|value| value.is_finite());
        if !numbers || bbox[2] < 0.0 || bbox[3] < 0.0 || area < 0.0 {
            return Err(wrong(format!("picture {image_id}: {bbox:?} is no box of left, top, width and height")));
        }
        picture.boxes.push(CocoBox { class, bounds: bbox, area, crowd: iscrowd != 0 });
    }
    Ok(pictures)
}

/// The model's class of each category.
fn classes_of(categories: &[Category], labels: &[String], classes: usize) -> Result<BTreeMap<u64, usize>, String> {
    let mut ids: Vec<u64> = categories.iter().map(|category| category.id).collect();
    ids.sort_unstable();
    if ids.iter().collect::<BTreeSet<_>>().len() != ids.len() {
        return Err("two categories have the same number".into());
    }
    if labels.is_empty() {
        if ids.len() != classes {
            return Err(format!("{} categories, but the model has {classes} classes without names", ids.len()));
        }
        return Ok(ids.into_iter().zip(0..).collect());
    }
    let class = |Category { id, name }: &Category| match labels.iter().position(|label| label == name) {
        Some(class) => Ok((*id, class)),
        None => Err(format!("the model has no class {name:?}: it has {}", labels.join(", "))),
    };
    categories.iter().map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b/c.png"}],
        "annotations": [{"image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 1},
                        {"image_id": 9, "category_id": 2, "bbox": [0, 0, 2, 2], "area": 3.5}],
        "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}], "info": {}}"#;

    fn read(text: &str, labels: &[&str]) -> Result<Vec<CocoPicture>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("instances.json");
        fs::write(&file, text).unwrap();
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        read_coco(&file, Path::new("images"), &labels, 2).map_err(|error| error.to_string())
    }

    #[test]
    fn boxes_are_with_their_pictures_and_classes() {
        let pictures = read(TEXT, &["dog", "cat"]).unwrap();
        assert!(pictures[0].is_empty() && pictures[1].path == Path::new("images/b/c.png"));
        let boxes = &pictures[1].boxes;
        assert_eq!((boxes[0].class, boxes[0].crowd, boxes[0].area), (0, true, 12.0));
        assert_eq!((boxes[1].class, boxes[1].bounds, boxes[1].area), (1, [0.0, 0.0, 2.0, 2.0], 3.5));
        // Without names, by their numbers.
        assert_eq!(read(TEXT, &[]).unwrap()[1].boxes[0].class, 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (from, to, part) in [
            ("a.png", "../a.png", "not a path below"),
            ("a.png", "/a.png", "not a path below"),
            ("\"id\": 9", "\"id\": 7", "number 7"),
            ("\"image_id\": 9, \"category_id\": 2", "\"image_id\": 8, \"category_id\": 2", "picture 8"),
            ("\"category_id\": 2", "\"category_id\": 3", "number 3"),
            ("[0, 0, 2, 2]", "[0, 0, -2, 2]", "no box"),
            ("\"area\": 3.5", "\"area\": -1", "no box"),
            ("\"name\": \"cat\"", "\"name\": \"cow\"", "\"cow\""),
            ("\"id\": 2", "\"id\": 5", "same number"),
            ("\"images\"", "\"pictures\"", "as COCO has them"),
        ] {
            let error = read(&TEXT.replacen(from, to, 1), &["dog", "cat"]).unwrap_err();
            assert!(error.contains(part), "{to}: {error}");
        }
    }
}

//! Which class of a model each class folder is.

use std::collections::HashMap;
use std::fmt;

use super::error::DatasetError;
use super::folder::{Below, ImageFolder};
use super::skipped::{SkipReason, Skipped};

/// What the parts of a data set are called, where a person gives the folder above them.
const PARTS: [&str; 12] =
    ["train", "training", "trn", "val", "valid", "validation", "dev", "test", "testing", "tst", "eval", "holdout"];

/// How the labels of class folders were found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassOrder {
    /// Every folder is named like one of the model's classes.
    Names,
    /// Every folder is named by the number of its class.
    Numbers,
    /// Folders are numbered in the order of their names, as torchvision does, for want of better.
    Order {
        /// Class folders with images.
        folders: usize,
        /// Classes of the model.
        classes: usize,
        /// The first folder and the class that it is taken for, where the model names its classes.
        differs: Option<(String, String)>,
    },
}

impl ClassOrder {
    /// Whether a person should look at it: folders are numbered in order, while the model's names or number of classes
    /// differ from theirs.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self, ClassOrder::Order { folders, classes, differs } if differs.is_some() || folders != classes)
    }
}

impl fmt::Display for ClassOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClassOrder::Names => f.write_str("class folders are matched by name"),
            ClassOrder::Numbers => f.write_str("class folders are named by number"),
            ClassOrder::Order { folders, classes, differs } => {
                write!(f, "{folders} class folders are numbered in the order of their names")?;
                if folders != classes {
                    write!(f, ", but the model has {classes} classes")?;
                }
                if let Some((folder, class)) = differs {
                    write!(f, "; folder {folder:?} is taken for class {class:?}")?;
                }
                Ok(())
            }
        }
    }
}

/// The labels of class folders.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassMatch {
    /// How they were found.
    pub order: ClassOrder,
    /// The label of each of [`ImageFolder::folders`]; none for those without an image.
    pub labels: Vec<Option<u32>>,
    /// Images beside the class folders, and folders without an image: left out.
    pub skipped: Vec<Skipped>,
}

impl ImageFolder {
    /// Finds the label of each folder directly below, for a model with so many classes that are perhaps named.
    ///
    /// Folders named like the model's classes are matched by name; letters' case and all but letters and digits do not
    /// count, so that `T-shirt_top` is the class `T-shirt/top`. Where no folder is named so, folders named by number are
    /// that class if some class has no folder, and all others are numbered in the order of their names. A folder without
    /// an image is passed over, unless the number of classes shows that it is one.
    ///
    /// # Errors
    /// [`DatasetError`] when there are no class folders, a data set's parts in their place, too many, or only some named
    /// like classes.
    pub fn match_classes(&self, names: Option<&[String]>, classes: usize) -> Result<ClassMatch, DatasetError> {
        let path = self.path.clone();
        let filled: Vec<&Below> = self.below.iter().filter(|below| below.images > 0).collect();
        if filled.is_empty() {
            return Err(DatasetError::NoClasses { path });
        }
        let (labels, order) = match names.map(|names| self.by_name(&filled, names)).transpose()?.flatten() {
            Some(labels) => (labels, ClassOrder::Names),
            None => {
                self.refuse_wrong_level(&filled)?;
                if filled.len() > classes {
                    return Err(DatasetError::TooMany { path, folders: filled.len(), classes });
                }
                match by_number(&filled, classes) {
                    Some(labels) => (labels, ClassOrder::Numbers),
                    None => self.in_order(&filled, names, classes),
                }
            }
        };
        let mut labels = labels.into_iter();
        let labels = self.below.iter().map(|below| if below.images > 0 { labels.next() } else { None }).collect();
        let stray = self.beside().map(|image| Skipped::new(&image.path, SkipReason::Stray));
        let empty = self.below.iter().filter(|below| below.images == 0);
        let skipped = stray.chain(empty.map(|below| Skipped::new(&below.path, SkipReason::EmptyFolder))).collect();
        Ok(ClassMatch { order, labels, skipped })
    }

    /// Class folders with images, numbered in the order of their names; none where images lie beside them, or in none.
    pub(crate) fn number_classes(&self) -> Option<ClassMatch> {
        let filled: Vec<&Below> = self.below.iter().filter(|below| below.images > 0).collect();
        if filled.is_empty() || self.beside().next().is_some() {
            return None;
        }
        let (order, mut next) =
            (ClassOrder::Order { folders: filled.len(), classes: filled.len(), differs: None }, 0..);
        let labels = self.below.iter().map(|below| if below.images > 0 { next.next() } else { None }).collect();
        Some(ClassMatch { order, labels, skipped: vec![] })
    }

    /// The class of every folder by its name; none where no folder is named like a class.
    fn by_name(&self, filled: &[&Below], names: &[String]) -> Result<Option<Vec<u32>>, DatasetError> {
        let known = known_names(names);
        let found: Vec<Option<u32>> = filled.iter().map(|below| known.get(&plain(&below.name)).copied()).collect();
        let matched = found.iter().flatten().count();
        if matched == 0 {
            return Ok(None);
        }
        let path = self.path.clone();
        let mut taken: HashMap<u32, &str> = HashMap::new();
        let mut labels = vec![];
        for (below, class) in filled.iter().zip(found) {
            let folder = below.name.clone();
            let Some(class) = class else {
                let (folders, classes) = (filled.len(), names.to_vec());
                return Err(DatasetError::Name { path, folder, matched, folders, classes });
            };
            if let Some(first) = taken.insert(class, &below.name) {
                let class = names.get(class as usize).cloned().unwrap_or_default();
                return Err(DatasetError::Twice { path, first: first.into(), second: folder, class });
            }
            labels.push(class);
        }
        Ok(Some(labels))
    }

    /// Refuses the folder above the one with the class folders.
    fn refuse_wrong_level(&self, filled: &[&Below]) -> Result<(), DatasetError> {
        let path = self.path.clone();
        if filled.iter().all(|below| PARTS.contains(&below.name.to_lowercase().as_str())) {
            return Err(DatasetError::Split { path, parts: filled.iter().map(|below| below.name.clone()).collect() });
        }
        match filled {
            [only] if only.own == 0 && only.holding > 1 => Err(DatasetError::Above { path, folder: only.name.clone() }),
            _ => Ok(()),
        }
    }

    /// Numbers in the order of names. Folders without an image count where there are then as many as classes.
    fn in_order(&self, filled: &[&Below], names: Option<&[String]>, classes: usize) -> (Vec<u32>, ClassOrder) {
        let all = self.below.len() == classes;
        let counted = self.below.iter().filter(|below| all || below.images > 0).enumerate();
        let labels: Vec<u32> = counted.filter(|(_, below)| below.images > 0).map(|(at, _)| at as u32).collect();
        let class = |label: &u32| names.and_then(|names| names.get(*label as usize)).cloned();
        let differs =
            filled.first().zip(labels.first().and_then(class)).map(|(below, class)| (below.name.clone(), class));
        let folders = if all { classes } else { filled.len() };
        (labels, ClassOrder::Order { folders, classes, differs })
    }
}

/// Classes by number, where every folder is named by one and some class has no folder. A whole set of numbers is left to
/// the order of names, in which `10` comes before `2`: so do those who train on such folders.
fn by_number(filled: &[&Below], classes: usize) -> Option<Vec<u32>> {
    let number = |below: &&Below| below.name.parse::<u32>().ok().filter(|&class| (class as usize) < classes);
    let labels: Vec<u32> = filled.iter().map(number).collect::<Option<_>>()?;
    let mut distinct = labels.clone();
    distinct.sort_unstable();
    distinct.dedup();
    (distinct.len() == labels.len() && labels.len() < classes).then_some(labels)
}

/// Class names by what counts of them. A name with commas is known by its parts too, as in ImageNet's `tench, Tinca`; what
/// two classes are called is nobody's name.
fn known_names(names: &[String]) -> HashMap<String, u32> {
    let mut known: HashMap<String, Option<u32>> = HashMap::new();
    for (class, name) in (0..).zip(names) {
        let mut called: Vec<String> = name.split(',').chain([name.as_str()]).map(plain).collect();
        called.sort_unstable();
        called.dedup();
        for name in called.into_iter().filter(|name| !name.is_empty()) {
            known.entry(name).and_modify(|class| *class = None).or_insert(Some(class));
        }
    }
    known.into_iter().filter_map(|(name, class)| Some((name, class?))).collect()
}

/// Letters and digits in lower case: all that a folder's name can keep of a class's.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::super::folder::tests::tree;
    use super::*;

    fn matched(files: &[&str], names: Option<&[&str]>, classes: usize) -> Result<ClassMatch, String> {
        let folder = tree(files);
        let names: Option<Vec<String>> = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let found = ImageFolder::read(folder.path()).unwrap().match_classes(names.as_deref(), classes);
        found.map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DATA"))
    }

    const FASHION: [&str; 4] = ["T-shirt/top", "Trouser", "Ankle boot", "Bag"];

    #[test]
    fn class_folders_are_matched_by_name() {
        let found = matched(&["Ankle boot/a.png", "bag/a.png", "t-shirt_top/a.png"], Some(&FASHION), 4).unwrap();
        assert_eq!((found.labels, found.order), (vec![Some(2), Some(3), Some(0)], ClassOrder::Names));
        let found = matched(&["tinca tinca/a.png", "trout/b.png"], Some(&["trout", "tench, Tinca tinca"]), 2).unwrap();
        assert_eq!(found.labels, [Some(1), Some(0)]);
    }

    #[test]
    fn class_folders_that_differ_in_part_are_refused() {
        let error = matched(&["Bag/a.png", "Boots/a.png"], Some(&FASHION), 4).unwrap_err();
        assert_eq!(
            error,
            "DATA: 1 of 2 folders are named like classes of the model, but \"Boots\" is not; the model's are \
             \"T-shirt/top\", \"Trouser\", \"Ankle boot\", \"Bag\""
        );
        let error = matched(&["Bag/a.png", "bag_/a.png"], Some(&FASHION), 4).unwrap_err();
        assert_eq!(error, "DATA: both \"Bag\" and \"bag_\" are named like the model's class \"Bag\"");
    }

    #[test]
    fn class_folders_of_other_names_are_numbered_and_told() {
        let found = matched(&["ant/a.png", "bee/a.png"], Some(&FASHION), 4).unwrap();
        assert_eq!(found.labels, [Some(0), Some(1)]);
        assert!(found.order.is_doubtful());
        assert_eq!(
            found.order.to_string(),
            "2 class folders are numbered in the order of their names, but the model has 4 classes; folder \"ant\" is \
             taken for class \"T-shirt/top\""
        );
        let found = matched(&["ant/a.png", "bee/a.png"], None, 2).unwrap();
        assert!(!found.order.is_doubtful());
        let error = matched(&["a/x.png", "b/x.png", "c/x.png"], None, 2).unwrap_err();
        assert_eq!(error, "DATA: 3 class folders, but the model has 2 classes");
    }

    #[test]
    fn class_folders_named_by_number_are_those_classes() {
        let found = matched(&["7/a.png", "3/a.png"], None, 10).unwrap();
        assert_eq!((found.labels, found.order), (vec![Some(3), Some(7)], ClassOrder::Numbers));
        // A whole set is in the order that training gave it.
        let files: Vec<String> = (0..11).map(|class| format!("{class}/a.png")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let found = matched(&files, None, 11).unwrap();
        assert_eq!(found.labels[2], Some(2));
        assert!(!found.order.is_doubtful());
    }

    #[test]
    fn class_labels_are_not_shifted_by_what_lies_beside() {
        let files = ["ant/a.png", "bee/", "cat/a.png", "sheet.png", "__MACOSX/x.png", ".ipynb_checkpoints/y.png"];
        let found = matched(&files, None, 2).unwrap();
        assert_eq!(found.labels, [Some(0), None, Some(1)]);
        let reasons: Vec<SkipReason> = found.skipped.into_iter().map(|skipped| skipped.reason).collect();
        assert_eq!(reasons, [SkipReason::Stray, SkipReason::EmptyFolder]);
        // With three classes the empty folder is one of them.
        assert_eq!(matched(&files, None, 3).unwrap().labels, [Some(0), None, Some(2)]);
        assert_eq!(matched(&files, Some(&["bee", "cat", "ant"]), 3).unwrap().labels, [Some(2), None, Some(1)]);
    }

    #[test]
    fn class_folders_one_level_up_are_explained() {
        let error = matched(&["train/cat/a.png", "val/cat/a.png"], None, 10).unwrap_err();
        assert_eq!(
            error,
            "DATA: holds train and val, the parts of a data set, and no class folders: give one of them, such as DATA/val"
        );
        let error = matched(&["images/cat/a.png", "images/dog/a.png"], None, 10).unwrap_err();
        assert_eq!(error, "DATA: holds one folder, in which the class folders lie: give DATA/images");
        let error = matched(&["a.png"], None, 10).unwrap_err();
        assert_eq!(error, "DATA: the images have no label: expected a folder per class");
        // A class may be called so.
        assert!(matched(&["train/a.png", "bus/a.png"], Some(&["bus", "train"]), 2).is_ok());
        assert!(matched(&["train/a.png", "bus/a.png"], None, 2).is_ok());
    }
}

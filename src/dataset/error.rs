//! Why a folder is no data set for a model.

use std::path::PathBuf;

use thiserror::Error;

/// A folder that cannot be read.
#[derive(Debug, Error)]
#[error("{}: cannot be read", path.display())]
pub struct FolderError {
    pub(crate) path: PathBuf,
    pub(crate) source: std::io::Error,
}

/// Why the labels of a folder's images cannot be known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// There are images, but no folder per class.
    #[error("{}: the images have no label: expected a folder per class", path.display())]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds the parts of a data set, and not its classes.
    #[error("{}: holds {}, the parts of a data set, and no class folders: give one of them, such as {}",
        path.display(), parts.join(" and "), path.join(&parts[parts.len() - 1]).display())]
    Split {
        /// The folder.
        path: PathBuf,
        /// Its folders; at least one.
        parts: Vec<String>,
    },
    /// The folder holds one folder, and that the classes.
    #[error("{}: holds one folder, in which the class folders lie: give {}", path.display(), path.join(folder).display())]
    Above {
        /// The folder.
        path: PathBuf,
        /// The folder in it.
        folder: String,
    },
    /// Some class folders are named like classes of the model, and this one is not.
    #[error("{}: {matched} of {folders} folders are named like classes of the model, but {folder:?} is not; \
        the model's are {}", path.display(), list(classes))]
    Name {
        /// The folder that holds the class folders.
        path: PathBuf,
        /// The first folder that is named like no class.
        folder: String,
        /// Folders that are.
        matched: usize,
        /// All class folders.
        folders: usize,
        /// Classes of the model.
        classes: Vec<String>,
    },
    /// Two class folders are named like one class.
    #[error("{}: both {first:?} and {second:?} are named like the model's class {class:?}", path.display())]
    Twice {
        /// The folder that holds the class folders.
        path: PathBuf,
        /// One class folder.
        first: String,
        /// The other.
        second: String,
        /// The class.
        class: String,
    },
    /// There are more class folders than the model has classes.
    #[error("{}: {folders} class folders, but the model has {classes} classes", path.display())]
    TooMany {
        /// The folder that holds the class folders.
        path: PathBuf,
        /// Class folders.
        folders: usize,
        /// Classes of the model.
        classes: usize,
    },
}

/// The first few names, and how many more there are.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

//! Image data sets on disk: folders walked, class folders matched with the classes of a model.
//!
//! [`ImageFolder`] finds the images of a folder and below, and tells what it left out and why ([`Skipped`]). As in
//! torchvision's `ImageFolder`, a folder of folders has one class per folder; other than there, classes are matched by
//! name with those of the model where it names them, so that no labels shift ([`ImageFolder::match_classes`]).

mod classes;
mod coco;
mod error;
mod folder;
mod skipped;

pub use classes::{ClassMatch, ClassOrder};
pub use coco::{CocoBox, CocoError, CocoPicture, read_coco};
pub use error::{DatasetError, FolderError};
pub use folder::{FolderImage, ImageFolder};
pub use skipped::{SkipReason, Skipped};

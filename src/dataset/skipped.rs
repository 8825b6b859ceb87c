//! What was left out of a data set, and why.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file or folder that was left out. Displays as the path and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: SkipReason,
}

/// Why a file or folder was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// Hidden, or made by a system beside the data: `.name`, `._name`, `__MACOSX`, `Thumbs.db`.
    Hidden,
    /// Not called as a file of a format that is read.
    Format,
    /// Beside class folders, so without a class.
    Stray,
    /// A folder without an image.
    EmptyFolder,
    /// A folder that leads back to one above it.
    Loop,
    /// It cannot be read or decoded: the message of the system or the decoder.
    Unreadable(String),
    /// The network gave no usable answer: its message.
    Unanswered(String),
    /// Left out by the run that this one goes on with.
    Before,
}

impl Skipped {
    /// The file or folder at `path`, left out for this reason.
    pub fn new(path: impl AsRef<Path>, reason: SkipReason) -> Self {
        Skipped { path: path.as_ref().into(), reason }
    }

    /// Whether this is a sample that should have been there, and not a thing that lay beside the data.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(self.reason, SkipReason::Unreadable(_) | SkipReason::Unanswered(_) | SkipReason::Before)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SkipReason::Hidden => "hidden",
            SkipReason::Format => "not called .png, .jpg, .jpeg, .bmp or .webp",
            SkipReason::Stray => "beside the class folders, so of no class",
            SkipReason::EmptyFolder => "no image in it",
            SkipReason::Loop => "leads back to a folder above it",
            SkipReason::Unreadable(message) | SkipReason::Unanswered(message) => message,
            SkipReason::Before => "could not be recorded in the run before",
        })
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

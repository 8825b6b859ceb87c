//! The kernel's files on Linux: where a driver owns the chip, its files are the way to it.
//!
//! Every source is found by name or label, never by number: numbers change from boot to boot.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::energy::gauge::{Fault, SensorError};

mod power_supply;
mod rail;
mod rapl;

pub use power_supply::PowerSupply;
pub use rail::Rail;
pub use rapl::Rapl;

/// Why a file of the kernel could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinuxError {
    /// A file or folder cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: expected {expected}, got {actual:?}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        actual: String,
    },
    /// A file holds a number that is physically impossible.
    #[error("{}: expected {expected}, got {actual:?}", path.display())]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        actual: String,
    },
    /// There is no such device.
    #[error("{}: no {what}; there is {found}", folder.display())]
    NotFound {
        /// The folder searched.
        folder: PathBuf,
        /// What was looked for.
        what: String,
        /// What is there instead.
        found: String,
    },
}

impl SensorError for LinuxError {
    fn fault(&self) -> Fault {
        match self {
            LinuxError::OutOfRange { .. } => Fault::OutOfRange,
            _ => Fault::File,
        }
    }
}

/// The text of a file, without the line's end.
fn text(path: &Path) -> Result<String, LinuxError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(LinuxError::Read { path: path.to_owned(), source }),
    }
}

fn number(path: &Path) -> Result<f64, LinuxError> {
    let actual = text(path)?;
    match actual.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(LinuxError::Content { path: path.to_owned(), expected: "a number", actual }),
    }
}

/// Folders in a folder, sorted so that a search is repeatable.
fn folders(root: &Path) -> Result<Vec<PathBuf>, LinuxError> {
    let read = |source| LinuxError::Read { path: root.to_owned(), source };
    let entries: Result<Vec<PathBuf>, _> = fs::read_dir(root).map_err(read)?.map(|e| e.map(|e| e.path())).collect();
    let mut paths = entries.map_err(read)?;
    paths.sort();
    Ok(paths)
}

/// The last part of a path, as text.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
pub(in crate::sensors) mod tests {
    use std::error::Error as _;

    use tempfile::TempDir;

    use super::*;

    /// A folder with files of these names and contents.
    pub(in crate::sensors) fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{content}\n")).unwrap();
        }
        root
    }

    #[test]
    fn linux_error_tells_its_cause_once() {
        let error = text(Path::new("/no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/file: cannot be read");
        assert_eq!(error.source().unwrap().to_string(), "No such file or directory (os error 2)");
    }
}

//! The one error type of this crate.

use std::fmt;
use std::path::PathBuf;

/// What went wrong while describing, reading or writing a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A network name that is not of the form `<backbone>_perceiver_t<latents>`, or whose backbone does not exist.
    #[error(
        "no network is called '{name}': expected <backbone>_perceiver_t<latents> with one of the backbones {known}"
    )]
    UnknownName {
        /// The name as given.
        name: String,
        /// The published backbones, separated by commas.
        known: String,
    },
    /// A configuration no network can be made of.
    #[error("{field} is {actual}, expected {expected}")]
    Configuration {
        /// The field of [`Config`](crate::Config).
        field: &'static str,
        /// What was asked for.
        actual: String,
        /// What is possible.
        expected: String,
    },
    /// A checkpoint whose tensors are not the ones the network needs; lists every one of them.
    #[error("the checkpoint does not fit {network}:{differences}")]
    Mismatch {
        /// Name of the network the checkpoint was held against.
        network: String,
        /// Every missing, surplus and misshapen key.
        differences: Differences,
    },
    /// A checkpoint that no backbone of the family fits.
    #[error(
        "{path}: not recognised as a Dyn-Perceiver checkpoint ({reason}); name the network explicitly if it is one"
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A file that is not what it should be.
    #[error("{path}: {place}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: String,
        /// Expected and actual.
        reason: String,
    },
    /// A pickle that would call or import something a state dict has no use for. Nothing was executed.
    #[error(
        "{path}: the pickle asks for '{symbol}', which no checkpoint of weights needs; refused, nothing was executed"
    )]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// Module and name of what the pickle wanted, as written in it.
        symbol: String,
    },
    /// Reading or writing failed.
    #[error("cannot access {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error + '_ {
        move |source| Error::Io { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &std::path::Path, place: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Malformed { path: path.to_owned(), place: place.into(), reason: reason.into() }
    }
}

/// How the tensors of a checkpoint differ from those a network needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differences {
    /// Keys the network needs and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Keys of the checkpoint the network has no use for.
    pub surplus: Vec<String>,
    /// Key, expected shape and actual shape.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Differences {
    /// True if the checkpoint fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in &self.missing {
            write!(f, "\n  missing   {key}")?;
        }
        // Keys from a file may hold anything, also what steers a terminal.
        for key in &self.surplus {
            write!(f, "\n  surplus   {}", key.escape_debug())?;
        }
        for (key, expected, actual) in &self.misshapen {
            write!(f, "\n  misshapen {key}: expected {expected:?}, found {actual:?}")?;
        }
        Ok(())
    }
}

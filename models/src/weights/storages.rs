//! What both formats of PyTorch's checkpoints have in common: storages, and pickles that are refused.

use std::path::Path;

use super::pickle::{Refusal, Storage};
use crate::Error;

/// Where the numbers of a checkpoint are.
pub(super) trait Storages {
    /// The bytes of a storage, all that its pickle promised.
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>, Error>;
}

/// A pickle's refusal as the error of its file; `place` is the pickle.
pub(super) fn refused(path: &Path, place: &str, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Forbidden(symbol) => {
            Error::Forbidden { path: path.to_owned(), symbol: symbol.escape_debug().to_string() }
        }
        Refusal::Malformed(at, reason) => Error::malformed(path, format!("{place}, byte {at}"), reason),
    }
}

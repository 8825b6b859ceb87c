//! The zip format of PyTorch since 1.6: a pickle, and a file for each storage.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Pickle, Storage};
use super::storages::{Storages, refused};
use crate::Error;

/// No pickle of a state dict is longer: it holds names and shapes, not numbers.
const LONGEST_PICKLE: u64 = 256 << 20;

/// The storages of a zip file.
pub(super) struct Archive {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    /// Folder inside the archive.
    root: String,
    /// Length of the file: an upper bound for what is stored in it.
    length: u64,
}

impl Archive {
    pub(super) fn open(path: &Path, file: File) -> Result<(Pickle, Archive), Error> {
        let length = file.metadata().map_err(Error::io(path))?.len();
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(path, "zip directory", &error))?;
        let mut names = zip.file_names().filter_map(Result::ok);
        let pickle_name = names.find(|name| name.ends_with("/data.pkl") || name == "data.pkl").map(String::from);
        drop(names);
        let pickle_name =
            pickle_name.ok_or_else(|| Error::malformed(path, "zip directory", "there is no data.pkl in it"))?;
        let root = pickle_name.trim_end_matches("data.pkl").to_owned();
        let mut archive = Archive { path: path.to_owned(), zip, root, length };
        let order = archive.entry(&format!("{}byteorder", archive.root), 16);
        if order.is_ok_and(|order| order != b"little") {
            return Err(Error::malformed(path, "byteorder", "expected little-endian numbers"));
        }
        let bytes = archive.entry(&pickle_name, LONGEST_PICKLE)?;
        let read = Pickle::read(&mut bytes.as_slice(), bytes.len() as u64);
        let (pickle, _) = read.map_err(|refusal| refused(path, &pickle_name.escape_debug().to_string(), refusal))?;
        Ok((pickle, archive))
    }

    /// Reads a file of the archive, checking its length against `limit` and its contents against the archive's CRC.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let place = name.escape_debug().to_string();
        let malformed = |reason: String| Error::malformed(&self.path, &place, reason);
        let file = self.zip.by_name(name).map_err(|error| damaged(&self.path, &place, &error))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(malformed("compressed, which PyTorch's files are not".to_owned()));
        }
        // Stored as it is, so a size beyond the file's own is a lie.
        let limit = limit.min(self.length);
        if file.size() > limit {
            return Err(malformed(format!("expected at most {limit} bytes, found {}", file.size())));
        }
        let mut bytes = Vec::with_capacity(file.size() as usize);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| malformed(error.to_string()))?;
        Ok(bytes)
    }
}

impl Storages for Archive {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>, Error> {
        let name = format!("{}data/{}", self.root, storage.key);
        let expected = storage.bytes();
        let bytes = self.entry(&name, expected as u64)?;
        if bytes.len() != expected {
            let reason = format!("expected {expected} bytes, found {}", bytes.len());
            return Err(Error::malformed(&self.path, name.escape_debug().to_string(), reason));
        }
        Ok(bytes)
    }
}

fn damaged(path: &Path, place: &str, error: &ZipError) -> Error {
    Error::malformed(path, place, error.to_string())
}

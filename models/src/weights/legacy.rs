//! The format of PyTorch before 1.6: five pickles in a row, then the storages one behind the other.
//!
//! The pickles are a number that marks the format, its version, facts about the machine, the checkpoint, and the keys of
//! the storages in the order in which they follow. Each storage is its number of elements in 8 bytes and the elements.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pickle::{Object, Pickle, Storage};
use super::storages::{Storages, refused};
use crate::Error;

const VERSION: i64 = 1001;

/// The storages of a file in the old format.
pub(super) struct Legacy {
    path: PathBuf,
    file: BufReader<File>,
    /// First byte of each storage's elements, and their number.
    places: HashMap<Arc<str>, (u64, usize)>,
}

impl Legacy {
    pub(super) fn open(path: &Path, file: File) -> Result<(Pickle, Legacy), Error> {
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut reader = Pickles { path, file: BufReader::new(file), at: 0, length };
        let magic = reader.next("number of the format")?;
        if !matches!(magic.root(), Object::LegacyMagic) {
            let reason = "a pickle, but not one that begins as PyTorch's files before 1.6 do";
            return Err(Error::malformed(path, "start", reason));
        }
        let version = reader.next("version of the format")?;
        if !matches!(*version.root(), Object::Int(VERSION)) {
            let reason = format!("expected {VERSION}, found {:?}", version.root());
            return Err(Error::malformed(path, "version of the format", reason));
        }
        let machine = reader.next("facts about the machine")?;
        if matches!(machine.entry(machine.root(), "little_endian"), Some(Object::Bool(false))) {
            return Err(Error::malformed(path, "facts about the machine", "expected little-endian numbers"));
        }
        let pickle = reader.next("checkpoint")?;
        let keys = reader.next("keys of the storages")?;
        let keys = keys.texts(keys.root());
        let keys = keys.ok_or_else(|| Error::malformed(path, "keys of the storages", "expected a list of texts"))?;
        let places = reader.places(&keys, &pickle)?;
        Ok((pickle, Legacy { path: path.to_owned(), file: reader.file, places }))
    }
}

/// The pickles at the beginning of a file.
struct Pickles<'a> {
    path: &'a Path,
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Pickles<'_> {
    fn next(&mut self, what: &str) -> Result<Pickle, Error> {
        let read = Pickle::read(&mut self.file, self.length - self.at);
        let (pickle, taken) = read.map_err(|refusal| refused(self.path, what, refusal))?;
        self.at += taken;
        Ok(pickle)
    }

    /// Walks over the storages behind the pickles.
    fn places(&mut self, keys: &[&str], pickle: &Pickle) -> Result<HashMap<Arc<str>, (u64, usize)>, Error> {
        let known: HashMap<&str, &Storage> = pickle.storages().map(|storage| (&*storage.key, storage)).collect();
        let mut places = HashMap::with_capacity(keys.len());
        for &key in keys {
            let place = || format!("storage {}", key.escape_debug());
            let malformed = |reason: &str| Error::malformed(self.path, place(), reason);
            let storage = *known.get(key).ok_or_else(|| malformed("the checkpoint does not mention it"))?;
            let mut count = [0; 8];
            self.file.read_exact(&mut count).map_err(|_| malformed("the file ends before it"))?;
            let count = usize::try_from(u64::from_le_bytes(count)).ok();
            let bytes = count.and_then(|count| count.checked_mul(storage.element.size()));
            let (Some(count), Some(bytes)) = (count, bytes.and_then(|bytes| i64::try_from(bytes).ok())) else {
                return Err(malformed("its number of elements is out of range"));
            };
            let start = self.at + 8;
            let end = start.checked_add(bytes as u64).filter(|&end| end <= self.length);
            self.at = end.ok_or_else(|| malformed("the file ends within it"))?;
            self.file.seek_relative(bytes).map_err(Error::io(self.path))?;
            places.insert(Arc::clone(&storage.key), (start, count));
        }
        Ok(places)
    }
}

impl Storages for Legacy {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>, Error> {
        let malformed =
            |reason: String| Error::malformed(&self.path, format!("storage {}", storage.key.escape_debug()), reason);
        let &(start, count) =
            self.places.get(&storage.key).ok_or_else(|| malformed("there is none of that key".to_owned()))?;
        if count != storage.count {
            return Err(malformed(format!("expected {} elements, found {count}", storage.count)));
        }
        // Within the file: its length was checked when the places were found.
        let mut bytes = vec![0; storage.bytes()];
        self.file.seek(SeekFrom::Start(start)).map_err(Error::io(&self.path))?;
        self.file.read_exact(&mut bytes).map_err(Error::io(&self.path))?;
        Ok(bytes)
    }
}

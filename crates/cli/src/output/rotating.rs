//! A file that is put aside when it is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Appends to a file and, before it grows past its limit, renames it to `NAME.1`, an older one to `NAME.2` and so on; the
/// oldest is given up. One write is never split over two files, so lines stay whole.
///
/// At most `limit x (kept + 1)` bytes are used, beside a single write that is larger than the limit by itself.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
    kept: u32,
}

impl RotatingFile {
    /// Opens or creates the file at `path`, whose size is to stay within `limit` bytes, and keeps `kept` older ones.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(crate) fn open(path: impl Into<PathBuf>, limit: u64, kept: u32) -> io::Result<Self> {
        let path = path.into();
        let (file, bytes) = append(&path)?;
        Ok(Self { path, file, bytes, limit, kept })
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file.flush()?;
        for number in (0..self.kept).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(&self.path, error)),
                _ => {}
            }
        }
        if self.kept == 0 {
            std::fs::remove_file(&self.path).map_err(|error| named(&self.path, error))?;
        }
        (self.file, self.bytes) = append(&self.path)?;
        Ok(())
    }

    /// The file itself for 0, an older one otherwise.
    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let open = || {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    };
    open().map_err(|error| named(path, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.limit {
            self.rotate()?;
        }
        self.file.write_all(bytes).map_err(|error| named(&self.path, error))?;
        self.bytes += length;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_put_aside_and_lines_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        let mut file = RotatingFile::open(&path, 20, 2).unwrap();
        for i in 0..7 {
            file.write_all(format!("line {i}\n").as_bytes()).unwrap();
        }
        drop(file);
        // Lines of 7 bytes: two fit into a file. After a restart the last file is filled up first.
        let mut file = RotatingFile::open(&path, 20, 2).unwrap();
        file.write_all(b"line 7\n").unwrap();
        file.write_all(b"a line that is longer than any file may be\n").unwrap();
        assert_eq!(read("results.jsonl").as_deref(), Some("a line that is longer than any file may be\n"));
        assert_eq!(read("results.jsonl.1").as_deref(), Some("line 6\nline 7\n"));
        assert_eq!(read("results.jsonl.2").as_deref(), Some("line 4\nline 5\n"));
        assert_eq!(read("results.jsonl.3"), None);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = RotatingFile::open("no/such/folder/file", 10, 1).unwrap_err().to_string();
        assert!(error.starts_with("no/such/folder/file: "), "{error}");
    }
}

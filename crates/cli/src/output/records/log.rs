//! A log of lines that cannot fill the disk, and that outlives a full one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Appends lines to a file and, before it grows past its limit, renames it to `NAME.1`, an older one to `NAME.2` and so on;
/// the oldest is given up.
///
/// At most `limit x (kept + 1)` bytes are used, beside a single line that is larger than the limit by itself. A line that
/// was written in part, by this program or by one that lost its power, never has another one glued to it.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    limit: u64,
    kept: u32,
    /// Whether the file ends within a line.
    torn: bool,
}

impl Log {
    /// Opens or creates the file at `path`, whose size is to stay within `limit` bytes, and keeps `kept` older ones.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(crate) fn open(path: impl Into<PathBuf>, limit: u64, kept: u32) -> io::Result<Self> {
        let path = path.into();
        let (file, bytes, torn) = append(&path)?;
        Ok(Self { path, file, bytes, limit, kept, torn })
    }

    /// Appends one line, which ends with a newline. After an error the next line may be tried: the disk may have room
    /// again.
    ///
    /// # Errors
    /// What the system says, with the path; nothing of the line is then in the file, or it is cut off from the next one.
    pub(crate) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.limit {
            self.rotate()?;
        }
        if self.torn {
            self.write(b"\n")?;
            self.torn = false;
        }
        self.write(line)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line is taken back; where that fails, too, the next line begins on a line of its own.
                self.torn |= self.file.set_len(self.bytes).is_err();
                self.bytes = self.file.metadata().map_or(self.bytes, |file| file.len());
                Err(named(&self.path, error))
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..self.kept).rev() {
            match std::fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(&self.path, error)),
                _ => {}
            }
        }
        if self.kept == 0 {
            std::fs::remove_file(&self.path).map_err(|error| named(&self.path, error))?;
        }
        (self.file, self.bytes, self.torn) = append(&self.path)?;
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

/// The file to append to, its length, and whether it ends within a line.
fn append(path: &Path) -> io::Result<(File, u64, bool)> {
    let open = || {
        let mut file = OpenOptions::new().read(true).create(true).append(true).open(path)?;
        let bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::Start(bytes - 1))?;
            file.read_exact(&mut last)?;
        }
        Ok((file, bytes, last != [b'\n']))
    };
    let special = || {
        // What cannot be read back, such as a pipe or a terminal, has no earlier lines either.
        let file = OpenOptions::new().append(true).open(path)?;
        Ok((file, 0, false))
    };
    let is_special = std::fs::metadata(path).is_ok_and(|file| !file.is_file());
    if is_special { special() } else { open() }.map_err(|error| named(path, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_logs_are_put_aside_and_lines_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        let mut file = Log::open(&path, 20, 2).unwrap();
        for i in 0..7 {
            file.append(format!("line {i}\n").as_bytes()).unwrap();
        }
        drop(file);
        // Lines of 7 bytes: two fit into a file. After a restart the last file is filled up first.
        let mut file = Log::open(&path, 20, 2).unwrap();
        file.append(b"line 7\n").unwrap();
        file.append(b"a line that is longer than any file may be\n").unwrap();
        assert_eq!(read("results.jsonl").as_deref(), Some("a line that is longer than any file may be\n"));
        assert_eq!(read("results.jsonl.1").as_deref(), Some("line 6\nline 7\n"));
        assert_eq!(read("results.jsonl.2").as_deref(), Some("line 4\nline 5\n"));
        assert_eq!(read("results.jsonl.3"), None);
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_named() {
        let error = Log::open("no/such/folder/file", 10, 1).unwrap_err().to_string();
        assert!(error.starts_with("no/such/folder/file: "), "{error}");
    }

    #[test]
    fn a_log_cut_within_a_line_goes_on_with_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        std::fs::write(&path, "{\"kind\":\"frame\"}\n{\"kind\":\"fr").unwrap();
        Log::open(&path, 1000, 2).unwrap().append(b"whole\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"kind\":\"frame\"}\n{\"kind\":\"fr\nwhole\n");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_of_one_line_only() {
        let mut log = Log::open("/dev/full", 1000, 0).unwrap();
        assert_eq!(log.append(b"line\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(log.append(b"line\n").is_err(), "and may be tried again");
    }
}

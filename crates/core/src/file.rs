//! Atomic file replacement (write beside, sync, rename): a reader sees the old file or the new one, never a part.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Replaces the file at `path` with `bytes`, atomically and durably.
///
/// The bytes go to a temporary file of a unique name beside `path`, which is synced and renamed; the folder is synced
/// then, so that the new name survives a loss of power. Two writers never share a temporary file, and one that fails
/// removes its own.
///
/// # Errors
/// Whatever the file system reports; the old file is then untouched, unless only the last sync of the folder failed.
///
/// # Examples
/// ```
/// # let folder = std::env::temp_dir().join("dyn-perceiver-atomic-write");
/// # std::fs::create_dir_all(&folder)?;
/// let path = folder.join("state.json");
/// dyn_perceiver_core::file::atomic_write(&path, b"{}")?;
/// assert_eq!(std::fs::read(&path)?, b"{}");
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    atomic_write_with(path, |file| file.write_all(bytes))
}

/// As [`atomic_write`], with the contents from a function that writes them.
///
/// # Errors
/// Whatever the file system or `write` reports.
pub fn atomic_write_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary_beside(path);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    let written = write(&mut file).and_then(|()| file.sync_all());
    drop(file);
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = renamed {
        // The first error is the one to report; a temporary file that cannot be removed changes nothing about it.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(path)
}

/// Makes a rename within the folder of `path` durable. Nothing to do where folders cannot be opened as files.
///
/// # Errors
/// Whatever the file system reports.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// A name beside `path` that no other writer, thread or process uses: `.NAME.PID.COUNT.tmp`.
fn temporary_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(std::format!(".{}.{}.tmp", process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;
    use std::vec::Vec;
    use std::{fs, io};

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn atomic_write_replaces_the_file_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        atomic_write(&path, b"one").unwrap();
        atomic_write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn atomic_write_that_fails_keeps_the_old_file_and_removes_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        atomic_write(&path, b"old").unwrap();
        let failed = atomic_write_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no space"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file"]);
        // A folder in the way of the rename.
        fs::create_dir(folder.path().join("taken")).unwrap();
        fs::write(folder.path().join("taken/inside"), b"").unwrap();
        atomic_write(&folder.path().join("taken"), b"x").unwrap_err();
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn atomic_write_by_many_threads_at_once_leaves_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        atomic_write(path, &[writer; 4096]).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 4096 && bytes.iter().all(|&byte| byte == bytes[0]));
        assert_eq!(names(folder.path()), ["file"]);
    }
}

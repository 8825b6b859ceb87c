//! Events on disk: a snapshot, the pictures around it and what happened, in a folder of bounded size.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use dyn_perceiver::file::atomic_write;

use crate::live::Event;

/// What the names of files begin with: nothing else in the folder is ever deleted.
const PREFIX: &str = "event-";
const EXTENSIONS: [&str; 3] = ["json", "jpg", "mjpeg"];
/// Longest part of a name that a label makes.
const LONGEST_LABEL: usize = 40;

/// A folder whose files take at most so many bytes; the oldest go first.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    limit: u64,
    /// Oldest first.
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl Folder {
    /// Opens or makes a folder, and takes in what an earlier run left there.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub(crate) fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(named)?;
        let mut found = vec![];
        for entry in std::fs::read_dir(path).map_err(named)? {
            let entry = entry.map_err(named)?;
            let name = entry.file_name();
            let is_ours = name.to_str().is_some_and(|name| {
                name.starts_with(PREFIX) && EXTENSIONS.iter().any(|extension| name.ends_with(&format!(".{extension}")))
            });
            let Ok(metadata) = entry.metadata() else { continue };
            if is_ours && metadata.is_file() {
                found.push((metadata.modified().ok(), entry.path(), metadata.len()));
            }
        }
        // A clock that was not set makes old files look older still; their names decide among equals.
        found.sort();
        let files: VecDeque<(PathBuf, u64)> = found.into_iter().map(|(_, path, bytes)| (path, bytes)).collect();
        let bytes = files.iter().map(|(_, bytes)| bytes).sum();
        let mut folder = Folder { path: path.to_owned(), limit, files, bytes };
        folder.make_room(0);
        Ok(folder)
    }

    /// What the files of an event are called, without an extension.
    pub(super) fn name(event: &Event) -> String {
        let time = event.time.as_ref().map_or("no-clock".to_owned(), |time| time.replace([':', '-'], ""));
        let safe = |c: char| if c.is_alphanumeric() { c } else { '_' };
        let label: String = event.label.chars().take(LONGEST_LABEL).map(safe).collect();
        format!("{PREFIX}{time}-{:06}-{}-{label}", event.id, event.event)
    }

    /// Writes a file whole, making room for it, and returns its path. A disk that is full of other things is made room on
    /// by what is oldest here.
    ///
    /// # Errors
    /// What the system says, with the path, or that the file is larger than the folder may be.
    pub(super) fn write(&mut self, name: &str, extension: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{name}.{extension}"));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let length = bytes.len() as u64;
        if length > self.limit {
            let message = format!("{length} bytes are more than the folder may have, {}", self.limit);
            return Err(named(io::Error::new(io::ErrorKind::StorageFull, message)));
        }
        self.make_room(length);
        let mut written = atomic_write(&path, bytes);
        while written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) && self.drop_oldest() {
            written = atomic_write(&path, bytes);
        }
        written.map_err(named)?;
        self.files.push_back((path.clone(), length));
        self.bytes += length;
        Ok(path)
    }

    fn make_room(&mut self, bytes: u64) {
        while self.bytes + bytes > self.limit && self.drop_oldest() {}
    }

    /// Deletes the oldest file; false where there is none left.
    fn drop_oldest(&mut self) -> bool {
        let Some((path, bytes)) = self.files.pop_front() else { return false };
        // Somebody may have taken it away already.
        let _ = std::fs::remove_file(path);
        self.bytes -= bytes;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::job;
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_oldest_files_go_first_and_no_others() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("notes.jpg"), [0; 500]).unwrap();
        let mut folder = Folder::open(place.path(), 100).unwrap();
        for number in 0..5 {
            folder.write(&format!("event-{number}"), "jpg", &[0; 30]).unwrap();
        }
        assert_eq!(names(place.path()), ["event-2.jpg", "event-3.jpg", "event-4.jpg", "notes.jpg"]);
        // After a restart they count, and a smaller limit is kept at once.
        let mut folder = Folder::open(place.path(), 60).unwrap();
        assert_eq!(names(place.path()).len(), 3);
        folder.write("event-5", "json", &[0; 60]).unwrap();
        assert_eq!(names(place.path()), ["event-5.json", "notes.jpg"]);
        let error = folder.write("event-6", "mjpeg", &[0; 61]).unwrap_err();
        assert!(error.kind() == io::ErrorKind::StorageFull && error.to_string().contains("event-6.mjpeg"), "{error}");
        assert_eq!(names(place.path()).len(), 2, "nothing goes for what does not fit anyway");
    }

    #[test]
    fn names_of_files_are_safe_whatever_the_label() {
        let event = job("../../etc/pass wd\0\n".repeat(9).as_str()).event;
        let name = Folder::name(&event);
        assert!(name.starts_with("event-20261127T120000.000Z-000012-appeared-______etc_pass_wd"), "{name}");
        assert!(name.len() < 100 && !name.contains(['/', '\0', '\n', ' ']));
        let unset = Event { time: None, ..event };
        assert!(Folder::name(&unset).starts_with("event-no-clock-000012-"));
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let error = Folder::open(Path::new("/dev/null/events"), 100).unwrap_err().to_string();
        assert!(error.starts_with("/dev/null/events: "), "{error}");
    }
}

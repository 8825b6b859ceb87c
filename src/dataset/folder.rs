//! The images of a folder and the folders below.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::FolderError;
use super::skipped::{SkipReason, Skipped};

/// How files of the formats that are read are called, in lower case.
const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "bmp", "webp"];
/// Folders within folders, at most.
const DEPTH: usize = 32;

/// An image found in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FolderImage {
    /// The file.
    pub path: PathBuf,
    /// Which of [`ImageFolder::folders`] it lies in or below; none beside them.
    pub folder: Option<usize>,
}

/// A folder directly below the one that was read.
#[derive(Clone, Debug)]
pub(super) struct Below {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Images directly in it.
    pub(super) own: usize,
    /// Folders directly in it that hold images.
    pub(super) holding: usize,
    /// Images in it and below.
    pub(super) images: usize,
}

/// The images of a folder and the folders below, in order of folder and name, and what was left out.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    pub(super) path: PathBuf,
    pub(super) below: Vec<Below>,
    images: Vec<FolderImage>,
    skipped: Vec<Skipped>,
}

impl ImageFolder {
    /// Walks a folder for files called `.png`, `.jpg`, `.jpeg`, `.bmp` or `.webp`. Hidden files and what systems leave
    /// beside the data, such as `__MACOSX`, are left out.
    ///
    /// # Errors
    /// [`FolderError`] when the folder itself cannot be read; what cannot be read below it is in
    /// [`ImageFolder::skipped`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FolderError> {
        let path = path.as_ref();
        let mut folder = ImageFolder { path: path.into(), below: vec![], images: vec![], skipped: vec![] };
        let names = names(path).map_err(|source| FolderError { path: path.into(), source })?;
        let mut above: Vec<PathBuf> = fs::canonicalize(path).into_iter().collect();
        for entry in folder.sort(path, names) {
            match entry {
                Entry::Image(path) => folder.images.push(FolderImage { path, folder: None }),
                Entry::Folder(path) => {
                    let (place, before) = (folder.below.len(), folder.images.len());
                    let (own, holding) = folder.walk(&path, place, &mut above);
                    let images = folder.images.len() - before;
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    folder.below.push(Below { name, path, own, holding, images });
                }
            }
        }
        Ok(folder)
    }

    /// The folder that was read.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The images: those beside folders in order of name, then folder by folder.
    #[must_use]
    pub fn images(&self) -> &[FolderImage] {
        &self.images
    }

    /// The names of the folders directly below, in order; of those without an image too.
    pub fn folders(&self) -> impl ExactSizeIterator<Item = &str> {
        self.below.iter().map(|below| below.name.as_str())
    }

    /// What was left out, in the order found.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The images in folders and below, with the place of their folder, and those beside.
    pub(super) fn beside(&self) -> impl Iterator<Item = &FolderImage> {
        self.images.iter().filter(|image| image.folder.is_none())
    }

    fn skip(&mut self, path: &Path, reason: SkipReason) {
        self.skipped.push(Skipped::new(path, reason));
    }

    /// Adds the images of a folder and below, which belong to the folder in `place`. Returns how many lie directly in it,
    /// and how many of its folders hold some. `above` are the folders on the way here.
    fn walk(&mut self, path: &Path, place: usize, above: &mut Vec<PathBuf>) -> (usize, usize) {
        let real = match fs::canonicalize(path) {
            Ok(real) if above.contains(&real) || above.len() > DEPTH => {
                self.skip(path, SkipReason::Loop);
                return (0, 0);
            }
            Ok(real) => real,
            Err(error) => {
                self.skip(path, SkipReason::Unreadable(error.to_string()));
                return (0, 0);
            }
        };
        let names = match names(path) {
            Ok(names) => names,
            Err(error) => {
                self.skip(path, SkipReason::Unreadable(error.to_string()));
                return (0, 0);
            }
        };
        above.push(real);
        let (mut own, mut holding) = (0, 0);
        for entry in self.sort(path, names) {
            match entry {
                Entry::Image(path) => {
                    own += 1;
                    self.images.push(FolderImage { path, folder: Some(place) });
                }
                Entry::Folder(path) => {
                    let before = self.images.len();
                    self.walk(&path, place, above);
                    holding += usize::from(self.images.len() > before);
                }
            }
        }
        above.pop();
        (own, holding)
    }

    /// The images of a folder, then its folders; all else is skipped.
    fn sort(&mut self, folder: &Path, names: Vec<PathBuf>) -> Vec<Entry> {
        let (mut images, mut folders) = (vec![], vec![]);
        for name in names {
            let path = folder.join(&name);
            if is_hidden(name.as_os_str()) {
                self.skip(&path, SkipReason::Hidden);
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push(Entry::Folder(path)),
                Ok(metadata) if metadata.is_file() && is_image(&path) => images.push(Entry::Image(path)),
                Ok(_) => self.skip(&path, SkipReason::Format),
                Err(error) => self.skip(&path, SkipReason::Unreadable(error.to_string())),
            }
        }
        images.append(&mut folders);
        images
    }
}

enum Entry {
    Image(PathBuf),
    Folder(PathBuf),
}

/// The names in a folder, in order.
fn names(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name().into()));
    let mut names = entries.collect::<std::io::Result<Vec<PathBuf>>>()?;
    names.sort();
    Ok(names)
}

/// Whether a system made this beside the data.
fn is_hidden(name: &OsStr) -> bool {
    let known = ["__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "lost+found"];
    name.as_encoded_bytes().starts_with(b".") || known.iter().any(|known| name == *known)
}

/// Whether the file is called as images are.
fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder with empty files of these names.
    pub(in super::super) fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir) -> (Vec<String>, Vec<String>) {
        let read = ImageFolder::read(folder.path()).unwrap();
        let name = |path: &Path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        let skipped = read.skipped().iter().map(|skipped| format!("{}: {}", name(&skipped.path), skipped.reason));
        (read.images().iter().map(|image| name(&image.path)).collect(), skipped.collect())
    }

    #[test]
    fn image_folder_walks_nested_folders_in_order() {
        let folder = tree(&["cat/top.png", "cat/2024/1.png", "cat/2024/0.png", "dog/a/b/c.JPG", "b.bmp", "w.webp"]);
        let (images, skipped) = found(&folder);
        assert_eq!(images, ["b.bmp", "w.webp", "cat/top.png", "cat/2024/0.png", "cat/2024/1.png", "dog/a/b/c.JPG"]);
        assert!(skipped.is_empty());
        let read = ImageFolder::read(folder.path()).unwrap();
        assert_eq!(read.folders().collect::<Vec<_>>(), ["cat", "dog"]);
        assert_eq!(read.images()[5].folder, Some(1));
        assert_eq!(read.beside().count(), 2);
    }

    #[test]
    fn image_folder_tells_what_it_leaves_out() {
        let folder = tree(&[
            "cat/a.png",
            "cat/._a.png",
            "cat/.ipynb_checkpoints/a.png",
            "cat/notes.txt",
            "cat/scan.tif",
            "__MACOSX/cat/a.png",
            "none/",
        ]);
        let (images, skipped) = found(&folder);
        assert_eq!(images, ["cat/a.png"]);
        let format = "not called .png, .jpg, .jpeg, .bmp or .webp";
        assert_eq!(
            skipped,
            [
                "__MACOSX: hidden".to_owned(),
                "cat/._a.png: hidden".to_owned(),
                "cat/.ipynb_checkpoints: hidden".to_owned(),
                format!("cat/notes.txt: {format}"),
                format!("cat/scan.tif: {format}"),
            ]
        );
        assert!(ImageFolder::read(folder.path().join("no-such")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn image_folder_survives_loops_and_broken_links() {
        let folder = tree(&["cat/a.png"]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("cat/up")).unwrap();
        std::os::unix::fs::symlink("nowhere.png", folder.path().join("cat/broken.png")).unwrap();
        let (images, skipped) = found(&folder);
        assert_eq!(images, ["cat/a.png"]);
        assert_eq!(skipped.len(), 2, "{skipped:?}");
        assert!(skipped.iter().any(|line| line == "cat/up: leads back to a folder above it"), "{skipped:?}");
    }
}

//! A tree of files that stands for a board's `/sys` and `/proc` in tests.

use std::path::Path;

use tempfile::TempDir;

/// Makes a temporary folder with these files (absolute path on the board, contents). It is removed when dropped.
///
/// # Panics
/// If the files cannot be written.
#[must_use]
pub fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, contents) in files {
        write(folder.path(), path, contents);
    }
    folder
}

/// Writes one more file into a tree, or another content into a file of it.
///
/// # Panics
/// If it cannot be written.
pub fn write(root: &Path, path: &str, contents: &[u8]) {
    let path = root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(path.parent().unwrap_or(root)).expect("a folder of the tree");
    std::fs::write(path, contents).expect("a file of the tree");
}

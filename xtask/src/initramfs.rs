//! The guest's file system: a shell, the program, kernel modules, and an init that supervises the loop.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cpio::Archive;

/// Mounts what a Linux system needs and gives the console a shell.
const INIT: &str = include_str!("../guest/init");
/// Starts the loop again whenever it ends.
const SUPERVISE: &str = include_str!("../guest/supervise");

/// What goes into the guest besides the shell.
pub struct Contents<'a> {
    /// Statically linked shell and tools.
    pub busybox: &'a Path,
    /// The program, statically linked.
    pub program: &'a Path,
    /// Kernel modules; they go to /modules.
    pub modules: &'a [std::path::PathBuf],
    /// Further files: where they lie, and where they go.
    pub files: &'a [(&'a Path, &'a str)],
}

/// A gzipped initramfs.
pub fn build(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let mut files = vec![
        ("init".to_owned(), true, INIT.as_bytes().to_vec()),
        ("bin/supervise".to_owned(), true, SUPERVISE.as_bytes().to_vec()),
        ("bin/busybox".to_owned(), true, read(contents.busybox)?),
        ("bin/dyn-perceiver".to_owned(), true, read(contents.program)?),
    ];
    for module in contents.modules {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        files.push((format!("modules/{name}"), false, read(module)?));
    }
    for (from, to) in contents.files {
        files.push((to.trim_start_matches('/').to_owned(), false, read(from)?));
    }
    let mut folders: BTreeSet<String> = ["dev", "proc", "sys", "tmp", "data"].map(str::to_owned).into();
    for (path, ..) in &files {
        let ancestors = Path::new(path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        folders.extend(ancestors.map(|path| path.display().to_string()));
    }
    let mut archive = Archive::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for folder in folders {
        archive.folder(&folder)?;
    }
    archive.link("bin/sh", "busybox")?;
    for (path, executable, bytes) in files {
        archive.file(&path, executable, &bytes)?;
    }
    Ok(archive.finish()?.finish()?)
}

//! The root of a board's image: a shell, the program, kernel modules, and an init that supervises the loop.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::cpio::Archive;

const INIT: &str = include_str!("../guest/init");
const SUPERVISE: &str = include_str!("../guest/supervise");

/// What goes into the root besides init.
pub(crate) struct Contents<'a> {
    /// Statically linked shell and tools.
    pub busybox: &'a Path,
    /// The program, statically linked.
    pub program: &'a Path,
    /// The model.
    pub model: &'a Path,
    /// Kernel modules that are loaded at the start, in that order.
    pub modules: &'a [PathBuf],
    /// Kernel modules of a virtual camera, in the order to load them: by hand, or where the card says so.
    pub spare: &'a [PathBuf],
}

/// A gzipped initramfs.
pub(crate) fn build(contents: &Contents<'_>) -> Result<Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let list = |modules: &[PathBuf]| modules.iter().map(|path| name(path) + "\n").collect::<String>();
    let mut files = vec![
        ("init".to_owned(), true, INIT.into()),
        ("bin/supervise".to_owned(), true, SUPERVISE.into()),
        ("bin/busybox".to_owned(), true, read(contents.busybox)?),
        ("bin/dyn-perceiver".to_owned(), true, read(contents.program)?),
        ("etc/modules".to_owned(), false, list(contents.modules).into_bytes()),
        ("etc/virtual-camera".to_owned(), false, list(contents.spare).into_bytes()),
        ("usr/share/model.onnx".to_owned(), false, read(contents.model)?),
    ];
    let spare = contents.spare.iter().filter(|path| !contents.modules.contains(path));
    for module in contents.modules.iter().chain(spare) {
        files.push((format!("modules/{}", name(module)), false, read(module)?));
    }
    let mut folders: BTreeSet<String> = ["boot", "data", "dev", "proc", "sys", "tmp"].map(str::to_owned).into();
    for (path, ..) in &files {
        let above = Path::new(path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        folders.extend(above.map(|path| path.display().to_string()));
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

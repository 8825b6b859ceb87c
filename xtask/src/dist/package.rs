//! Archives of files: a tar file, and a Debian package. The same files give the same bytes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

const POSTINST: &str = include_str!("../../package/postinst");
const PRERM: &str = include_str!("../../package/prerm");

/// A file of a package.
pub(super) struct File {
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) contents: Vec<u8>,
}

/// A gzipped tar archive of `files` below `prefix`, and of `more`.
pub(super) fn archive(files: &[File], prefix: &str, more: &[File]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut folders = BTreeSet::new();
    for file in files.iter().chain(more) {
        let path = format!("{prefix}{}", file.path);
        for folder in Path::new(&path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            folders.insert(folder.to_path_buf());
        }
    }
    let header = |mode, size, kind| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(size);
        header.set_entry_type(kind);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header
    };
    for folder in folders {
        let path = format!("{}/", folder.display());
        archive.append_data(&mut header(0o755, 0, tar::EntryType::Directory), path, std::io::empty())?;
    }
    for file in files.iter().chain(more) {
        let mut header = header(file.mode, file.contents.len() as u64, tar::EntryType::Regular);
        archive.append_data(&mut header, format!("{prefix}{}", file.path), &*file.contents)?;
    }
    Ok(archive.into_inner()?.finish()?)
}

/// A Debian package with the service's scripts: an `ar` archive of a version, the control files and the data.
pub(super) fn debian_package(architecture: &str, files: &[File]) -> Result<Vec<u8>> {
    let installed: usize = files.iter().map(|file| file.contents.len().div_ceil(1024)).sum();
    let control = format!(
        "Package: dyn-perceiver\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: dyn-perceiver maintainers \
         <maintainers@dyn-perceiver.example>\nInstalled-Size: {installed}\nSection: science\nPriority: optional\n\
         Description: classification loop that lasts as long as the battery must\n Runs a multi-exit vision network on \
         frames of a camera and spends the\n battery where it buys accuracy. One static program and a systemd service.\n"
    );
    let script = |name: &str, text: &str, mode| File { path: name.into(), mode, contents: text.into() };
    let control = [
        script("conffiles", "/etc/default/dyn-perceiver\n/etc/dyn-perceiver/config.toml\n", 0o644),
        script("control", &control, 0o644),
        script("postinst", POSTINST, 0o755),
        script("prerm", PRERM, 0o755),
    ];
    let mut package = b"!<arch>\n".to_vec();
    let parts = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar.gz", archive(&[], "", &control)?),
        ("data.tar.gz", archive(files, "", &[])?),
    ];
    for (name, contents) in parts {
        // name, time, owner, group, mode, size: fixed columns, then two magic bytes.
        writeln!(package, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", contents.len())?;
        package.extend(&contents);
        if contents.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    Ok(package)
}

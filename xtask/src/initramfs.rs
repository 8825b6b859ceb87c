//! The root of a board's image: a shell, kernel modules, and an init that supervises the loop.
//!
//! The program and the model lie on the card and are only linked to from here: the whole root is read and decompressed at every start,
//! of a file on the card only what is used.

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
    /// Where the program and the model lie while the card's boot partition is mounted.
    pub program: &'a str,
    pub model: &'a str,
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
        ("etc/modules".to_owned(), false, list(contents.modules).into_bytes()),
        ("etc/virtual-camera".to_owned(), false, list(contents.spare).into_bytes()),
    ];
    let spare = contents.spare.iter().filter(|path| !contents.modules.contains(path));
    for module in contents.modules.iter().chain(spare) {
        files.push((format!("modules/{}", name(module)), false, read(module)?));
    }
    let mut folders: BTreeSet<String> =
        ["boot", "data", "dev", "proc", "sys", "tmp", "usr", "usr/share"].map(str::to_owned).into();
    for (path, ..) in &files {
        let above = Path::new(path).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        folders.extend(above.map(|path| path.display().to_string()));
    }
    let mut archive = Archive::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for folder in folders {
        archive.folder(&folder)?;
    }
    archive.link("bin/sh", "busybox")?;
    archive.link("bin/dyn-perceiver", contents.program)?;
    archive.link("usr/share/model.onnx", contents.model)?;
    for (path, executable, bytes) in files {
        archive.file(&path, executable, &bytes)?;
    }
    Ok(archive.finish()?.finish()?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the supervisor with programs of its own: a loop that fails `failures` times, a clock of which each run takes `seconds`, and
    /// a `sleep` that writes down for how long. Returns what was slept.
    fn pauses(failures: u32, seconds: u32) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let script =
            SUPERVISE.replace("/tmp/", &at("")).replace("/data/", &at("")).replace("/proc/uptime", &at("uptime"));
        std::fs::write(at("uptime"), "100.50 90.00\n").unwrap();
        let write = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(at(name), format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let (uptime, runs, stop) = (at("uptime"), at("runs"), at("stop"));
        let loop_of = format!(
            "read -r now _ <{uptime}; echo \"$((${{now%.*}} + {seconds})).50 0\" >{uptime}; echo run >>{runs}\n\
             [ $(grep -c run {runs}) -lt {failures} ] || touch {stop}\nexit 1"
        );
        write("dyn-perceiver", &loop_of);
        write("sleep", &format!("echo $1 >>{}", at("slept")));
        write("supervise", script.trim_start_matches("#!/bin/sh\n"));
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let status = Command::new(at("supervise")).arg("--fps").arg("1").env("PATH", path).status().unwrap();
        assert!(status.success());
        let log = std::fs::read_to_string(at("log")).unwrap();
        assert_eq!(log.lines().filter(|line| *line == "ended with status 1").count(), failures as usize, "{log}");
        std::fs::read_to_string(at("slept")).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_loop_that_does_not_last_is_run_again_at_once_and_then_less_and_less_often() {
        assert_eq!(pauses(9, 1), ["0.1", "0.2", "0.4", "0.8", "1.6", "3.2", "6.4", "8.0", "8.0"]);
        assert_eq!(pauses(3, 31), ["0.1"; 3]);
    }

    #[test]
    fn the_root_only_links_to_program_and_model() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().unwrap();
        let busybox = folder.path().join("busybox");
        std::fs::write(&busybox, "a shell").unwrap();
        let contents = Contents { busybox: &busybox, program: "/boot/dp", model: "/boot/m", modules: &[], spare: &[] };
        let mut root = Vec::new();
        flate2::read::GzDecoder::new(&build(&contents).unwrap()[..]).read_to_end(&mut root).unwrap();
        let holds = |text: &str| root.windows(text.len()).any(|part| part == text.as_bytes());
        let expected = ["bin/dyn-perceiver", "/boot/dp", "usr/share/model.onnx", "/boot/m"];
        assert!(expected.iter().all(|text| holds(text)));
    }
}

//! A static program, a Debian package and a tar archive for a board.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{root, run as run_command, target_folder};

/// Make a static program, a .deb and a .tar.gz for a board
///
/// They go to target/dist. The same inputs give the same files: no time or user name gets into them.
#[derive(ClapArgs)]
pub struct Args {
    /// Rust's name of the board's system
    #[arg(long, value_name = "TRIPLE", default_value = "aarch64-unknown-linux-gnu")]
    target: String,
    /// Package this program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Where the packages go [default: target/dist]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const UNIT: &str = include_str!("../package/dyn-perceiver.service");
const OPTIONS: &str = include_str!("../package/default");
const POSTINST: &str = include_str!("../package/postinst");
const PRERM: &str = include_str!("../package/prerm");
/// The shipped model and what lies beside it.
const SHIPPED: &str = "models/pretrained/fashion-mnist";

pub fn run(args: &Args) -> Result<()> {
    let architecture = architecture(&args.target)?;
    let program = match &args.binary {
        Some(program) => program.clone(),
        None => build(&args.target)?,
    };
    let program = std::fs::read(&program).with_context(|| program.display().to_string())?;
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => target_folder().join("dist"),
    };
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let files = files(program)?;
    let deb = folder.join(format!("dyn-perceiver_{VERSION}_{architecture}.deb"));
    write(&deb, &debian_package(architecture, &files)?)?;
    let name = format!("dyn-perceiver-{VERSION}-{}", args.target);
    write(&folder.join(format!("{name}.tar.gz")), &archive(&files, &format!("{name}/"), &[])?)
}

/// Builds the statically linked program for `target` and returns its path.
pub fn build(target: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Static linking is asked of the program alone: in RUSTFLAGS it would also reach build scripts' targets.
    run_command(Command::new(cargo).current_dir(root()).args([
        "rustc",
        "--release",
        "--package",
        "dyn-perceiver",
        "--bin",
        "dyn-perceiver",
        "--target",
        target,
        "--",
        "-C",
        "target-feature=+crt-static",
    ]))
    .with_context(|| format!("needs `rustup target add {target}` and a C cross compiler as linker, see docs/boards"))?;
    Ok(target_folder().join(target).join("release/dyn-perceiver"))
}

fn architecture(target: &str) -> Result<&'static str> {
    Ok(match target.split('-').next() {
        Some("aarch64") => "arm64",
        Some("x86_64") => "amd64",
        _ => bail!("--target {target}: packages are made for aarch64 and x86_64"),
    })
}

/// A file of the package.
struct File {
    path: String,
    mode: u32,
    contents: Vec<u8>,
}

fn files(program: Vec<u8>) -> Result<Vec<File>> {
    let file = |path: &str, mode, contents: Vec<u8>| File { path: path.into(), mode, contents };
    let text = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let mut files = vec![
        file("etc/default/dyn-perceiver", 0o644, OPTIONS.into()),
        file("usr/bin/dyn-perceiver", 0o755, program),
        file("usr/lib/systemd/system/dyn-perceiver.service", 0o644, UNIT.into()),
        file("usr/share/doc/dyn-perceiver/README.md", 0o644, text(&root().join("README.md"))?),
    ];
    let mut shipped: Vec<_> = std::fs::read_dir(root().join(SHIPPED)).into_iter().flatten().flatten().collect();
    shipped.sort_by_key(std::fs::DirEntry::file_name);
    for entry in shipped.iter().filter(|entry| entry.path().is_file()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(file(&format!("usr/share/dyn-perceiver/{name}"), 0o644, text(&entry.path())?));
    }
    Ok(files)
}

/// A gzipped tar archive of `files` below `prefix`, and of `more`.
fn archive(files: &[File], prefix: &str, more: &[File]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let mut folders = std::collections::BTreeSet::new();
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

/// A Debian package: an `ar` archive of a version, the control files and the data.
fn debian_package(architecture: &str, files: &[File]) -> Result<Vec<u8>> {
    let installed: usize = files.iter().map(|file| file.contents.len().div_ceil(1024)).sum();
    let control = format!(
        "Package: dyn-perceiver\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: dyn-perceiver maintainers \
         <maintainers@dyn-perceiver.example>\nInstalled-Size: {installed}\nSection: science\nPriority: optional\n\
         Description: classification loop that lasts as long as the battery must\n Runs a multi-exit vision network on \
         frames of a camera and spends the\n battery where it buys accuracy. One static program and a systemd service.\n"
    );
    let script = |name: &str, text: &str, mode| File { path: name.into(), mode, contents: text.into() };
    let control = [
        script("conffiles", "/etc/default/dyn-perceiver\n", 0o644),
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

/// Writes beside, then renames: a package that is there is whole.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes).with_context(|| partial.display().to_string())?;
    std::fs::rename(&partial, path).with_context(|| path.display().to_string())?;
    println!("{}  {:.1} MiB", path.display(), bytes.len() as f64 / f64::from(1 << 20));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<File> {
        files(b"program".to_vec()).unwrap()
    }

    #[test]
    fn packages_repeat_byte_for_byte() {
        assert_eq!(debian_package("arm64", &sample()).unwrap(), debian_package("arm64", &sample()).unwrap());
    }

    #[test]
    fn dpkg_reads_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.deb");
        std::fs::write(&path, debian_package("arm64", &sample()).unwrap()).unwrap();
        let dpkg = |option: &str| Command::new("dpkg-deb").arg(option).arg(&path).output();
        let Ok(info) = dpkg("--info") else {
            eprintln!("dpkg-deb is not installed: its reading was not compared");
            return;
        };
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(info.contains("Architecture: arm64") && info.contains("postinst"), "{info}");
        let contents = String::from_utf8_lossy(&dpkg("--contents").unwrap().stdout).into_owned();
        assert!(contents.contains("-rwxr-xr-x 0/0"), "{contents}");
        for file in sample() {
            assert!(contents.contains(&file.path), "{} is not in {contents}", file.path);
        }
    }

    #[test]
    fn the_service_gives_up_what_it_does_not_need() {
        for line in [
            "Type=notify",
            "DynamicUser=yes",
            "DevicePolicy=closed",
            "DeviceAllow=char-video4linux rw",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "Restart=always",
        ] {
            assert!(UNIT.lines().any(|found| found == line), "no line {line}");
        }
        let watchdog = UNIT.lines().find_map(|line| line.strip_prefix("WatchdogSec="));
        assert!(watchdog.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds >= 10)));
    }

    #[test]
    fn other_architectures_are_refused() {
        assert!(architecture("riscv64gc-unknown-linux-gnu").is_err());
        assert_eq!(architecture("aarch64-unknown-linux-musl").unwrap(), "arm64");
    }
}

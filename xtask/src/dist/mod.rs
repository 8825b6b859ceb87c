//! A static program, a Debian package and a tar archive for a board.

mod licences;
mod package;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use dyn_perceiver_core::file::atomic_write;

use crate::elf::{Machine, Program};
use crate::{WrongInput, root, run as run_command, target_folder};
use package::{File, VERSION, archive, debian_package};

/// Make a static program, a .deb and a .tar.gz for a board
///
/// They go to target/dist. The same inputs give the same files: no time or user name gets into them.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Rust's name of the board's system
    #[arg(long, value_name = "TRIPLE", default_value = "aarch64-unknown-linux-gnu")]
    target: String,
    /// Package this program instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Take completions and man pages from this folder, as `dyn-perceiver generate` writes them [default: those of a program
    /// that is built for this machine]
    #[arg(long, value_name = "FOLDER")]
    generated: Option<PathBuf>,
    /// Where the packages go [default: target/dist]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

const UNIT: &str = include_str!("../../package/dyn-perceiver.service");
/// What the service needs beyond it to be reached over a network; put in place by who wants that.
const NETWORK: &str = include_str!("../../package/network.conf");
const OPTIONS: &str = include_str!("../../package/default");
const SETTINGS: &str = include_str!("../../package/config.toml");
/// The shipped model and what lies beside it.
pub(crate) const SHIPPED: &str = "models/pretrained/clothing";
/// Features of the packaged program beside the default ones: whoever installs a package compiles nothing.
pub(crate) const FEATURES: &str = "mqtt";

/// What training goes on from: of no use on a board.
const WEIGHTS: &str = "weights.safetensors";

pub(crate) fn run(args: &Args) -> Result<()> {
    let machine = machine(&args.target)?;
    let program = match &args.binary {
        Some(program) => program.clone(),
        None => build(&args.target)?,
    };
    let program = Program::read(&program)?.of(machine)?.into_bytes();
    let architecture = machine.debian();
    let folder = match &args.output {
        Some(folder) => folder.clone(),
        None => target_folder().join("dist"),
    };
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut files = files(program, &args.target)?;
    files.extend(generated(args.generated.as_deref())?);
    let deb = folder.join(format!("dyn-perceiver_{VERSION}_{architecture}.deb"));
    write(&deb, &debian_package(architecture, &files)?)?;
    let name = format!("dyn-perceiver-{VERSION}-{}", args.target);
    write(&folder.join(format!("{name}.tar.gz")), &archive(&files, &format!("{name}/"), &[])?)
}

/// The Debian package of a program for this machine, in `folder`.
pub(crate) fn package_of(program: &Path, folder: &Path) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let machine = machine(&target)?;
    let program = Program::read(program)?.of(machine)?.into_bytes();
    let deb = folder.join("dyn-perceiver.deb");
    write(&deb, &debian_package(machine.debian(), &files(program, &target)?)?)?;
    Ok(deb)
}

/// Builds the statically linked program for `target` and returns its path.
pub(crate) fn build(target: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The program tells it to whoever reports a fault.
    if let Some(commit) = commit() {
        command.env("DYN_PERCEIVER_COMMIT", commit);
    }
    command.current_dir(root()).args([
        "rustc",
        "--release",
        "--package",
        "dyn-perceiver-cli",
        "--bin",
        "dyn-perceiver",
    ]);
    command.args(["--features", FEATURES, "--target", target]);
    // Static linking is asked of the program alone: in RUSTFLAGS it would also reach build scripts' targets.
    run_command(command.args(["--", "-C", "target-feature=+crt-static"])).with_context(|| {
        format!("needs `rustup target add {target}` and a C cross compiler as linker, see docs/boards")
    })?;
    Ok(target_folder().join(target).join("release/dyn-perceiver"))
}

/// The commit that is checked out, with a word where files differ from it; none where this is no clone, or without git.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    let output =
        git.current_dir(root()).args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|commit| !commit.is_empty())
}

fn machine(target: &str) -> Result<Machine> {
    let machine = Machine::of(target);
    Ok(machine.ok_or_else(|| WrongInput(format!("--target {target}: packages are made for aarch64 and x86_64")))?)
}

fn files(program: Vec<u8>, target: &str) -> Result<Vec<File>> {
    let file = |path: &str, mode, contents: Vec<u8>| File { path: path.into(), mode, contents };
    let text = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let mut files = vec![
        file("etc/default/dyn-perceiver", 0o644, OPTIONS.into()),
        file("etc/dyn-perceiver/config.toml", 0o644, SETTINGS.into()),
        file("usr/bin/dyn-perceiver", 0o755, program),
        file("usr/lib/systemd/system/dyn-perceiver.service", 0o644, UNIT.into()),
        file("usr/share/doc/dyn-perceiver/network.conf", 0o644, NETWORK.into()),
        file("usr/share/doc/dyn-perceiver/README.md", 0o644, text(&root().join("README.md"))?),
    ];
    files.extend(licences::files(target)?);
    let mut shipped: Vec<_> = std::fs::read_dir(root().join(SHIPPED)).into_iter().flatten().flatten().collect();
    shipped.sort_by_key(std::fs::DirEntry::file_name);
    for entry in shipped.iter().filter(|entry| entry.path().is_file()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == WEIGHTS {
            continue;
        }
        files.push(file(&format!("usr/share/dyn-perceiver/{name}"), 0o644, text(&entry.path())?));
    }
    Ok(files)
}

/// Completions and man pages: what the program says of itself, so they are made by one that runs here.
fn generated(folder: Option<&Path>) -> Result<Vec<File>> {
    if let Some(folder) = folder {
        return below(folder);
    }
    let folder = target_folder().join("xtask/generated");
    let _ = std::fs::remove_dir_all(&folder);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let program =
        ["run", "--quiet", "--package", "dyn-perceiver-cli", "--bin", "dyn-perceiver", "--features", FEATURES];
    run_command(Command::new(cargo).current_dir(root()).args(program).args(["--", "generate"]).arg(&folder))?;
    below(&folder)
}

/// The files below a folder, in the order of their paths.
fn below(folder: &Path) -> Result<Vec<File>> {
    let (mut files, mut folders) = (vec![], vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let contents = std::fs::read(&path).with_context(|| path.display().to_string())?;
            let path = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            files.push(File { path, mode: 0o644, contents });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic_write(path, bytes).with_context(|| path.display().to_string())?;
    println!("{}  {:.1} MiB", path.display(), bytes.len() as f64 / f64::from(1 << 20));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<File> {
        files(b"program".to_vec(), "x86_64-unknown-linux-gnu").unwrap()
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
    fn a_program_of_another_machine_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let args = |binary: PathBuf| Args {
            target: "aarch64-unknown-linux-gnu".into(),
            binary: Some(binary),
            generated: None,
            output: Some(folder.path().join("out")),
        };
        // This test's own program.
        let error = run(&args(std::env::current_exe().unwrap())).unwrap_err();
        assert_eq!(error.is::<WrongInput>(), cfg!(not(target_arch = "aarch64")), "{error:#}");
        assert!(error.to_string().contains("for x86_64, expected one for aarch64"), "{error:#}");
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(run(&args(script)).unwrap_err().is::<WrongInput>());
        assert!(!folder.path().join("out").exists());
    }

    #[test]
    fn licences_are_in_the_package_and_training_weights_are_not() {
        let files = sample();
        let text = |path: &str| {
            let file = files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}"));
            String::from_utf8_lossy(&file.contents).into_owned()
        };
        let copyright = text("usr/share/doc/dyn-perceiver/copyright");
        assert!(copyright.contains("Apache License") && copyright.contains("Permission is hereby granted"));
        let list = text("usr/share/doc/dyn-perceiver/third-party.txt");
        for linked in ["tract-core ", "rumqttc ", "rustls ", "ring "] {
            assert!(list.lines().any(|line| line.starts_with(linked)), "{list}");
        }
        assert!(files.iter().any(|file| file.path.ends_with("/model.onnx")));
        assert!(files.iter().all(|file| !file.path.ends_with("weights.safetensors")));
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
            "MemoryMax=80%",
            "TimeoutStartSec=120",
        ] {
            assert!(UNIT.lines().any(|found| found == line), "no line {line}");
        }
        let watchdog = UNIT.lines().find_map(|line| line.strip_prefix("WatchdogSec="));
        assert!(watchdog.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds >= 10)));
    }

    #[test]
    fn the_service_has_a_network_only_where_somebody_asks_for_it() {
        for line in ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"] {
            assert!(UNIT.lines().any(|found| found == line), "no line {line}");
        }
        let settings: Vec<&str> = NETWORK.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect();
        assert_eq!(settings, ["PrivateNetwork", "RestrictAddressFamilies", "IPAddressDeny", "IPAddressAllow"]);
    }

    #[test]
    fn completions_and_man_pages_are_taken_from_where_they_lie() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["usr/share/man/man1/dyn-perceiver.1", "usr/share/fish/x.fish"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
        }
        let files = generated(Some(folder.path())).unwrap();
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["usr/share/fish/x.fish", "usr/share/man/man1/dyn-perceiver.1"]);
        assert!(generated(Some(&folder.path().join("none"))).is_err());
    }

    #[test]
    fn the_service_reads_the_settings_that_come_with_it() {
        let exec = UNIT.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert!(exec.contains("--config /etc/dyn-perceiver/config.toml"), "{exec}");
        assert!(sample().iter().any(|file| file.path == "etc/dyn-perceiver/config.toml"));
    }

    #[test]
    fn other_architectures_are_refused() {
        assert!(machine("riscv64gc-unknown-linux-gnu").unwrap_err().is::<WrongInput>());
        assert_eq!(machine("aarch64-unknown-linux-musl").unwrap().debian(), "arm64");
    }
}

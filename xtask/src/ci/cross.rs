//! A compiler for the targets of boards: rustup's, or the one that an environment variable names.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::{cargo, target_folder};

/// The companion microcontroller, a Cortex-M4F.
pub(super) const MICROCONTROLLER: &str = "thumbv7em-none-eabihf";
/// 64-bit Linux boards.
pub(super) const BOARD: &str = "aarch64-unknown-linux-gnu";

/// Names a folder with `bin/xcargo`, which builds for both targets.
const VARIABLE: &str = "DYN_PERCEIVER_CROSS";

/// A cargo for a target of boards.
#[derive(Debug)]
pub(super) struct Cross {
    cargo: OsString,
    target_folder: PathBuf,
}

impl Cross {
    /// The toolchain for `target`, where there is one.
    pub(super) fn find(target: &str) -> Option<Self> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let installed = named.is_none() && Self::rustup_has(target);
        Self::of(named, installed)
    }

    /// The toolchain in a folder that is named; without one the usual cargo, if it has the target.
    fn of(named: Option<PathBuf>, installed: bool) -> Option<Self> {
        match named.map(|folder| folder.join("bin/xcargo")) {
            // A folder of its own: two compilers that share one build the same crates again and again.
            Some(xcargo) => xcargo
                .is_file()
                .then(|| Self { cargo: xcargo.into_os_string(), target_folder: target_folder().join("cross") }),
            None => installed.then(|| Self { cargo: cargo(), target_folder: target_folder() }),
        }
    }

    fn rustup_has(target: &str) -> bool {
        let output = Command::new("rustup").args(["target", "list", "--installed"]).output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line == target))
    }

    pub(super) fn cargo(&self) -> &OsString {
        &self.cargo
    }

    /// Where it builds.
    pub(super) fn target_folder(&self) -> &PathBuf {
        &self.target_folder
    }

    /// An emulator that came with the toolchain, newer than the system's.
    pub(super) fn qemu(&self) -> Option<PathBuf> {
        let folder = PathBuf::from(&self.cargo).parent()?.parent()?.to_owned();
        Some(folder.join("qemu/usr/bin/qemu-system-aarch64")).filter(|qemu| qemu.is_file())
    }

    /// A command of this cargo.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        command.env("CARGO_TARGET_DIR", &self.target_folder);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_named_comes_before_rustup() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Cross::of(Some(folder.path().to_owned()), true).is_none());
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::fs::write(folder.path().join("bin/xcargo"), "").unwrap();
        let cross = Cross::of(Some(folder.path().to_owned()), false).unwrap();
        assert_eq!(cross.cargo(), folder.path().join("bin/xcargo").as_os_str());
        assert!(cross.target_folder().ends_with("cross"));
    }

    #[test]
    fn without_a_folder_rustup_decides() {
        assert!(Cross::of(None, false).is_none());
        assert_eq!(Cross::of(None, true).unwrap().target_folder(), &target_folder());
    }
}

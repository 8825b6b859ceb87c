//! The kernels' tests under AddressSanitizer, which sees reads and writes outside of what was allocated.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::Args as ClapArgs;

use crate::{root, run as run_command, work_folder};

const SANITIZER: &str = "-Zsanitizer=address";

/// Run the kernels' tests under AddressSanitizer
///
/// The kernels are a crate without tract, whose build under a sanitizer would take long. Needs a nightly toolchain
/// (rustup toolchain install nightly).
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Toolchain with sanitizers
    #[arg(long, value_name = "NAME", default_value = "nightly")]
    toolchain: String,
    /// Where cargo builds [default: target/xtask/sanitize]
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    /// What the test program is told, for instance a part of a test's name
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = match &args.target_dir {
        Some(folder) => folder.clone(),
        None => work_folder("sanitize")?,
    };
    let mut cargo = Command::new("rustup");
    cargo.current_dir(root()).args(["run", &args.toolchain, "cargo", "test", "--package", "dyn-perceiver-kernels"]);
    // With a target, build scripts and macros are left without the sanitizer.
    cargo.args(["--target", "x86_64-unknown-linux-gnu", "--target-dir"]).arg(folder);
    cargo.arg("--").args(&args.options).env_remove("CARGO");
    // Examples in the documentation are compiled by rustdoc, which has flags of its own.
    cargo.env("RUSTFLAGS", SANITIZER).env("RUSTDOCFLAGS", SANITIZER);
    run_command(&mut cargo)
}

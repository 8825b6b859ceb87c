//! The kernels' tests under Miri, which interprets them and sees undefined behaviour that runs well by chance.

use std::process::Command;

use anyhow::Result;
use clap::Args as ClapArgs;

use crate::{root, run as run_command, work_folder};

/// Run the kernels' tests under Miri
///
/// Miri has none of the instruction sets that are chosen at run time, so this is the portable path; the others run under
/// `cargo xtask sanitize`. Properties are tried with two small shapes each. Needs a nightly toolchain with Miri (rustup
/// toolchain install nightly --component miri,rust-src).
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Toolchain with Miri
    #[arg(long, value_name = "NAME", default_value = "nightly")]
    toolchain: String,
    /// What the test program is told, for instance a part of a test's name
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut cargo = Command::new("rustup");
    cargo.current_dir(root()).args(["run", &args.toolchain, "cargo", "miri", "test", "--lib"]);
    cargo.args(["--package", "dyn-perceiver-kernels", "--target-dir"]).arg(work_folder("miri")?);
    // Property tests ask for the working folder, which Miri keeps from programs.
    cargo.env("MIRIFLAGS", "-Zmiri-disable-isolation").env_remove("CARGO");
    cargo.arg("--").args(&args.options);
    run_command(&mut cargo)
}

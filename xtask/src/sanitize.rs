//! The kernels' tests under AddressSanitizer, which sees reads and writes outside of what was allocated.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;

use crate::{root, run as run_command, work_folder};

/// Run the kernels' tests under AddressSanitizer
///
/// The kernels are built as a crate of their own, without tract, whose build under a sanitizer would take long. Needs a
/// nightly toolchain (rustup toolchain install nightly).
#[derive(ClapArgs)]
pub struct Args {
    /// Toolchain with sanitizers
    #[arg(long, value_name = "NAME", default_value = "nightly")]
    toolchain: String,
    /// Where cargo builds [default: target/xtask/sanitize/target]
    #[arg(long, value_name = "FOLDER")]
    target_dir: Option<PathBuf>,
    /// What the test program is told, for instance a part of a test's name
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
}

/// What the kernels need of other crates, in versions as the library has them.
const MANIFEST: &str = r#"[workspace]

[package]
name = "kernels"
version = "0.0.0"
edition = "2024"

[dependencies]
libm = "0.2"
memmap2 = "0.9"
nix = { version = "0.31", default-features = false, features = ["sched"] }
serde = { version = "1", features = ["derive"] }

[dev-dependencies]
proptest = { version = "1", default-features = false, features = ["std"] }

[profile.dev]
opt-level = 2
"#;

pub fn run(args: &Args) -> Result<()> {
    let folder = work_folder("sanitize")?;
    let kernels = root().join("src/plan/kernels/mod.rs");
    let source = format!(
        "#![allow(dead_code, unused_imports)]\nmod plan {{\n    #[path = {:?}]\n    pub(crate) mod kernels;\n}}\n",
        kernels.canonicalize().with_context(|| kernels.display().to_string())?
    );
    std::fs::create_dir_all(folder.join("src"))?;
    std::fs::write(folder.join("Cargo.toml"), MANIFEST)?;
    std::fs::write(folder.join("src/lib.rs"), source)?;
    let mut cargo = Command::new("rustup");
    cargo.args(["run", &args.toolchain, "cargo", "test", "--target", "x86_64-unknown-linux-gnu", "--manifest-path"]);
    cargo.arg(folder.join("Cargo.toml")).arg("--target-dir");
    cargo.arg(args.target_dir.clone().unwrap_or_else(|| folder.join("target")));
    cargo.arg("--").args(&args.options).env("RUSTFLAGS", "-Zsanitizer=address").env_remove("CARGO");
    run_command(&mut cargo)
}

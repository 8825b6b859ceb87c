//! Packages for boards, SD-card images and the system test. `cargo xtask --help` lists the tasks.

mod camera_cost;
mod ci;
mod cpio;
mod crowd;
mod cycles;
mod debian;
mod dist;
mod elf;
mod emulated;
mod energy_tables;
mod gate_table;
mod guest;
mod image;
mod initramfs;
mod learn_alike;
mod learn_table;
mod miri;
mod modules;
mod sanitize;
mod soak;
mod system_test;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

/// Tasks around the project that are more than a cargo command.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    CameraCost(camera_cost::Args),
    Ci(ci::Args),
    Cycles(cycles::Args),
    Dist(dist::Args),
    EmulatedTests(emulated::Args),
    EnergyTables(energy_tables::Args),
    GateTable(gate_table::Args),
    Image(image::Args),
    LearnAlike(learn_alike::Args),
    LearnTable(learn_table::Args),
    Miri(miri::Args),
    #[command(hide = true)]
    PlayFrames(camera_cost::PlayArgs),
    Sanitize(sanitize::Args),
    Soak(soak::Args),
    Crowd(crowd::Args),
    SystemTest(system_test::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::CameraCost(args) => camera_cost::run(&args),
        Task::Ci(args) => ci::run(&args),
        Task::Cycles(args) => cycles::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::EmulatedTests(args) => emulated::run(&args),
        Task::EnergyTables(args) => energy_tables::run(&args),
        Task::GateTable(args) => gate_table::run(&args),
        Task::Image(args) => image::run(&args),
        Task::LearnAlike(args) => learn_alike::run(&args),
        Task::LearnTable(args) => learn_table::run(&args),
        Task::Miri(args) => miri::run(&args),
        Task::PlayFrames(args) => camera_cost::play(&args),
        Task::Sanitize(args) => sanitize::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Crowd(args) => crowd::run(&args),
        Task::SystemTest(args) => system_test::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<WrongInput>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// What was given cannot be worked with, whatever is tried: exit code 2, as of the program itself.
#[derive(Debug)]
struct WrongInput(String);

impl std::fmt::Display for WrongInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongInput {}

/// The repository's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds.
fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A folder for what tasks fetch and make, kept between runs.
fn work_folder(name: &str) -> Result<PathBuf> {
    let folder = target_folder().join("xtask").join(name);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

/// The cargo that this was started by.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What `cargo metadata` says of the workspace.
fn metadata(options: &[&str]) -> Result<serde_json::Value> {
    let mut command = Command::new(cargo());
    command.current_dir(root()).args(["metadata", "--format-version", "1", "--locked"]).args(options);
    let text = format!("{command:?}");
    let output = command.stderr(Stdio::inherit()).output().with_context(|| text.clone())?;
    if !output.status.success() {
        bail!("{text}: {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs a command and fails if it does.
fn run(command: &mut Command) -> Result<()> {
    let text = format!("{command:?}");
    let status = command.status().with_context(|| text.clone())?;
    if !status.success() {
        bail!("{text}: {status}");
    }
    Ok(())
}

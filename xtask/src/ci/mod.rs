//! The one list of checks. Whoever changes the code and whatever merges it run the same.

mod cross;
mod installed;
mod packages;
mod report;
mod versions;

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;

use crate::{cargo, root};
use cross::Cross;
use report::Report;

/// Run every check that a change has to pass
///
/// Each step is printed with the time it took; the first that fails ends the list. What needs a tool that is not installed
/// is skipped with a line that says so. DYN_PERCEIVER_CROSS names a folder with bin/xcargo, a cargo for the boards' targets,
/// where `rustup target add` has not been run. EMULATED=1 adds the system test and the library's tests on the processors of
/// boards, half an hour more on two cores; MIRI=1 adds the kernels' tests under Miri, and SANITIZE=1 those under AddressSanitizer.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Leave out documentation, feature combinations, packages and other targets
    #[arg(long)]
    quick: bool,
    /// Run only the steps whose name contains one of these words
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the steps and run none
    #[arg(long)]
    list: bool,
}

/// The test command of README.md, run word for word.
const TEST: &str = "cargo test --workspace";
/// Packages with features, and the combinations that are built.
const FEATURES: [(&str, &[&[&str]]); 3] = [
    (
        "dyn-perceiver",
        &[
            &["--no-default-features"],
            &["--no-default-features", "--features", "camera"],
            &["--no-default-features", "--features", "tract"],
            &["--no-default-features", "--features", "camera,tract"],
            &["--all-features"],
        ],
    ),
    (
        "dyn-perceiver-core",
        &[
            &["--no-default-features"],
            &["--no-default-features", "--features", "std"],
            &["--no-default-features", "--features", "defmt"],
        ],
    ),
    ("dyn-perceiver-cli", &[&["--no-default-features"], &["--all-features"]]),
];

/// Runs the checks.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut report = Report::new(&args.only, args.list);
    report.step("format", &mut tool(["fmt", "--all", "--check"]))?;
    report.step("clippy", &mut tool(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    report.check("test", test)?;
    installed(&mut report)?;
    if !args.quick {
        let mut doc = tool(["doc", "--workspace", "--no-deps"]);
        report.step("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
        // Before a real broker, where Mosquitto is installed.
        let mqtt =
            ["test", "--workspace", "--features", "dyn-perceiver-cli/mqtt", "--bin", "dyn-perceiver", "--test", "it"];
        report.step("mqtt", tool(mqtt).args(["--", "mqtt"]))?;
        features(&mut report)?;
        report.check("rust version", versions::check)?;
        report.check("packages", packages::check)?;
        licences(&mut report)?;
        targets(&mut report)?;
        nightly(&mut report)?;
    }
    report.finish()
}

/// Cargo in the repository's root.
fn tool<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(cargo());
    command.current_dir(root()).args(arguments);
    command
}

/// README's test command, so that what a reader is told to run is what is run.
fn test() -> Result<()> {
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let line = readme.lines().find(|line| line.starts_with("cargo test")).unwrap_or_default();
    ensure!(line == TEST, "README.md names another test command than `{TEST}`: `{line}`");
    crate::run(&mut tool(line.split(' ').skip(1)))
}

/// The package, unpacked and used.
fn installed(report: &mut Report) -> Result<()> {
    if Command::new("dpkg").arg("--version").output().is_err() {
        report.skip("installed package", "there is no dpkg");
        return Ok(());
    }
    report.check("installed package", installed::check)
}

/// Every combination by clippy, whose warnings about code that a feature leaves unused count as errors.
fn features(report: &mut Report) -> Result<()> {
    for (package, combinations) in FEATURES {
        for combination in combinations {
            let name = format!("features of {package}: {}", combination.join(" "));
            let mut clippy = tool(["clippy", "--package", package]);
            report.step(&name, clippy.args(*combination).args(["--", "-D", "warnings"]))?;
        }
    }
    Ok(())
}

/// Licences and duplicates of what is built in, by deny.toml.
fn licences(report: &mut Report) -> Result<()> {
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok();
    if !installed {
        report.skip("licences", "cargo-deny is not installed (cargo install cargo-deny)");
        return Ok(());
    }
    report.check("licences", || {
        // Crates of other systems are in the lock file, too, and no build here has fetched them.
        crate::run(&mut tool(["fetch", "--locked"]))?;
        crate::run(&mut tool(["deny", "--workspace", "--offline", "check", "licenses", "bans", "sources"]))
    })
}

/// The kernels under Miri and AddressSanitizer, which need a nightly toolchain.
fn nightly(report: &mut Report) -> Result<()> {
    for (task, variable) in [("miri", "MIRI"), ("sanitize", "SANITIZE")] {
        if is_asked_for(variable) {
            report.step(task, &mut tool(["xtask", task]))?;
        } else {
            report.skip(task, &format!("{variable}=1 asks for it"));
        }
    }
    Ok(())
}

fn is_asked_for(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

/// The core for a microcontroller and its firmware; boards under emulation.
fn targets(report: &mut Report) -> Result<()> {
    let target = cross::MICROCONTROLLER;
    let Some(cross) = Cross::find(target) else {
        report.skip("no_std", &format!("there is no compiler for {target}, see CONTRIBUTING.md"));
        return boards(report);
    };
    let arguments = ["build", "--package", "dyn-perceiver-core", "--target", target];
    report.step("no_std", cross.command().current_dir(root()).args(arguments))?;
    let mut firmware = Command::new(root().join("boards/companion-mcu/check.sh"));
    firmware.env("CARGO", cross.cargo()).env("HOST_CARGO", cargo()).env("CARGO_TARGET_DIR", cross.target_folder());
    report.step("firmware", &mut firmware)?;
    boards(report)
}

fn boards(report: &mut Report) -> Result<()> {
    let target = cross::BOARD;
    if !is_asked_for("EMULATED") {
        report.skip("boards", "EMULATED=1 asks for the system test and the tests under emulation");
        return Ok(());
    }
    let Some(cross) = Cross::find(target) else {
        report.skip("boards", &format!("there is no compiler for {target}, see CONTRIBUTING.md"));
        return Ok(());
    };
    // Static linking is asked of the program alone: in RUSTFLAGS it would also reach build scripts.
    let program =
        ["rustc", "--release", "--package", "dyn-perceiver-cli", "--bin", "dyn-perceiver", "--target", target];
    let linking = ["--", "-C", "target-feature=+crt-static"];
    report.step("program for boards", cross.command().current_dir(root()).args(program).args(linking))?;
    let binary = cross.target_folder().join(target).join("release/dyn-perceiver");
    let mut system = tool(["xtask", "system-test", "--skip-without-qemu", "--binary"]);
    system.arg(binary);
    if let Some(qemu) = cross.qemu() {
        system.arg("--qemu").arg(qemu);
    }
    report.step("system test", &mut system)?;
    let mut emulated = tool(["xtask", "emulated-tests", "--skip-without-qemu", "--cargo"]);
    emulated.arg(cross.cargo()).env("CARGO_TARGET_DIR", cross.target_folder());
    report.step("emulated tests", &mut emulated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_command_is_the_readmes() {
        let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
        assert_eq!(readme.lines().find(|line| line.starts_with("cargo test")), Some(TEST));
    }

    #[test]
    fn every_feature_of_the_library_is_in_a_combination() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let features = manifest.split_once("\n[features]\n").unwrap().1.split("\n[").next().unwrap();
        assert!(features.contains("\ntract = [") && features.contains("\ncamera = ["));
        let (_, combinations) = FEATURES[0];
        assert!(combinations.iter().any(|combination| combination.contains(&"--all-features")));
    }

    #[test]
    fn checks_can_be_listed_without_running_any() {
        run(&Args { quick: false, only: Vec::new(), list: true }).unwrap();
    }
}

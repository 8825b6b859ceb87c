//! The package as a user has it: unpacked into a folder of its own, its documented commands run from the root folder, and
//! nothing of this repository in sight.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

use super::tool;
use crate::dist;
use crate::{root, run, target_folder};

/// Where the package's data lie.
const SHARE: &str = "usr/share/dyn-perceiver";

/// Packages the program of this machine, unpacks the package and runs what README.md says there is.
pub(super) fn check() -> Result<()> {
    // The same selection as the tests', so that nothing is built twice.
    run(&mut tool(["build", "--workspace", "--bin", "dyn-perceiver"]))?;
    let folder = tempfile::tempdir()?;
    let package = dist::package_of(&target_folder().join("debug/dyn-perceiver"), folder.path())?;
    let installed = folder.path().join("root");
    run(Command::new("dpkg").arg("-x").arg(&package).arg(&installed))?;
    let program = Program { hidden: hides(root()), installed: installed.clone() };
    println!("{}", if program.hidden { "the repository is hidden" } else { "the repository cannot be hidden here" });
    let share = |name: &str| installed.join(SHARE).join(name).display().to_string();
    let made = |name: &str| folder.path().join(name).display().to_string();
    let picture = made("picture.png");
    std::fs::copy(root().join("tests/fixtures/pictures/rgba.png"), &picture).context("a picture to classify")?;
    let model = share("model.onnx");
    for arguments in [
        &["run"][..],
        &["run", "--json", "--limit", "5"],
        &["classify", &picture],
        &["classify", &picture, "--json", "--exit", "1"],
        &["inspect", &model],
        &["compile", &model, "--policy", &share("policy.json"), "-o", &made("model.dynp")],
        &["run", "--model", &made("model.dynp"), "--limit", "5"],
        &["models"],
        &["simulate", "--hours", "1", "--seeds", "2"],
        &["doctor"],
    ] {
        program.succeeds(arguments)?;
    }
    for command in ["calibrate", "evaluate", "import", "profile"] {
        program.succeeds(&[command, "--help"])?;
    }
    Ok(())
}

struct Program {
    installed: PathBuf,
    /// Whether the repository can be hidden from it.
    hidden: bool,
}

impl Program {
    /// Runs the program from the root folder.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let program = self.installed.join("usr/bin/dyn-perceiver");
        let mut command = if self.hidden { without(root()) } else { Command::new("env") };
        command.arg(program).args(arguments).current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
        command.output().context("the installed program does not start")
    }

    fn succeeds(&self, arguments: &[&str]) -> Result<()> {
        let output = self.run(arguments)?;
        let (told, line) = (String::from_utf8_lossy(&output.stderr), arguments.join(" "));
        // A doctor that finds something amiss on this machine has done its work.
        let code = output.status.code();
        let fine = code == Some(0) || (arguments[0] == "doctor" && code == Some(1));
        ensure!(fine, "dyn-perceiver {line}: {}: {told}", output.status);
        ensure!(!output.stdout.is_empty(), "dyn-perceiver {line}: says nothing");
        println!("dyn-perceiver {line}");
        Ok(())
    }
}

/// A command that runs another, its arguments, with an empty folder in place of `folder`.
fn without(folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\""]);
    command.arg(folder);
    command
}

/// Whether this system lets a folder be hidden from a program.
fn hides(folder: &Path) -> bool {
    let manifest = folder.join("Cargo.toml");
    let hidden = without(folder).args(["test", "!", "-e"]).arg(manifest).output();
    hidden.is_ok_and(|output| output.status.success())
}

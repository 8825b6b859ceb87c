//! The training package: written out, given an environment, and run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow};
use dyn_perceiver::file::atomic_write;
use dyn_perceiver_models::training::FILES;

use super::Args;
use crate::output::failure::Failure;
use crate::output::message;

/// Trains into `work`; goes on with what is there.
pub(super) fn train(args: &Args, work: &Path) -> Result<(), Failure> {
    let package = cache()?;
    for (name, contents) in FILES {
        let path = package.join(name);
        if std::fs::read_to_string(&path).is_ok_and(|there| there == *contents) {
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        atomic_write(&path, contents.as_bytes()).with_context(|| path.display().to_string())?;
    }
    let python = match &args.python {
        Some(python) => python.clone(),
        None => environment(&package)?,
    };
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    let mut command = Command::new(&python);
    command.args(["-m", "dyn_perceiver_training.fit"]).arg(absolute(&args.data)?).arg("--out").arg(absolute(work)?);
    command.args(["--arch", &args.arch, "--tune", &args.tune, "--size", &args.input_size.to_string()]);
    if let Some(from) = &args.from {
        command.arg("--from").arg(absolute(from)?);
    }
    if let Some(minutes) = args.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    command.args(&args.options).env("PYTHONPATH", &package);
    // What training says are notes on the way; the result is this program's to tell.
    command.stdout(if args.json { Stdio::null() } else { Stdio::inherit() });
    let status = command.status().with_context(|| python.display().to_string())?;
    match status.code() {
        Some(0) => Ok(()),
        // It has said what is wrong.
        Some(2) => Err(Failure::Input(anyhow!("{}: cannot be trained on", args.data.display()))),
        _ => Err(anyhow!("training ended early ({status}); the same command goes on where it was").into()),
    }
}

/// The folder of the package and its environment.
fn cache() -> Result<PathBuf, Failure> {
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let folder = folder.ok_or_else(|| anyhow!("neither XDG_CACHE_HOME nor a home folder is known"))?;
    Ok(folder.join("dyn-perceiver").join("training"))
}

/// A Python with what the package needs, made once.
fn environment(package: &Path) -> Result<PathBuf, Failure> {
    let folder = package.join("venv");
    let (python, stamp) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let requirements = package.join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    message::note("making a Python environment with PyTorch, once; it takes some minutes and gigabytes");
    if !python.exists() {
        finish(Command::new("python3").args(["-m", "venv"]).arg(&folder), "no virtual environment could be made")?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&requirements);
    finish(&mut pip, "PyTorch could not be installed")?;
    atomic_write(&stamp, wanted.as_bytes()).with_context(|| stamp.display().to_string())?;
    Ok(python)
}

fn finish(command: &mut Command, what: &str) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output().with_context(|| what.to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(anyhow!("{what}: {}", said.trim().lines().last().unwrap_or("it gave no reason")).into())
}

//! The virtual environment of the peers that come from PyPI, made by this program in its cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

const REQUIREMENTS: &str = include_str!("../../python/requirements.txt");
const WORKER: &str = include_str!("../../python/worker.py");

/// A Python interpreter with the peers, and the driver it runs.
pub(super) struct Venv {
    pub python: PathBuf,
    pub worker: PathBuf,
    /// Requirements that could not be installed, and why.
    pub refused: Vec<(String, String)>,
}

impl Venv {
    /// The environment below `cache`, made or brought up to date where its requirements are not those of this program.
    /// `say` hears of what takes long.
    ///
    /// # Errors
    /// When there is no Python with `venv`, or nothing can be written.
    pub(super) fn open(cache: &Path, say: &mut dyn FnMut(&str)) -> anyhow::Result<Venv> {
        let folder = cache.join("venv");
        let venv = Venv { python: folder.join("bin/python"), worker: write_worker(cache)?, refused: vec![] };
        let stamp = folder.join("requirements.txt");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == REQUIREMENTS) {
            return Ok(venv);
        }
        if !venv.python.exists() {
            say("making a virtual environment for the peers from PyPI");
            let mut make = Command::new("python3");
            finish(make.args(["-m", "venv"]).arg(&folder)).context("no virtual environment could be made")?;
        }
        let mut refused = vec![];
        for requirement in REQUIREMENTS.lines() {
            say(&format!("installing {requirement}"));
            let mut pip = Command::new(&venv.python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]);
            if let Err(error) = finish(&mut pip) {
                refused.push((requirement.to_owned(), format!("{error:#}")));
            }
        }
        if refused.is_empty() {
            fs::write(&stamp, REQUIREMENTS)?;
        }
        Ok(Venv { refused, ..venv })
    }

    /// An environment that the user made.
    ///
    /// # Errors
    /// When it has no interpreter.
    pub(super) fn at(folder: &Path, cache: &Path) -> anyhow::Result<Venv> {
        let python = folder.join("bin/python");
        if !python.exists() {
            return Err(crate::failure::input(format!(
                "{}: no virtual environment, it has no bin/python",
                folder.display()
            )));
        }
        Ok(Venv { python, worker: write_worker(cache)?, refused: vec![] })
    }

    /// The shared library in the environment's `onnxruntime` package.
    pub(super) fn onnxruntime(&self) -> Option<PathBuf> {
        let library = self.python.parent()?.parent()?.join("lib");
        let pythons = fs::read_dir(library).ok()?.flatten().map(|entry| entry.path());
        let folders = pythons.map(|python| python.join("site-packages/onnxruntime/capi"));
        let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flat_map(|files| files.flatten());
        let is_it = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("libonnxruntime.so")
        };
        files.map(|entry| entry.path()).find(is_it)
    }
}

/// Whether a line of the requirements is what a runtime comes from.
pub(super) fn provides(requirement: &str, runtime: &str) -> bool {
    let package = match runtime {
        "pytorch" | "pytorch-compiled" => "torch",
        other => other,
    };
    requirement.split("==").next().is_some_and(|name| name.eq_ignore_ascii_case(package))
}

fn write_worker(cache: &Path) -> anyhow::Result<PathBuf> {
    let path = cache.join("worker.py");
    fs::write(&path, WORKER).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn finish(command: &mut Command) -> anyhow::Result<()> {
    let done = command.output().with_context(|| format!("{} does not start", command.get_program().display()))?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        bail!("{}", errors.trim().lines().next_back().unwrap_or("no reason given"));
    }
    Ok(())
}

//! The runtimes that `compare count` holds this program against on an emulated processor, and how each is started there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::precision::Precision;
use super::reference::APPROXIMATE;
use super::venv::Venv;
use crate::protocol::Load;

/// Processors that compute in float16.
const HALVES: [&str; 1] = ["cortex-a76"];

/// A runtime of somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Other {
    /// Plain tract, in this program.
    Tract,
    /// ONNX Runtime's shared library, in this program.
    Onnxruntime,
    /// MNN's Python package, at its highest precision.
    Mnn,
    /// The same with arithmetic in float16.
    MnnF16,
    /// ncnn's Python package, in float32.
    Ncnn,
    /// The same with arithmetic in float16.
    NcnnF16,
    /// LiteRT's Python package with its XNNPACK delegate, in float32.
    Litert,
}

/// Python for the emulated processor, and one here that has the converters.
pub(super) struct Python<'a> {
    /// The root folder it is in.
    pub root: &'a Path,
    /// The environment of `compare run`.
    pub here: &'a Venv,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Other::Tract => "tract",
            Other::Onnxruntime => "onnxruntime",
            Other::Mnn => "mnn",
            Other::MnnF16 => "mnn f16",
            Other::Ncnn => "ncnn",
            Other::NcnnF16 => "ncnn f16",
            Other::Litert => "litert",
        })
    }
}

impl Other {
    /// The Python package that it is in, if it is in one.
    pub(super) fn package(self) -> Option<&'static str> {
        match self {
            Other::Tract | Other::Onnxruntime => None,
            Other::Mnn | Other::MnnF16 => Some("mnn"),
            Other::Ncnn | Other::NcnnF16 => Some("ncnn"),
            Other::Litert => Some("litert"),
        }
    }

    fn in_halves(self) -> bool {
        matches!(self, Other::MnnF16 | Other::NcnnF16)
    }

    /// Largest difference of a logit from float32, over the largest logit.
    pub(super) fn tolerance(self) -> f64 {
        if self.in_halves() { Precision::F16.tolerance() } else { APPROXIMATE }
    }

    /// Program and arguments, for the emulator, of a runtime from a Python package; its model is converted here.
    ///
    /// # Errors
    /// When the processor has no float16, there is no Python for it, or the model cannot be converted.
    pub(super) fn command(self, cpu: &str, python: Option<&Python<'_>>, load: &Load) -> anyhow::Result<Vec<String>> {
        let package = self.package().context("it is no Python package")?;
        if self.in_halves() && !HALVES.contains(&cpu) {
            bail!("{cpu} does not compute in float16");
        }
        let python = python.context("no Python for the emulated processor was named (--python)")?;
        let base = converted(package, python.here, load)?;
        let program = python.root.join("usr/bin/python3");
        let mut command = [&program, &python.here.worker].map(|path| path.display().to_string()).to_vec();
        command.extend([package.to_owned(), "--converted".to_owned(), base.display().to_string()]);
        command.extend(self.in_halves().then(|| "--half".to_owned()));
        Ok(command)
    }
}

/// The model in the runtime's own format, made once beside it: what the files' names begin with.
fn converted(package: &str, here: &Venv, load: &Load) -> anyhow::Result<PathBuf> {
    let base = load.model.with_extension(package);
    let described = PathBuf::from(format!("{}.json", base.display()));
    if described.exists() {
        return Ok(base);
    }
    let shape = load.shape.map(|size| size.to_string()).join(",");
    let mut command = Command::new(&here.python);
    command.arg(&here.worker).arg("--convert").arg(&base).args([package.as_ref(), load.model.as_os_str()]).arg(shape);
    let done = command.output().with_context(|| format!("{} does not start", here.python.display()))?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        bail!("not converted: {}", errors.trim().lines().next_back().unwrap_or("no reason given"));
    }
    Ok(base)
}

/// Removes what [`converted`] made of a model.
pub(super) fn forget(model: &Path) {
    for package in ["mnn", "ncnn", "litert"] {
        for ending in ["json", "mnn", "param", "bin", "tflite"] {
            // What is left behind does no harm: it takes place on a disk.
            let _ = std::fs::remove_file(format!("{}.{ending}", model.with_extension(package).display()));
        }
    }
}

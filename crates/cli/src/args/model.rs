//! Which model, how it is read, and its stage plans.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dyn_perceiver::bundle;
use dyn_perceiver::model::{LoadOptions, Model, ModelInfo};
use dyn_perceiver::plan::Plan;

use super::load::LoadArgs;
use crate::defaults;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::{message, text};

impl LoadArgs {
    /// Stage plans of the model or bundle at `path`.
    pub(crate) fn plan(&self, path: &Path) -> Result<Arc<Plan>, Failure> {
        let options = self.options()?;
        if is_file(path) && bundle::is_bundle(path) {
            self.for_bundle(path)?;
        }
        let plan = match is_file(path) {
            true => Plan::load(path, &options).or_input()?,
            false => Plan::new(piped(path, &options)?).or_input()?,
        };
        warn(plan.info());
        Ok(Arc::new(plan))
    }

    /// The ONNX model at `path`.
    pub(crate) fn model(&self, path: &Path) -> Result<Model, Failure> {
        let options = self.options()?;
        let model = if is_file(path) { Model::load_with(path, &options).or_input()? } else { piped(path, &options)? };
        warn(model.info());
        Ok(model)
    }
}

/// Tells what was assumed or left out in reading a model.
fn warn(info: &ModelInfo) {
    for warning in &info.warnings {
        message::warning(&format!("{}: {warning}", text::shown(&info.path)));
    }
}

/// Whether `path` is a file as others are, or nothing at all, which loading then says.
fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |file| file.is_file() || file.is_dir())
}

/// A model from a pipe, which can be read only once.
fn piped(path: &Path, options: &LoadOptions) -> Result<Model, Failure> {
    /// More than any model of the family, and less than a board has.
    const MOST: u64 = 2 << 30;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return wrong(format!("{}: {error}", path.display()));
    }
    if bytes.len() as u64 > MOST {
        return wrong(format!("{}: more than {} GiB, which no model is", path.display(), MOST >> 30));
    }
    if bytes.starts_with(bundle::MAGIC) {
        return wrong(format!("{}: a bundle is mapped into memory, so it must be a file, not a pipe", path.display()));
    }
    Model::from_bytes(bytes, path, options).or_input()
}

/// The model of a command that has one of its own.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Run this ONNX file, or bundle that `compile` wrote [default: the built-in model of clothes]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Let the built-in model also answer "none of these", for photos that show none of its clothes
    #[arg(long, conflicts_with = "model")]
    none_of_these: bool,
    #[command(flatten)]
    load: LoadArgs,
}

impl ModelArgs {
    /// The model's stage plans.
    pub(crate) fn plan(&self) -> Result<Arc<Plan>, Failure> {
        match &self.model {
            Some(path) => self.load.plan(path),
            None => Ok(Arc::new(Plan::new(defaults::model(self.none_of_these, &self.load.options()?)?)?)),
        }
    }

    /// Whether that answer was asked for, which comes with a policy of its own.
    pub(crate) fn says_none(&self) -> bool {
        self.none_of_these
    }
}

/// The name of a class for people and records.
pub(crate) fn class_name(labels: Option<&Vec<String>>, class: usize) -> String {
    labels.and_then(|labels| labels.get(class)).map_or_else(|| format!("class {class}"), String::clone)
}

/// What to call a model in messages.
pub(crate) fn name(plan: &Plan) -> String {
    text::shown(&plan.info().path)
}

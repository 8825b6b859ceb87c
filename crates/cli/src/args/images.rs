//! Labelled images: which, how many of them, and what becomes of those that cannot be read.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use dyn_perceiver::collect::{CollectError, LabelledData};
use dyn_perceiver::model::ModelInfo;

use crate::output::failure::{Failure, wrong};

/// Labelled images.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Read labelled images from a folder with a folder per class, or an IDX file of images with its labels beside
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Use only these of the images, counted from 0, such as 55000..60000
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    pub range: Option<Range<u64>>,
    /// Stop at the first image that cannot be used, in place of leaving it out and saying so at the end
    #[arg(long)]
    pub strict: bool,
}

impl DataArgs {
    /// The images, with labels for the classes of `model`.
    pub(crate) fn open(&self, model: &ModelInfo) -> Result<LabelledData, Failure> {
        let data = LabelledData::open(&self.data, model, self.range.clone()).map_err(failure)?;
        if data.is_empty() {
            return wrong(format!("{}: no images", self.data.display()));
        }
        Ok(if self.strict { data.strict() } else { data })
    }
}

/// `FROM..TO`.
fn range(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.filter(|range| range.start < range.end).ok_or_else(|| "expected such as 55000..60000".to_string())
}

/// What failed while images were run: data that is wrong is the user's to mend.
pub(crate) fn failure(error: CollectError) -> Failure {
    use CollectError::{Camera, Dataset, Label, NoLabel, NothingRecorded, Range};
    match error {
        Camera(_) | Dataset(_) | NoLabel { .. } | NothingRecorded { .. } | Label { .. } | Range { .. } => {
            Failure::Input(error.into())
        }
        other => Failure::Failed(other.into()),
    }
}

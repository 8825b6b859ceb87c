//! Labelled images: which, how many of them, and what becomes of those that cannot be read.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use dyn_perceiver::collect::{CollectError, LabelledData};
use dyn_perceiver::model::ModelInfo;

use crate::output::failure::{Failure, wrong};

/// Labelled images.
#[derive(Args, Clone)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Read labelled images from a folder with a folder per class, or an IDX file of images with its labels beside
    #[arg(long, value_name = "PATH")]
    pub data: PathBuf,
    /// Stop at the first image that cannot be used, in place of leaving it out and saying so at the end
    #[arg(long)]
    pub strict: bool,
}

impl DataArgs {
    /// The images, with labels for the classes of `model`; of them those in `range`.
    pub(crate) fn open(&self, model: &ModelInfo, range: Option<Range<u64>>) -> Result<LabelledData, Failure> {
        let data = LabelledData::open(&self.data, model, range).map_err(failure)?;
        if data.is_empty() {
            return wrong(format!("{}: no images", self.data.display()));
        }
        Ok(if self.strict { data.strict() } else { data })
    }
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

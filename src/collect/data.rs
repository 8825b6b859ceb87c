//! Labelled samples in files.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::CollectError;
use crate::camera::{CameraError, Frame, FrameSource, IdxSource, ImageSource};
use crate::dataset::{ClassOrder, ImageFolder, SkipReason, Skipped};
use crate::model::ModelInfo;

/// One labelled sample.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// Its place in [`LabelledData::names`].
    pub index: usize,
    /// The image.
    pub frame: Frame,
    /// Its class.
    pub label: u32,
}

/// Labelled samples in files: an IDX pair, or a folder with a folder per class.
///
/// A sample that cannot be read is passed over and told ([`Skipped`]), unless the data are [`strict`](Self::strict).
pub struct LabelledData {
    path: PathBuf,
    source: Box<dyn FrameSource>,
    /// The file of each sample; none for those inside an IDX file.
    files: Option<Vec<PathBuf>>,
    names: Vec<String>,
    range: Range<u64>,
    order: Option<ClassOrder>,
    skipped: Vec<Skipped>,
    strict: bool,
}

impl LabelledData {
    /// Opens an IDX file of images (its labels are found beside: `images` for `labels`, `idx3` for `idx1`) or a folder,
    /// whose class folders are matched with the classes of the model. Of the samples, those in `range`; all without.
    ///
    /// # Errors
    /// [`CollectError::Camera`] when the files cannot be read, [`CollectError::Dataset`] when a folder's labels cannot be
    /// known, [`CollectError::Range`] when there are fewer samples.
    pub fn open(path: &Path, model: &ModelInfo, range: Option<Range<u64>>) -> Result<Self, CollectError> {
        let mut data = if path.is_dir() { Self::folder(path, model)? } else { Self::idx(path)? };
        let available = data.source.frames().unwrap_or(0);
        let range = range.unwrap_or(0..available);
        if range.end > available || range.start > range.end {
            return Err(CollectError::Range { path: path.into(), available, range });
        }
        data.names = range.clone().map(|number| data.name(number)).collect();
        data.range = range;
        Ok(data)
    }

    fn folder(path: &Path, model: &ModelInfo) -> Result<Self, CollectError> {
        let folder = ImageFolder::read(path).map_err(CameraError::from)?;
        let classes = folder.match_classes(model.labels.as_deref(), model.classes)?;
        let source = ImageSource::folder(&folder, Some(&classes));
        let count = source.frames().unwrap_or(0);
        let files = (0..count).map(|number| source.path(number).unwrap_or(path).to_path_buf()).collect();
        let skipped = folder.skipped().iter().cloned().chain(classes.skipped).collect();
        let (files, order) = (Some(files), Some(classes.order));
        Ok(LabelledData { files, order, skipped, ..Self::new(path, Box::new(source)) })
    }

    fn idx(path: &Path) -> Result<Self, CollectError> {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let labels = path.with_file_name(file.replace("images", "labels").replace("idx3", "idx1"));
        let labels = (labels != path && labels.is_file()).then_some(labels);
        Ok(Self::new(path, Box::new(IdxSource::open(path, labels.as_deref())?)))
    }

    fn new(path: &Path, source: Box<dyn FrameSource>) -> Self {
        let (path, names, skipped) = (path.to_path_buf(), vec![], vec![]);
        LabelledData { path, source, files: None, names, range: 0..0, order: None, skipped, strict: false }
    }

    /// What the sample with this number in the source is called: its path below the folder, or the number.
    fn name(&self, number: u64) -> String {
        let file = usize::try_from(number).ok().and_then(|number| self.files.as_ref()?.get(number));
        file.map_or(number.to_string(), |file| {
            file.strip_prefix(&self.path).unwrap_or(file).to_string_lossy().into_owned()
        })
    }

    /// Stops at the first sample that cannot be read or recorded, instead of passing over it.
    #[must_use]
    pub fn strict(self) -> Self {
        LabelledData { strict: true, ..self }
    }

    /// Whether no sample may be passed over.
    pub(super) fn is_strict(&self) -> bool {
        self.strict
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What each sample is called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How the labels of class folders were found; none for IDX files.
    pub fn class_order(&self) -> Option<&ClassOrder> {
        self.order.as_ref()
    }

    /// What lay beside the samples and was left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The sample in this place of [`LabelledData::names`], as left out for a reason.
    pub(super) fn skip(path: &Path, name: &str, reason: SkipReason) -> Skipped {
        let file = if path.is_dir() { path.join(name) } else { format!("{}, sample {name}", path.display()).into() };
        Skipped::new(file, reason)
    }

    /// Reads every sample from number `from` on, in order, `batch` at a time, and hands them to `take`; ends early when
    /// that returns false. Returns the samples that could not be read.
    ///
    /// # Errors
    /// [`CollectError::NoLabel`], what `take` says, and what reading says where the data are strict.
    pub fn visit(
        mut self,
        from: usize,
        batch: usize,
        mut take: impl FnMut(&[Sample]) -> Result<bool, CollectError>,
    ) -> Result<Vec<Skipped>, CollectError> {
        let mut frame = Frame::default();
        // What comes before the range is not judged.
        for _ in 0..self.range.start + from as u64 {
            let _ = self.source.read(&mut frame);
        }
        let mut skipped = vec![];
        let mut samples = Vec::with_capacity(batch);
        for index in from..self.len() {
            match self.source.next() {
                Ok(frame) => {
                    let labelled = frame.and_then(|frame| Some((frame.label?, frame)));
                    let no_label =
                        || CollectError::NoLabel { path: self.path.clone(), sample: self.names[index].clone() };
                    let (label, frame) = labelled.ok_or_else(no_label)?;
                    samples.push(Sample { index, frame, label });
                }
                Err(error) if self.strict => return Err(error.into()),
                Err(error) => {
                    let reason = SkipReason::Unreadable(reason_alone(&error, &self.path.join(&self.names[index])));
                    skipped.push(Self::skip(&self.path, &self.names[index], reason));
                }
            }
            if samples.len() == batch.max(1) || index + 1 == self.len() {
                if !samples.is_empty() && !take(&samples)? {
                    break;
                }
                samples.clear();
            }
        }
        Ok(skipped)
    }
}

impl fmt::Debug for LabelledData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("LabelledData");
        debug
            .field("path", &self.path)
            .field("samples", &self.len())
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent error repeats its cause.
        if !text.ends_with(&more) {
            text += ": ";
            text += &more;
        }
        cause = error.source();
    }
    text
}

/// The error without the name of the file, which is told beside.
fn reason_alone(error: &CameraError, file: &Path) -> String {
    let text = chain(error);
    let named = format!("{}: ", file.display());
    text.strip_prefix(&named).map_or_else(|| text.clone(), str::to_owned)
}

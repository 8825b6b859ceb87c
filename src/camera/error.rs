//! What can go wrong between the outside and a frame.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::preprocess::PreprocessError;

/// Why a frame could not be had or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// The file or folder could not be read.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no byte, or the folder no image.
    #[error("{path}: {expected} expected, but it is empty", path = path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// The file is no image that can be decoded.
    #[error("{path}: not a readable image (PNG or JPEG expected): {reason}", path = path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The first four bytes are not those of the IDX file expected.
    #[error("{path}: bytes 0..4 should be 0x{expected:08x} ({what}), found 0x{actual:08x}", path = path.display())]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        what: &'static str,
        /// The magic number of such a file.
        expected: u32,
        /// The number found.
        actual: u32,
    },
    /// The IDX header announces another number of bytes than follow it.
    #[error("{path}: the header announces {shape}, {expected} bytes, but {actual} follow it", path = path.display())]
    IdxSize {
        /// The file.
        path: PathBuf,
        /// The announced shape, for instance `10000 x 28 x 28`.
        shape: String,
        /// Bytes of that shape.
        expected: u64,
        /// Bytes found, written out; `more` where counting stopped at the expected number.
        actual: String,
    },
    /// The IDX header announces a shape with no pixels or too many to hold.
    #[error("{path}: the header announces {shape}; images of at least 1x1 pixels and at most {limit} bytes in all are read", path = path.display())]
    IdxShape {
        /// The file.
        path: PathBuf,
        /// The announced shape.
        shape: String,
        /// The largest number of bytes accepted.
        limit: u64,
    },
    /// The file ends inside its header.
    #[error("{path}: ends after {actual} bytes, inside its header of {expected}", path = path.display())]
    IdxHeader {
        /// The file.
        path: PathBuf,
        /// Bytes in the header.
        expected: usize,
        /// Bytes in the file.
        actual: usize,
    },
    /// Images and labels differ in number.
    #[error("{labels_path} has {labels} labels, but {images_path} has {images} images",
        labels_path = labels_path.display(), images_path = images_path.display())]
    LabelCount {
        /// File of the images.
        images_path: PathBuf,
        /// Their number.
        images: u32,
        /// File of the labels.
        labels_path: PathBuf,
        /// Their number.
        labels: u32,
    },
    /// A frame that cannot be preprocessed.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A device or command could not be opened, set up or read.
    #[error("{device}: {doing}: {source}{hint}", hint = hint(source))]
    Device {
        /// The device file or command.
        device: String,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The device does not offer what was asked for.
    #[error("{device} does not offer {asked}; it offers {offers}")]
    NotOffered {
        /// The device file.
        device: String,
        /// What was asked for.
        asked: String,
        /// All it offers.
        offers: String,
    },
    /// No frame came in time.
    #[error("{device}: no frame for {waited:?}")]
    Hung {
        /// The device file or command.
        device: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The command that writes frames has ended.
    #[error("{command}: ended ({status}) {when}")]
    CommandEnded {
        /// The command.
        command: String,
        /// Its exit status.
        status: String,
        /// Where in its output.
        when: &'static str,
    },
    /// The output of a command is no sequence of frames.
    #[error("{command}: byte {offset} of its output: {expected} expected, found 0x{actual:02x}")]
    CommandOutput {
        /// The command.
        command: String,
        /// Place in the output.
        offset: u64,
        /// What should be there.
        expected: &'static str,
        /// What was there.
        actual: u8,
    },
    /// What names a source cannot be read.
    #[error("{text}: {expected}")]
    Spec {
        /// The text.
        text: String,
        /// What would be accepted.
        expected: String,
    },
    /// The device is gone for now and is being tried again.
    #[error("camera lost, attempt {attempt} to reconnect follows in {wait:?}: {source}")]
    Lost {
        /// Number of the attempt that comes next, from 1.
        attempt: u32,
        /// Pause before it.
        wait: Duration,
        /// Why the device was given up.
        source: Box<CameraError>,
    },
}

impl CameraError {
    /// Whether the same source is trying again by itself, so that a loop should go on reading.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// What a person can do about an error of the system, for the cases met most.
fn hint(error: &io::Error) -> &'static str {
    const EBUSY: i32 = 16;
    match error.kind() {
        io::ErrorKind::NotFound => " (is it plugged in and enabled?)",
        io::ErrorKind::PermissionDenied => " (add the user to the group `video`, or run as a service that may use it)",
        _ if error.raw_os_error() == Some(EBUSY) => " (another program is using it)",
        _ => "",
    }
}

//! What can go wrong between the outside and a frame.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::dataset::FolderError;
use crate::preprocess::PreprocessError;

/// Why a frame could not be had or used.
///
/// A cause that is an error itself is in [`source`](std::error::Error::source) and not in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// The file or folder could not be read.
    #[error("{path}: cannot be read", path = path.display())]
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
    /// The file is no image that can be decoded, or one cut short.
    #[error("{path}: not a readable image: {reason}", path = path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The file is of a kind that is known but not read here.
    #[error("{path}: this is {kind}, which is not supported; convert it to PNG or JPEG", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// The image is larger than the limits allow.
    #[error("{path}: an image of {width}x{height} pixels; the limit is {limit}", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
        /// The limit that it exceeds, in words.
        limit: String,
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
    #[error("{device}: {doing} failed{hint}", hint = hint(source))]
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
        /// Its exit status, in words.
        status: String,
        /// Its exit code, where it has one; of a shell, 127 means that it found no such command.
        code: Option<i32>,
        /// Where in its output.
        when: &'static str,
    },
    /// A frame that came damaged or cut short; the next one may be whole.
    #[error("{device}: frame {sequence} is damaged: {reason}")]
    Damaged {
        /// The device file or command.
        device: String,
        /// Number of the frame in its stream.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The camera never yielded a frame, and is not tried again.
    #[error("{device}: no frame ever came, in {attempts} attempts")]
    NeverCame {
        /// The device file or command.
        device: String,
        /// How often it was tried.
        attempts: u32,
        /// Why the last attempt failed.
        source: Box<CameraError>,
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
    #[error("camera lost, attempt {attempt} to reconnect follows in {wait:?}")]
    Lost {
        /// Number of the attempt that comes next, from 1.
        attempt: u32,
        /// Pause before it.
        wait: Duration,
        /// Why the device was given up.
        source: Box<CameraError>,
    },
}

impl From<FolderError> for CameraError {
    fn from(error: FolderError) -> Self {
        CameraError::Io { path: error.path, source: error.source }
    }
}

impl CameraError {
    /// Whether a camera goes on by itself, so that a loop should go on reading: it is being reconnected, or one frame came
    /// damaged.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Damaged { .. } | Self::Preprocess(PreprocessError::Jpeg { .. }))
    }

    /// Of an error that [`read`](super::FrameSource::read) returned: whether it is about a single frame or file, so that
    /// the next may be fine.
    #[must_use]
    pub fn is_of_one_frame(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::Empty { .. }
                | Self::Io { .. }
                | Self::NotAnImage { .. }
                | Self::Preprocess(_)
                | Self::TooLarge { .. }
                | Self::Unsupported { .. }
        )
    }

    /// Whether a device could not be opened since there is none: not plugged in, or its driver is not ready.
    pub(crate) fn is_not_there(&self) -> bool {
        const ENXIO: i32 = 6;
        const ENODEV: i32 = 19;
        let Self::Device { source, .. } = self else { return false };
        source.kind() == io::ErrorKind::NotFound || matches!(source.raw_os_error(), Some(ENXIO | ENODEV))
    }

    /// Whether trying again cannot help: the shell found no such command, or may not run it.
    pub(crate) fn is_hopeless(&self) -> bool {
        matches!(self, Self::CommandEnded { code: Some(126 | 127), .. })
    }

    /// Whether a camera was given up that never yielded a frame: a wrong name or format rather than a fault.
    #[must_use]
    pub fn never_came(&self) -> bool {
        matches!(self, Self::NeverCame { .. })
    }
}

/// What a person can do about an error of the system, for the cases met most.
fn hint(error: &io::Error) -> &'static str {
    const EBUSY: i32 = 16;
    match error.kind() {
        io::ErrorKind::NotFound => "; is it plugged in and enabled?",
        io::ErrorKind::PermissionDenied => "; add the user to the group `video`, or run as a service that may use it",
        _ if error.raw_os_error() == Some(EBUSY) => "; another program is using it",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn busy() -> CameraError {
        let source = io::Error::from_raw_os_error(16);
        CameraError::Device { device: "/dev/video0".into(), doing: "opening", source }
    }

    #[test]
    fn a_cause_is_in_the_chain_and_not_in_the_text() {
        assert_eq!(busy().to_string(), "/dev/video0: opening failed; another program is using it");
        let lost = CameraError::Lost { attempt: 2, wait: Duration::from_millis(200), source: Box::new(busy()) };
        assert_eq!(lost.to_string(), "camera lost, attempt 2 to reconnect follows in 200ms");
        assert_eq!(lost.source().unwrap().to_string(), busy().to_string());
        let missing = CameraError::Io { path: "a.png".into(), source: io::ErrorKind::NotFound.into() };
        assert_eq!(missing.to_string(), "a.png: cannot be read");
        assert!(missing.source().is_some());
    }

    #[test]
    fn errors_tell_a_loop_whether_to_go_on() {
        let damaged = CameraError::Damaged { device: "cam".into(), sequence: 3, reason: "cut short".into() };
        assert!(damaged.is_temporary() && damaged.is_of_one_frame() && !damaged.never_came());
        assert_eq!(damaged.to_string(), "cam: frame 3 is damaged: cut short");
        let never = CameraError::NeverCame { device: "cam".into(), attempts: 3, source: Box::new(busy()) };
        assert!(!never.is_temporary() && !never.is_of_one_frame() && never.never_came());
    }
}

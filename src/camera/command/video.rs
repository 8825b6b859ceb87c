//! Video files, decoded by FFmpeg.

use std::path::{Path, PathBuf};

use super::CommandSource;
use crate::camera::{CameraError, CameraRequest, Frame, FrameSource, PixelFormat, StopToken};

/// Reads every frame of a video file in turn, through the program `ffmpeg`, which must be installed.
///
/// Frames wait for their reader, as those of other files do: none is dropped.
#[derive(Debug)]
pub struct VideoFile {
    path: PathBuf,
    source: CommandSource,
    /// Whether a frame came.
    came: bool,
}

impl VideoFile {
    /// Opens a video file. Of a `period` in seconds, frames are taken so far apart, by the times in the file; without one
    /// all are taken.
    ///
    /// # Errors
    /// [`CameraError::Io`] when there is no such file, [`CameraError::Spec`] for a name that is no text, and as
    /// [`CommandSource::spawn`]. That it is no video, or that there is no `ffmpeg`, shows in the first
    /// [`read`](FrameSource::read).
    pub fn open(path: impl AsRef<Path>, period: Option<f32>) -> Result<Self, CameraError> {
        let path = path.as_ref();
        std::fs::metadata(path).map_err(|source| CameraError::Io { path: path.into(), source })?;
        let spec = |expected: &str| CameraError::Spec { text: path.display().to_string(), expected: expected.into() };
        let name = path.to_str().ok_or_else(|| spec("a name that is UTF-8 text"))?;
        let rate = match period {
            Some(period) if period.is_finite() && period > 0.0 => format!(" -vf fps={}", 1.0 / period),
            Some(_) => return Err(spec("a period above 0")),
            None => String::new(),
        };
        // The protocol is named, so that no file name is taken for an address.
        let quoted = format!("file:{name}").replace('\'', r"'\''");
        let command = format!("ffmpeg -nostdin -v error -i '{quoted}'{rate} -c:v mjpeg -q:v 2 -f image2pipe -");
        let source = CommandSource::spawn(&command, CameraRequest::default().with_format(PixelFormat::Mjpeg))?;
        Ok(VideoFile { path: path.into(), source, came: false })
    }
}

impl FrameSource for VideoFile {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        match self.source.read(frame) {
            Ok(more) => {
                self.came |= more;
                Ok(more)
            }
            // A file has an end, where a camera has none.
            Err(CameraError::CommandEnded { code: Some(0), .. }) if self.came => Ok(false),
            Err(error @ CameraError::CommandEnded { .. }) if !self.came => {
                let missing = error.is_hopeless();
                let expected = if missing { "reading a video needs the program `ffmpeg`" } else { "no picture in it" };
                Err(CameraError::Spec { text: self.path.display().to_string(), expected: expected.into() })
            }
            Err(error) => Err(error),
        }
    }

    fn dropped(&self) -> u64 {
        self.source.dropped()
    }

    fn damaged(&self) -> u64 {
        self.source.damaged()
    }

    fn stop_on(&mut self, stop: &StopToken) {
        self.source.stop_on(stop);
    }
}

//! Frames from the output of a command: `rpicam-vid`, GStreamer, FFmpeg. This is how CSI cameras are read.

mod mjpeg;
mod process;
mod video;

use std::time::{Duration, Instant};

pub use mjpeg::{MjpegSplitter, Piece};
use process::{Process, Readout};
pub use video::VideoFile;

use super::{CameraError, CameraRequest, Frame, FrameSource, PixelFormat, StopToken, after};

/// Without a frame for this long the command counts as hung; cameras take some time to start.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once: what a pipe holds on Linux.
const CHUNK: usize = 1 << 16;
/// Bytes without the start of a frame after which the output counts as something else.
const MAX_SKIPPED: usize = 64 << 20;

/// Reads raw frames of a fixed size, or JPEG files one after the other, from the standard output of a command.
///
/// Every frame is yielded in turn; [`Latest`](super::Latest) around it reads ahead, so that the command never waits, and
/// hands out the newest. A frame that comes damaged is an error of its [`read`](FrameSource::read), and the next call goes on
/// with the frame after it. The command runs in a process group of its own, which is ended when the source is dropped.
#[derive(Debug)]
pub struct CommandSource {
    process: Process,
    command: String,
    format: PixelFormat,
    /// Width and height in pixels, and bytes of a frame, of raw formats.
    shape: Option<(u32, u32, usize)>,
    splitter: MjpegSplitter,
    chunk: Vec<u8>,
    sequence: u64,
    damaged: u64,
    timeout: Duration,
    stop: StopToken,
}

impl CommandSource {
    /// Starts `command` in a shell. The request must say what the command writes: a format, and a size unless the
    /// format is MJPEG.
    ///
    /// # Errors
    /// [`CameraError::Spec`] where format or size is missing or impossible, [`CameraError::Device`] when no process can be
    /// started. That there is no such command shows in the first [`read`](FrameSource::read).
    pub fn spawn(command: &str, request: CameraRequest) -> Result<Self, CameraError> {
        let (format, shape) = shape(command, request)?;
        let failed = |source| CameraError::Device { device: command.into(), doing: "starting", source };
        Ok(Self {
            process: Process::spawn(command).map_err(failed)?,
            command: command.into(),
            format,
            shape,
            splitter: MjpegSplitter::default(),
            chunk: vec![0; CHUNK],
            sequence: 0,
            damaged: 0,
            timeout: TIMEOUT,
            stop: StopToken::default(),
        })
    }

    /// Counts the command as hung without a frame for this long; 10 seconds unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Fills `pixels` with a raw frame of `bytes` bytes. Returns whether it was not told to stop.
    fn raw(&mut self, pixels: &mut Vec<u8>, bytes: usize, until: Instant) -> Result<bool, CameraError> {
        pixels.resize(bytes, 0);
        let mut filled = 0;
        while filled < bytes {
            let readout = self.process.read(&mut pixels[filled..], until, &self.stop);
            match self.count(readout, filled > 0)? {
                Some(count) => filled += count,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Fills `pixels` with a JPEG file. Returns whether it was not told to stop.
    fn jpeg(&mut self, pixels: &mut Vec<u8>, until: Instant) -> Result<bool, CameraError> {
        loop {
            match self.splitter.next_piece(pixels) {
                Some(Piece::Whole) => return Ok(true),
                Some(Piece::Damaged(reason)) => {
                    let sequence = self.sequence;
                    self.sequence += 1;
                    self.damaged += 1;
                    return Err(CameraError::Damaged { device: self.command.clone(), sequence, reason: reason.into() });
                }
                None => {}
            }
            if self.splitter.skipped() > MAX_SKIPPED {
                let text = format!("{MAX_SKIPPED} bytes without the start of a JPEG");
                return Err(self.failed(std::io::Error::new(std::io::ErrorKind::InvalidData, text)));
            }
            let readout = self.process.read(&mut self.chunk, until, &self.stop);
            match self.count(readout, self.splitter.is_inside_file())? {
                Some(count) => self.splitter.push(&self.chunk[..count]),
                None => return Ok(false),
            }
        }
    }

    /// The bytes read; `None` when it was told to stop.
    fn count(&mut self, readout: std::io::Result<Readout>, is_inside: bool) -> Result<Option<usize>, CameraError> {
        match readout.map_err(|source| self.failed(source))? {
            Readout::Bytes(count) => Ok(Some(count)),
            Readout::Stopped => Ok(None),
            Readout::Timeout => Err(CameraError::Hung { device: self.command.clone(), waited: self.timeout }),
            // A camera's stream has no end of its own: the command failed or was stopped.
            Readout::Closed => {
                let (status, code) = self.process.status();
                let when = if is_inside { "inside a frame" } else { "between two frames" };
                Err(CameraError::CommandEnded { command: self.command.clone(), status, code, when })
            }
        }
    }

    fn failed(&self, source: std::io::Error) -> CameraError {
        CameraError::Device { device: self.command.clone(), doing: "reading its output", source }
    }
}

/// Width, height and bytes of a raw frame.
type RawShape = (u32, u32, usize);

/// Format of the frames, and the shape of raw ones.
fn shape(command: &str, request: CameraRequest) -> Result<(PixelFormat, Option<RawShape>), CameraError> {
    let wrong = |expected: String| CameraError::Spec { text: command.into(), expected };
    let format = request.format.ok_or_else(|| wrong("the pixel format of a command's output must be given".into()))?;
    if format == PixelFormat::Mjpeg {
        return Ok((format, None));
    }
    let (width, height) =
        request.size.ok_or_else(|| wrong(format!("the size of the {format} frames it writes must be given")))?;
    let size = |expected: &str| wrong(format!("{expected} expected of {format} frames, not {width}x{height}"));
    if let Some(expected) = format.wrong_size(width, height) {
        return Err(size(expected));
    }
    let bytes = format.frame_bytes(width, height).ok_or_else(|| size("a size whose bytes can be counted"))?;
    Ok((format, Some((width, height, bytes))))
}

impl FrameSource for CommandSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let until = after(self.timeout);
        let more = match self.shape {
            Some((.., bytes)) => self.raw(&mut frame.pixels, bytes, until)?,
            None => self.jpeg(&mut frame.pixels, until)?,
        };
        if !more {
            return Ok(false);
        }
        frame.format = self.format;
        // The file itself says how large its picture is.
        (frame.width, frame.height) = self.shape.map_or((1, 1), |(width, height, _)| (width, height));
        frame.sequence = self.sequence;
        frame.captured = Instant::now();
        frame.label = None;
        self.sequence += 1;
        Ok(true)
    }

    fn dropped(&self) -> u64 {
        self.damaged
    }

    fn damaged(&self) -> u64 {
        self.damaged
    }

    fn stop_on(&mut self, stop: &StopToken) {
        self.stop = stop.clone();
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;

//! Frames from the output of a command: `rpicam-vid`, GStreamer, ffmpeg. This is how CSI cameras are read.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::{CameraError, CameraRequest, Frame, FrameSource, Latest, PixelFormat};

/// Without a frame for this long the command counts as hung; cameras take some time to start.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More than any camera's JPEG.
const MAX_JPEG: usize = 64 << 20;

/// Reads raw frames of a fixed size, or JPEG files one after the other, from the standard output of a command.
///
/// The output is read in a thread, so that the command never waits: the newest frame is handed out, the others are
/// counted as dropped. The command is ended when the source is dropped.
pub struct CommandSource {
    // The first field is dropped first: the pipe closes, and the thread with it.
    child: Running,
    latest: Latest,
}

/// A child process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl CommandSource {
    /// Starts `command` in a shell. The request must say what the command writes: a format, and a size unless the
    /// format is MJPEG.
    ///
    /// # Errors
    /// [`CameraError::Spec`] where format or size is missing, [`CameraError::Device`] when it cannot be started.
    pub fn spawn(command: &str, request: CameraRequest) -> Result<Self, CameraError> {
        let (format, width, height) = shape(command, request)?;
        let failed = |source| CameraError::Device { device: command.into(), doing: "starting", source };
        // `exec` makes the shell become the command, so that ending the child ends the camera.
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("exec {command}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child.stdout.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        let child = Running(child);
        let reader = Reader::new(BufReader::with_capacity(1 << 16, output), command, format, width, height);
        let latest = Latest::new(command, PipeSource(reader))?.with_timeout(TIMEOUT);
        Ok(Self { child, latest })
    }
}

fn shape(command: &str, request: CameraRequest) -> Result<(PixelFormat, u32, u32), CameraError> {
    let wrong = |expected: String| CameraError::Spec { text: command.into(), expected };
    let format = request.format.ok_or_else(|| wrong("the pixel format of a command's output must be given".into()))?;
    if format == PixelFormat::Mjpeg {
        return Ok((format, 0, 0));
    }
    let (width, height) =
        request.size.ok_or_else(|| wrong(format!("the size of the {format} frames it writes must be given")))?;
    Ok((format, width, height))
}

impl FrameSource for CommandSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        match self.latest.read(frame) {
            // A camera's stream has no end of its own: the command failed or was stopped.
            Err(CameraError::CommandEnded { command, when, .. }) => {
                let status = match self.child.0.wait() {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                };
                Err(CameraError::CommandEnded { command, status, when })
            }
            result => result,
        }
    }

    fn dropped(&self) -> u64 {
        self.latest.dropped()
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// The pipe's reader as a source.
struct PipeSource(Reader<BufReader<ChildStdout>>);

impl FrameSource for PipeSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        self.0.read(frame).map(|()| true)
    }
}

/// Cuts a stream of bytes into frames.
struct Reader<R> {
    input: R,
    command: String,
    format: PixelFormat,
    width: u32,
    height: u32,
    sequence: u64,
    offset: u64,
}

impl<R: BufRead> Reader<R> {
    fn new(input: R, command: &str, format: PixelFormat, width: u32, height: u32) -> Self {
        Self { input, command: command.into(), format, width, height, sequence: 0, offset: 0 }
    }

    fn read(&mut self, frame: &mut Frame) -> Result<(), CameraError> {
        frame.pixels.clear();
        match self.format.frame_bytes(self.width, self.height) {
            Some(bytes) if self.format != PixelFormat::Mjpeg => self.fill(&mut frame.pixels, bytes)?,
            _ => self.jpeg(&mut frame.pixels)?,
        }
        frame.format = self.format;
        (frame.width, frame.height) = (self.width.max(1), self.height.max(1));
        frame.sequence = self.sequence;
        frame.captured = Instant::now();
        frame.label = None;
        self.sequence += 1;
        Ok(frame.check()?)
    }

    /// Appends `count` bytes.
    fn fill(&mut self, bytes: &mut Vec<u8>, count: usize) -> Result<(), CameraError> {
        let fresh = bytes.is_empty();
        let read = (&mut self.input).take(count as u64).read_to_end(bytes).map_err(|source| self.failed(source))?;
        self.offset += read as u64;
        match read {
            _ if read == count => Ok(()),
            0 if fresh => Err(self.ended("between two frames")),
            _ => Err(self.ended("inside a frame")),
        }
    }

    /// Appends one JPEG file: the segments of its header by their lengths (a thumbnail inside has an end marker of its
    /// own), then the coded picture up to the end marker.
    fn jpeg(&mut self, bytes: &mut Vec<u8>) -> Result<(), CameraError> {
        self.fill(bytes, 2)?;
        for (back, (&found, expected)) in [2, 1].into_iter().zip(bytes.iter().zip([0xff, 0xd8])) {
            self.expect(found, expected, "the start of a JPEG", back)?;
        }
        let mut marker = self.marker(bytes)?;
        loop {
            marker = match marker {
                0xd9 => return Ok(()),
                // Markers without a segment.
                0x01 | 0xd0..=0xd8 => self.marker(bytes)?,
                _ => {
                    let mut length = [0; 2];
                    self.input.read_exact(&mut length).map_err(|_| self.ended("inside a frame"))?;
                    self.offset += 2;
                    bytes.extend(length);
                    self.fill(bytes, usize::from(u16::from_be_bytes(length)).saturating_sub(2))?;
                    if marker == 0xda { self.scan(bytes)? } else { self.marker(bytes)? }
                }
            };
            if bytes.len() > MAX_JPEG {
                return Err(self.failed(std::io::Error::other("a JPEG of more than 64 MiB")));
            }
        }
    }

    /// Appends a marker and returns its second byte.
    fn marker(&mut self, bytes: &mut Vec<u8>) -> Result<u8, CameraError> {
        let first = self.byte(bytes)?;
        self.expect(first, 0xff, "a JPEG marker", 1)?;
        loop {
            // Any number of fill bytes may come before the second byte.
            match self.byte(bytes)? {
                0xff => {}
                second => return Ok(second),
            }
        }
    }

    fn byte(&mut self, bytes: &mut Vec<u8>) -> Result<u8, CameraError> {
        self.fill(bytes, 1)?;
        bytes.last().copied().ok_or_else(|| self.ended("inside a frame"))
    }

    /// Appends coded data and the marker that ends it, whose second byte it returns.
    fn scan(&mut self, bytes: &mut Vec<u8>) -> Result<u8, CameraError> {
        loop {
            let buffer = match self.input.fill_buf() {
                Ok(buffer) => buffer,
                Err(source) => return Err(self.failed(source)),
            };
            if buffer.is_empty() || bytes.len() > MAX_JPEG {
                return Err(self.ended("inside a frame"));
            }
            let plain = buffer.iter().position(|&byte| byte == 0xff).unwrap_or(buffer.len());
            bytes.extend_from_slice(&buffer[..plain]);
            self.input.consume(plain);
            self.offset += plain as u64;
            if plain == 0 {
                // 0xff 0x00 is a byte of data and 0xff 0xd0 to 0xd7 are restarts; anything else ends the scan.
                match self.marker(bytes)? {
                    0x00 | 0xd0..=0xd7 => {}
                    marker => return Ok(marker),
                }
            }
        }
    }

    fn expect(&self, found: u8, expected: u8, what: &'static str, back: u64) -> Result<(), CameraError> {
        if found == expected {
            return Ok(());
        }
        let offset = self.offset.saturating_sub(back);
        Err(CameraError::CommandOutput { command: self.command.clone(), offset, expected: what, actual: found })
    }

    fn failed(&self, source: std::io::Error) -> CameraError {
        CameraError::Device { device: self.command.clone(), doing: "reading its output", source }
    }

    fn ended(&self, when: &'static str) -> CameraError {
        CameraError::CommandEnded { command: self.command.clone(), status: "not known yet".into(), when }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = include_bytes!("../../tests/fixtures/camera/colour.jpg");

    fn request(format: PixelFormat, size: Option<(u32, u32)>) -> CameraRequest {
        CameraRequest { format: Some(format), size, fps: None }
    }

    /// Cuts `bytes`, arriving in pieces of `piece` bytes, into frames up to the first error.
    fn cut(bytes: &[u8], piece: usize, format: PixelFormat, size: (u32, u32)) -> (Vec<Vec<u8>>, String) {
        let mut reader = Reader::new(BufReader::with_capacity(piece, bytes), "test", format, size.0, size.1);
        let mut frames = Vec::new();
        loop {
            let mut frame = Frame::default();
            match reader.read(&mut frame) {
                Ok(()) => frames.push(frame.pixels),
                Err(error) => return (frames, error.to_string()),
            }
        }
    }

    #[test]
    fn jpeg_files_are_cut_apart_wherever_the_pieces_end() {
        // A thumbnail in an application segment has start and end markers of its own; restarts and fill bytes are legal.
        let thumbnail = [&JPEG[..2], &[0xff, 0xe1, 0, 8, 0xff, 0xd8, 1, 2, 0xff, 0xd9], &[0xff], &JPEG[2..]].concat();
        let stream = [JPEG, &thumbnail, JPEG].concat();
        for piece in [1, 2, 7, 100, 1 << 16] {
            let (frames, error) = cut(&stream, piece, PixelFormat::Mjpeg, (0, 0));
            assert_eq!(frames, [JPEG, &*thumbnail, JPEG], "pieces of {piece}");
            assert!(error.contains("between two frames"), "{error}");
        }
        let (frames, error) = cut(&stream[..stream.len() - 1], 64, PixelFormat::Mjpeg, (0, 0));
        assert_eq!(frames.len(), 2);
        assert!(error.contains("inside a frame"), "{error}");
    }

    #[test]
    fn what_is_no_jpeg_is_told_with_its_place() {
        let (frames, error) = cut(&[JPEG, b"\nhello"].concat(), 64, PixelFormat::Mjpeg, (0, 0));
        assert_eq!(frames.len(), 1);
        let place = format!("byte {} of its output: the start of a JPEG expected, found 0x0a", JPEG.len());
        assert!(error.contains(&place), "{error}");
    }

    #[test]
    fn raw_frames_are_cut_by_their_size() {
        let (frames, error) = cut(&[1, 1, 1, 1, 2, 2, 2, 2, 3], 3, PixelFormat::Grey, (2, 2));
        assert_eq!(frames, [[1; 4], [2; 4]]);
        assert!(error.contains("inside a frame"), "{error}");
    }

    #[test]
    fn a_command_is_read_until_it_ends_and_its_status_is_told() {
        let command = "sh -c 'printf aaaabbbbcccc; sleep 0.2; printf dddd; exit 3'";
        let mut source = CommandSource::spawn(command, request(PixelFormat::Grey, Some((2, 2)))).unwrap();
        let mut frame = Frame::default();
        let mut read = 0;
        let error = loop {
            match source.read(&mut frame) {
                Ok(_) => read += 1,
                Err(error) => break error.to_string(),
            }
        };
        assert_eq!((frame.pixels.as_slice(), frame.sequence), (&b"dddd"[..], 3));
        assert_eq!(read + source.dropped(), 4);
        assert!(error.contains("exit status: 3") && error.contains("between two frames"), "{error}");
    }

    #[test]
    fn an_endless_command_is_ended_with_its_source() {
        let mut source = CommandSource::spawn("yes", request(PixelFormat::Grey, Some((8, 8)))).unwrap();
        assert_eq!(source.next().unwrap().unwrap().pixels[..4], *b"y\ny\n");
        let start = Instant::now();
        drop(source);
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn what_a_command_writes_must_be_known() {
        let error =
            |request| CommandSource::spawn("true", request).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error(CameraRequest::default()).contains("pixel format"));
        assert!(error(request(PixelFormat::Nv12, None)).contains("size of the nv12 frames"));
        let missing = CommandSource::spawn("no-such-command 2>/dev/null", request(PixelFormat::Mjpeg, None));
        assert!(missing.unwrap().next().unwrap_err().to_string().contains("exit status: 127"));
    }
}

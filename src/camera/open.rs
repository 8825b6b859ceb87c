//! A source by the name a person gives it.

use std::path::Path;

use super::sources::labels_beside;
use super::{
    CameraError, CameraRate, CameraRequest, CaptureDevice, CommandSource, DeviceSource, FrameSource, IdxSource,
    ImageSource, Latest, PixelFormat, Reconnecting, SyntheticSource,
};

/// Opens the source named `name`:
///
/// - `/dev/video0`: a V4L2 device, opened again when it fails, captured in a thread (see [`Reconnecting`], [`Latest`]), at the
///   lowest rate it offers that brings as many frames as are wanted; opened again when that changes much
/// - `command:rpicam-vid …`: the output of a command, likewise; the request must say what it writes. `{fps}` in it becomes
///   the rate that is wanted, and the command is started again when that changes much
/// - `synthetic`: endless made-up frames, at the requested rate
/// - an IDX file (a name with `idx3`; labels are found beside it), an image file, or a folder of images
///
/// # Errors
/// [`CameraError`] of the source, at once where it cannot be opened for the first time; of a V4L2 device that is not there
/// after [`CameraRequest::wait`].
///
/// ```
/// use dyn_perceiver::camera::{self, CameraRequest, FrameSource as _, PixelFormat};
///
/// let request = CameraRequest::default().with_format(PixelFormat::Rgb).with_size(64, 48);
/// let mut source = camera::open("synthetic", request)?;
/// let frame = source.next()?.expect("a synthetic source has no end");
/// assert_eq!(frame.pixels.len(), 64 * 48 * 3);
/// # Ok::<(), camera::CameraError>(())
/// ```
pub fn open(name: &str, request: CameraRequest) -> Result<Box<dyn FrameSource>, CameraError> {
    if let Some(command) = name.strip_prefix("command:") {
        return commanded(name, command.trim(), request);
    }
    if name == "synthetic" {
        let (width, height) = request.size.unwrap_or((64, 64));
        let format = request.format.unwrap_or(PixelFormat::Grey);
        let source = SyntheticSource::new(width, height).with_format(format);
        return Ok(match request.fps {
            Some(fps) if fps > 0 => Box::new(source.with_period(std::time::Duration::from_secs(1) / fps)),
            _ => Box::new(source),
        });
    }
    if is_camera(Path::new(name)) {
        return device(name, request);
    }
    open_path(name)
}

/// Opens an IDX file (a name with `idx3`; labels are found beside it), an image file, or a folder of images, whatever bytes
/// its name is made of.
///
/// # Errors
/// [`CameraError`] where the path cannot be read or holds no image.
pub fn open_path(path: impl AsRef<Path>) -> Result<Box<dyn FrameSource>, CameraError> {
    let path = path.as_ref();
    if path.file_name().is_some_and(|name| name.to_string_lossy().contains("idx3")) {
        return Ok(Box::new(IdxSource::open(path, labels_beside(path).as_deref())?));
    }
    Ok(Box::new(ImageSource::open(path)?))
}

/// Whether a path names a video device, under whatever name. `/dev/stdin`, `/dev/fd/3` and files in `/dev/shm` are files
/// like others.
fn is_camera(path: &Path) -> bool {
    let Ok(below) = path.strip_prefix("/dev") else { return false };
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| below.to_string_lossy().starts_with(prefix));
    begins(&["video", "v4l"]) || !begins(&["stdin", "fd", "shm", "null", "zero"]) && !path.is_file()
}

/// What `{fps}` in a command becomes where nobody wants a rate: what most cameras make.
const USUAL_FPS: u32 = 30;
/// The place of the rate in a command.
const FPS: &str = "{fps}";

/// A command as a camera, whose rate follows where the command says how.
fn commanded(name: &str, command: &str, request: CameraRequest) -> Result<Box<dyn FrameSource>, CameraError> {
    let command = command.to_owned();
    if !command.contains(FPS) {
        return camera(name, move || Ok(Box::new(CommandSource::spawn(&command, request)?)));
    }
    let rate = CameraRate::new(request.fps);
    let wanted = rate.clone();
    let open = move || {
        let fps = wanted.fps().unwrap_or(USUAL_FPS).to_string();
        Ok(Box::new(CommandSource::spawn(&command.replace(FPS, &fps), request)?) as Box<dyn FrameSource>)
    };
    Ok(Box::new(Latest::new(name, Reconnecting::new(name, open)?.with_rate(rate))?))
}

fn camera<F>(name: &str, open: F) -> Result<Box<dyn FrameSource>, CameraError>
where
    F: FnMut() -> Result<Box<dyn FrameSource>, CameraError> + Send + 'static,
{
    Ok(Box::new(Latest::new(name, Reconnecting::new(name, open)?)?))
}

#[cfg(all(feature = "v4l", target_os = "linux"))]
fn device(name: &str, request: CameraRequest) -> Result<Box<dyn FrameSource>, CameraError> {
    let (path, rate) = (name.to_owned(), CameraRate::new(request.fps));
    let open = at_rate(request, rate.clone(), move || super::V4lDevice::open(&path));
    Ok(Box::new(Latest::new(name, Reconnecting::waiting(name, request.wait, open)?.with_rate(rate))?))
}

/// Opens a device at the rate that is wanted by then.
#[cfg_attr(not(all(feature = "v4l", target_os = "linux")), allow(dead_code))]
fn at_rate<D: CaptureDevice + 'static>(
    request: CameraRequest,
    rate: CameraRate,
    mut open: impl FnMut() -> Result<D, CameraError> + Send,
) -> impl FnMut() -> Result<Box<dyn FrameSource>, CameraError> + Send {
    move || Ok(Box::new(DeviceSource::with_rate(open()?, request, &rate)?))
}

#[cfg(not(all(feature = "v4l", target_os = "linux")))]
fn device(name: &str, _: CameraRequest) -> Result<Box<dyn FrameSource>, CameraError> {
    let expected = "cameras are read on Linux, by a program built with the feature `v4l`".into();
    Err(CameraError::Spec { text: name.into(), expected })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::super::{Filled, FrameInterval, IntervalRange, Layout, Offer};
    use super::*;

    const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/camera");

    fn first(name: &str, request: CameraRequest) -> super::super::Frame {
        open(name, request).unwrap().next().unwrap().unwrap()
    }

    #[test]
    fn files_and_generators_are_found_by_name() {
        let any = CameraRequest::default();
        assert_eq!(first(&format!("{FIXTURES}/grey-images-idx3-ubyte.gz"), any).label, Some(4));
        assert_eq!(first(&format!("{FIXTURES}/colour.png"), any).width, 80);
        assert_eq!(first(FIXTURES, any).height, 64);
        let request = any.with_size(10, 8).with_format(PixelFormat::Rgb).with_fps(100);
        assert_eq!(first("synthetic", request).pixels.len(), 240);
    }

    #[test]
    fn a_command_that_ends_is_started_again() {
        let request = CameraRequest::default().with_size(2, 2).with_format(PixelFormat::Grey);
        let mut source = open("command: printf abcd", request).unwrap();
        let (mut frames, mut lost) = (0, 0);
        while frames < 2 {
            match source.next() {
                Ok(frame) => {
                    assert_eq!(frame.unwrap().pixels, b"abcd");
                    frames += 1;
                }
                Err(error) => {
                    assert!(error.is_temporary(), "{error}");
                    lost += 1;
                }
            }
        }
        assert!(lost >= 1);
    }

    #[test]
    fn a_command_is_told_the_rate_that_is_wanted() {
        let request = CameraRequest::default().with_size(2, 1).with_format(PixelFormat::Grey).with_fps(12);
        let mut source = open("command: printf {fps}; sleep 60", request).unwrap();
        assert_eq!(source.next().unwrap().unwrap().pixels, b"12");
        assert_eq!(source.rate().and_then(|rate| rate.fps()), Some(12));
        let mut source = open("command: printf {fps}; sleep 60", CameraRequest { fps: None, ..request }).unwrap();
        assert_eq!(source.next().unwrap().unwrap().pixels, b"30");
        assert!(open("command: printf 12; sleep 60", request).unwrap().rate().is_none());
    }

    /// Offers a few rates, and remembers what it was asked for.
    struct Webcam(Arc<Mutex<Vec<Option<f64>>>>);

    impl CaptureDevice for Webcam {
        fn name(&self) -> &str {
            "/dev/webcam"
        }

        fn offers(&mut self) -> io::Result<Vec<Offer>> {
            Ok(vec![Offer::new("GREY", Some(PixelFormat::Grey), (2, 2))])
        }

        fn intervals(&mut self, _: PixelFormat, _: (u32, u32)) -> io::Result<Vec<IntervalRange>> {
            Ok([30, 15, 5].into_iter().filter_map(FrameInterval::per_second).map(IntervalRange::one).collect())
        }

        fn start(
            &mut self,
            format: PixelFormat,
            (width, height): (u32, u32),
            interval: Option<FrameInterval>,
        ) -> io::Result<Layout> {
            self.0.lock().unwrap().push(interval.map(FrameInterval::fps));
            Ok(Layout::new(format, width, height).with_interval(interval))
        }

        fn wait(&mut self, _: Duration) -> io::Result<bool> {
            Ok(true)
        }

        fn take(&mut self, bytes: &mut Vec<u8>) -> io::Result<Filled> {
            *bytes = vec![0; 4];
            Ok(Filled::new(0))
        }
    }

    #[test]
    fn a_device_is_asked_for_the_lowest_rate_that_the_loop_can_do_with() {
        let (asked, rate) = (Arc::new(Mutex::new(Vec::new())), CameraRate::default());
        let log = asked.clone();
        let mut open = at_rate(CameraRequest::default(), rate.clone(), move || Ok(Webcam(log.clone())));
        for period in [0, 5000, 100, 1] {
            rate.follow(Duration::from_millis(period));
            open().unwrap();
        }
        assert_eq!(*asked.lock().unwrap(), [None, Some(5.0), Some(15.0), Some(30.0)]);
        // Opened for a frame every five seconds, another one is worth it only where the camera would do another rate.
        rate.follow(Duration::from_millis(250));
        assert!(!rate.is_far_from(Some(1)));
        rate.follow(Duration::from_millis(150));
        assert!(rate.is_far_from(Some(1)));
    }

    #[test]
    fn a_missing_device_is_told_at_once_with_what_to_do() {
        let error = open("/dev/video-none", CameraRequest::default()).err().map(|error| error.to_string());
        assert!(
            error
                .as_deref()
                .is_some_and(|error| error == "/dev/video-none: opening failed; is it plugged in and enabled?"
                    || error.contains("feature `v4l`")),
            "{error:?}"
        );
    }

    #[test]
    fn devices_are_told_from_files_below_dev() {
        for camera in ["/dev/video0", "/dev/v4l/by-id/usb-camera", "/dev/front-camera"] {
            assert!(is_camera(Path::new(camera)), "{camera}");
        }
        for file in ["/dev/stdin", "/dev/fd/63", "/dev/shm/frames", "video0", "frames/dev/video0"] {
            assert!(!is_camera(Path::new(file)), "{file}");
        }
    }
}

//! Where the frames of a run come from.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use dyn_perceiver::camera::{self, CameraRate, CameraRequest, FrameSource, ImageSource, PixelFormat};
use dyn_perceiver::dataset::{ImageFolder, SkipReason};
use dyn_perceiver::model::ModelInfo;

use crate::args::number;
use crate::defaults;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::{json, message, text};

/// Files left out of a folder that are named one by one.
const NAMED: usize = 20;

/// The frames.
#[derive(Args)]
#[command(next_help_heading = "Frames")]
pub(super) struct SourceArgs {
    /// Read frames from an IDX file of images, an image file or a folder of images; labels of an IDX file are found beside
    /// it [default: the built-in test images]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["synthetic", "camera", "video"])]
    frames: Option<PathBuf>,
    /// Make COUNT synthetic frames
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["camera", "video"])]
    synthetic: Option<u64>,
    /// Read every frame of a video file, through the program ffmpeg; for a network of videos, as far apart as those that it
    /// was trained on
    #[arg(long, value_name = "FILE", conflicts_with = "camera")]
    video: Option<PathBuf>,
    /// Read a camera: /dev/video0, or `command:` and a command that writes frames to its output. It is opened again when
    /// it fails; always the newest frame is taken, the others count as dropped. In a command `{fps}` becomes the frames a
    /// second that the loop takes, at least 1
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Ask the camera for this pixel format: yuyv, nv12, rgb, mjpeg or grey [default: the cheapest it offers]
    #[arg(long, value_name = "FORMAT", requires = "camera")]
    camera_format: Option<PixelFormat>,
    /// Ask the camera for frames of this width and height [default: what it offers nearest to 640x480]
    #[arg(long, value_name = "WxH", requires = "camera", value_parser = number::size)]
    camera_size: Option<(u32, u32)>,
    /// Wait so many seconds for a /dev/video0 that is not there at the start, as cameras on USB are not while a board starts
    #[arg(long, value_name = "SECONDS", default_value = "3", requires = "camera", value_parser = number::seconds_or_none)]
    camera_wait: Duration,
    /// Stop after so many frames
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// End after so many frames in a row with the same answer: the scene is still, and the board may be switched off
    #[arg(long, value_name = "COUNT")]
    pub burst: Option<NonZeroU32>,
    /// Set the alarm of the board's clock to so many seconds after the end, which switches a halted board on again
    #[arg(long, value_name = "SECONDS", value_parser = number::seconds)]
    pub wake_after: Option<Duration>,
    /// What holds the switch of the supply and wakes the board with --wake-after: pijuice:BUS or witty-pi-4:BUS; a PiJuice cuts the
    /// supply a minute after the end [default: the clock of the board]
    #[arg(long, value_name = "NAME", requires = "wake_after")]
    pub switch: Option<String>,
    /// Take so many frames per second [default: each as soon as the one before is done]
    #[arg(long, value_name = "NUMBER", value_parser = number::fps)]
    pub fps: Option<f64>,
}

/// Frames, and what to call them.
pub(super) struct Source {
    pub frames: Box<dyn FrameSource>,
    /// Number of frames of the run, if it is known.
    pub count: Option<u64>,
    pub names: Names,
}

/// What the frames of a source are called in records.
pub(super) enum Names {
    /// All alike: a camera, an IDX file.
    One(String),
    /// Files, by number.
    Files(Box<ImageSource>),
}

impl Names {
    /// The source of frame number `sequence`.
    pub(super) fn of(&self, sequence: u64) -> Option<Cow<'_, str>> {
        match self {
            Names::One(name) => Some(name.into()),
            Names::Files(files) => files.path(sequence).map(json::path),
        }
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Names::One(name) => f.write_str(name),
            Names::Files(_) => f.write_str("image files"),
        }
    }
}

impl SourceArgs {
    /// Whether the user named where frames come from; else this is the demonstration.
    pub(super) fn is_named(&self) -> bool {
        self.frames.is_some() || self.camera.is_some() || self.video.is_some()
    }

    /// Whether frames come from a camera.
    pub(super) fn is_camera(&self) -> bool {
        self.camera.is_some()
    }

    /// Opens the source, from which a frame is taken every `shortest` at most.
    pub(super) fn open(&self, model: &ModelInfo, shortest: Duration) -> Result<Source, Failure> {
        let (frames, names): (Box<dyn FrameSource>, Names) = if let Some(count) = self.synthetic {
            (Box::new(camera::SyntheticSource::new(64, 64).with_count(count)), Names::One("synthetic".into()))
        } else if let Some(name) = &self.camera {
            let rate = CameraRate::default();
            rate.follow(shortest);
            let mut request = CameraRequest::default();
            (request.format, request.size, request.fps) = (self.camera_format, self.camera_size, rate.fps());
            request.wait = self.camera_wait;
            if name.starts_with("/dev/") && !request.wait.is_zero() && !Path::new(name).exists() {
                message::note(&format!("{name} is not there: waited for, {} s at most", request.wait.as_secs_f64()));
            }
            (camera::open(name, request).or_input()?, Names::One(name.clone()))
        } else if let Some(path) = &self.video {
            let period = model.video.as_ref().and_then(|video| video.frame_period);
            let video = camera::VideoFile::open(path, period).or_input()?;
            (Box::new(video), Names::One(text::path(path).into_owned()))
        } else {
            match &self.frames {
                Some(path) => open_path(path, model)?,
                None => (Box::new(defaults::frames()), Names::One(defaults::NAME.into())),
            }
        };
        let count = frames.frames().map(|all| all.min(self.limit.unwrap_or(u64::MAX)));
        Ok(Source { frames, count, names })
    }
}

/// The frames below a path, whose name need not be text.
fn open_path(path: &Path, model: &ModelInfo) -> Result<(Box<dyn FrameSource>, Names), Failure> {
    let idx = path.file_name().is_some_and(|name| text::path(Path::new(name)).contains("idx3"));
    if idx {
        let frames = camera::open_path(path).or_input()?;
        return Ok((frames, Names::One(text::path(path).into_owned())));
    }
    if !path.is_dir() {
        let open = || ImageSource::files([path.to_path_buf()]);
        std::fs::metadata(path).with_context(|| path.display().to_string()).or_input()?;
        // As for `classify`: one file that cannot be read is wrong input, not a frame to skip. A pipe is read only once.
        if path.is_file() {
            open().next().or_input()?;
        }
        return Ok((Box::new(open()), Names::Files(Box::new(open()))));
    }
    let folder = ImageFolder::read(path).or_input()?;
    if folder.images().is_empty() {
        return wrong(format!("{}: no image in this folder", path.display()));
    }
    // Labels are a bonus here: images that lie otherwise than in class folders have none.
    let classes = folder.match_classes(model.labels.as_deref(), model.classes).ok();
    if let Some(order) = classes.as_ref().map(|classes| &classes.order).filter(|order| order.is_doubtful()) {
        message::warning(&format!("{}: {order}", path.display()));
    }
    let beside = classes.iter().flat_map(|classes| &classes.skipped);
    for skipped in
        folder.skipped().iter().chain(beside).filter(|skipped| skipped.reason != SkipReason::Hidden).take(NAMED)
    {
        message::tell("left out: ", &skipped.to_string());
    }
    let open = || ImageSource::folder(&folder, classes.as_ref());
    Ok((Box::new(open()), Names::Files(Box::new(open()))))
}

//! What a network is for: an image's class, the boxes of its objects, or what happens in a video.

use crate::Error;
use crate::builder::Frames;

/// Levels of a detector's pyramid, finest first: features at strides 8, 16, 32, 64, 128.
pub const LEVELS: [&str; 5] = ["P3", "P4", "P5", "P6", "P7"];
/// Pixels of the image per place of each level.
pub(crate) const STRIDES: [usize; 5] = [8, 16, 32, 64, 128];
/// Anchors at every place.
pub(crate) const ANCHORS: usize = 9;

/// What a network is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// One image to the class of what it shows.
    #[default]
    Classification,
    /// One image to boxes, and exits that say whether there is anything.
    Detection(Detection),
    /// Frames of a video to the class of what happens.
    Action(Action),
}

/// Pyramid (FPN, Lin et al., CVPR 2017) and head (RetinaNet, Lin et al., ICCV 2017) of a detector. The number of its exits'
/// classes is the network's, [`Config::classes`](crate::Config::classes).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Detection {
    /// Classes of boxes.
    pub classes: usize,
    /// Channels of the pyramid.
    pub pyramid: usize,
    /// Channels of the two towers of the head.
    pub tower_channels: usize,
    /// 3x3 convolutions in each tower.
    pub tower_convolutions: usize,
    /// What level P6 is made from.
    pub extra: Extra,
}

impl Detection {
    /// RetinaNet as it was published: 256 channels, four convolutions a tower, P6 from the backbone's last features.
    pub fn new(classes: usize) -> Detection {
        Detection { classes, pyramid: 256, tower_channels: 256, tower_convolutions: 4, extra: Extra::OnInput }
    }

    /// Replaces the channels of the pyramid.
    #[must_use]
    pub fn with_pyramid(mut self, channels: usize) -> Detection {
        self.pyramid = channels;
        self
    }

    /// Replaces channels and convolutions of the head's towers.
    #[must_use]
    pub fn with_tower(mut self, channels: usize, convolutions: usize) -> Detection {
        self.tower_channels = channels;
        self.tower_convolutions = convolutions;
        self
    }

    /// Replaces what level P6 is made from.
    #[must_use]
    pub fn with_extra(mut self, extra: Extra) -> Detection {
        self.extra = extra;
        self
    }
}

/// What level P6 is made from, as MMDetection names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extra {
    /// The backbone's features at stride 32.
    OnInput,
    /// The lateral of these features.
    OnLateral,
    /// Level P5.
    OnOutput,
}

impl Extra {
    /// The name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            Extra::OnInput => "on-input",
            Extra::OnLateral => "on-lateral",
            Extra::OnOutput => "on-output",
        }
    }
}

/// How a network sees a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action {
    /// Frames of a clip; online the frames over which answers are summed.
    pub frames: usize,
    /// Frame by frame, or clip by clip.
    pub mode: VideoMode,
}

impl Action {
    /// Frames of a clip or, online, of the window.
    pub fn new(frames: usize, mode: VideoMode) -> Action {
        Action { frames, mode }
    }

    pub(crate) fn builder_frames(self) -> Frames {
        match self.mode {
            VideoMode::Online => Frames::Online,
            VideoMode::Clip => Frames::Clip { frames: self.frames, both_ways: true },
            VideoMode::ClipFromPast => Frames::Clip { frames: self.frames, both_ways: false },
        }
    }
}

/// Where a residual block's shifted channels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VideoMode {
    /// One frame at a time; what the next one needs goes out as a state and comes in again.
    Online,
    /// A whole clip, from the frame before and the frame after: TSM as it was published. Weights trained so cannot run
    /// online.
    Clip,
    /// A whole clip, from the frame before alone: gives each frame the answer it has online.
    ClipFromPast,
}

impl VideoMode {
    /// The name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            VideoMode::Online => "online",
            VideoMode::Clip => "clip",
            VideoMode::ClipFromPast => "clip-from-past",
        }
    }
}

impl Task {
    /// The name in files.
    pub fn name(&self) -> &'static str {
        match self {
            Task::Classification => "classification",
            Task::Detection(_) => "detection",
            Task::Action(_) => "action",
        }
    }

    /// Checks the numbers, those of an input of `size` among them.
    pub(crate) fn check(&self, size: [usize; 2]) -> Result<(), Error> {
        let range = |field, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::Configuration { field, actual: value.to_string(), expected: format!("{low} to {high}") })
        };
        match self {
            Task::Classification => Ok(()),
            Task::Detection(detection) => {
                range("number of box classes", detection.classes, 1, 1 << 12)?;
                range("number of pyramid channels", detection.pyramid, 1, 1 << 12)?;
                range("number of tower channels", detection.tower_channels, 1, 1 << 12)?;
                range("number of tower convolutions", detection.tower_convolutions, 1, 16)?;
                // Upsampling is then exactly two, and no level is empty.
                match size.iter().find(|&side| side % STRIDES[2] != 0 || *side == 0) {
                    None => Ok(()),
                    Some(side) => Err(Error::Configuration {
                        field: "input size of a detector",
                        actual: side.to_string(),
                        expected: format!("a multiple of {}", STRIDES[2]),
                    }),
                }
            }
            Task::Action(action) => range("number of frames", action.frames, 2, 256),
        }
    }
}

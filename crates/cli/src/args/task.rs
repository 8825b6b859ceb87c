//! What a network of the family is for, where it is not for classification.

use clap::{Args, ValueEnum};
use dyn_perceiver_models::{Action, Config, Detection, Extra, Task, VideoMode};

use crate::output::failure::{Failure, wrong};

/// Classes of a detector's exits: nothing, and something.
const EXIT_CLASSES: usize = 2;
/// Frames of a clip, as TSM has them.
const FRAMES: usize = 8;

/// Options of detectors and of networks of videos.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct TaskArgs {
    /// Build a detector: pyramid and head on the features of the backbone
    #[arg(long, conflicts_with = "video")]
    detect: bool,
    /// Give a detector's exits so many classes, in place of nothing and something
    #[arg(long, value_name = "N")]
    pub(super) exit_classes: Option<usize>,
    /// Give a detector's pyramid so many channels [default: 256]
    #[arg(long, value_name = "N")]
    pyramid: Option<usize>,
    /// Give the two towers of a detector's head so many channels and 3x3 convolutions [default: 256x4]
    #[arg(long, value_name = "CHANNELSxCONVOLUTIONS", value_parser = tower)]
    tower: Option<(usize, usize)>,
    /// Make a detector's level P6 from the backbone's last features, their lateral, or level P5 [default: on-input]
    #[arg(long, value_name = "SOURCE")]
    extra: Option<ExtraArg>,
    /// Build a network of videos: frame by frame with a state, a clip with shifts both ways, or a clip from the past
    #[arg(long, value_name = "MODE")]
    video: Option<VideoArg>,
    /// Frames of a clip; online, frames over which answers are summed [default: 8]
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ExtraArg {
    #[value(name = "on-input")]
    Input,
    #[value(name = "on-lateral")]
    Lateral,
    #[value(name = "on-output")]
    Output,
}

impl From<ExtraArg> for Extra {
    fn from(extra: ExtraArg) -> Extra {
        match extra {
            ExtraArg::Input => Extra::OnInput,
            ExtraArg::Lateral => Extra::OnLateral,
            ExtraArg::Output => Extra::OnOutput,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum VideoArg {
    Online,
    Clip,
    ClipFromPast,
}

impl From<VideoArg> for VideoMode {
    fn from(mode: VideoArg) -> VideoMode {
        match mode {
            VideoArg::Online => VideoMode::Online,
            VideoArg::Clip => VideoMode::Clip,
            VideoArg::ClipFromPast => VideoMode::ClipFromPast,
        }
    }
}

/// Two numbers with an x between them.
fn tower(text: &str) -> Result<(usize, usize), String> {
    let pair = text.split_once('x').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    pair.ok_or_else(|| "expected CHANNELSxCONVOLUTIONS, for instance 64x2".to_owned())
}

impl TaskArgs {
    /// What `config` is for once the options are taken, `classes` being that of the command line; a network that
    /// becomes a detector here gets the exit classes of one.
    pub(super) fn task(&self, config: &mut Config, classes: Option<usize>) -> Result<Task, Failure> {
        let task = match (&config.task, self.video) {
            (_, Some(mode)) => Task::Action(Action::new(self.frames.unwrap_or(FRAMES), mode.into())),
            (Task::Action(action), None) => {
                Task::Action(Action::new(self.frames.unwrap_or(action.frames), action.mode))
            }
            (Task::Detection(found), None) => Task::Detection(self.detection(found.clone(), classes)),
            (_, None) if self.detect => {
                let Some(classes) = classes else { return wrong("--detect needs --classes, those of the boxes") };
                config.classes = EXIT_CLASSES;
                Task::Detection(self.detection(Detection::new(classes), None))
            }
            _ => Task::Classification,
        };
        let of_detectors = [
            ("--exit-classes", self.exit_classes.is_some()),
            ("--pyramid", self.pyramid.is_some()),
            ("--tower", self.tower.is_some()),
            ("--extra", self.extra.is_some()),
        ];
        let of_videos = [("--frames", self.frames.is_some())];
        let misplaced =
            |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(name, _)| *name);
        match &task {
            Task::Detection(_) => match misplaced(&of_videos) {
                Some(option) => wrong(format!("{option} is an option of networks of videos: give --video")),
                None => Ok(task),
            },
            Task::Action(_) => match misplaced(&of_detectors) {
                Some(option) => wrong(format!("{option} is an option of detectors: give --detect")),
                None => Ok(task),
            },
            _ => match (misplaced(&of_detectors), misplaced(&of_videos)) {
                (Some(option), _) => wrong(format!("{option} is an option of detectors: give --detect")),
                (None, Some(option)) => wrong(format!("{option} is an option of networks of videos: give --video")),
                (None, None) => Ok(task),
            },
        }
    }

    fn detection(&self, mut detection: Detection, classes: Option<usize>) -> Detection {
        detection.classes = classes.unwrap_or(detection.classes);
        detection.pyramid = self.pyramid.unwrap_or(detection.pyramid);
        if let Some((channels, convolutions)) = self.tower {
            detection = detection.with_tower(channels, convolutions);
        }
        detection.extra = self.extra.map_or(detection.extra, Extra::from);
        detection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn towers_are_two_numbers() {
        assert_eq!(tower("64x2"), Ok((64, 2)));
        assert!(tower("64").is_err() && tower("ax2").is_err());
    }
}

//! A network of videos in the loop: options, its pace, and its answers as records.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use dyn_perceiver::exit::MAX_WINDOW;
use dyn_perceiver::model::ModelInfo;
use dyn_perceiver::pipeline::{GateConfig, VideoAnswer};
use dyn_perceiver::policy_file;
use dyn_perceiver::video::OverTimeConfig;

use crate::args::model::class_name;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::records::VideoRecord;

/// How frames of a network of videos are decided together.
#[derive(Args)]
#[command(next_help_heading = "Video")]
pub(super) struct VideoArgs {
    /// Sum what exits say over so many frames, at most 32 [default: the policy's, else the model's, else 8]
    #[arg(long, value_name = "COUNT")]
    window: Option<usize>,
    /// Change the answer of a video after so many equal ones in a row [default: the policy's, else 2]
    #[arg(long, value_name = "COUNT")]
    repeats: Option<u32>,
    /// Count states as stale that were held for more than so many frames [default: the window]
    #[arg(long, value_name = "COUNT")]
    hold: Option<u32>,
}

impl VideoArgs {
    /// How frames are decided together; of a model that is no network of videos nobody asks.
    pub(super) fn over_time(&self, info: &ModelInfo, policy: Option<&Path>) -> Result<OverTimeConfig, Failure> {
        let given = self.window.is_some() || self.repeats.is_some() || self.hold.is_some();
        if info.video.is_none() && given {
            return wrong("--window, --repeats and --hold are for networks of videos");
        }
        if self.window.is_some_and(|window| window == 0 || window > MAX_WINDOW) {
            return wrong(format!("--window: expected 1 to {MAX_WINDOW} frames"));
        }
        if self.repeats == Some(0) {
            return wrong("--repeats: an answer has to be given once at least");
        }
        let mut defaults = OverTimeConfig::default();
        if let Some(path) = policy.filter(|_| info.video.is_some())
            && let Some(said) = policy_file::load_over_time(path).or_input()?
        {
            defaults = defaults.with_window(said.window as usize).with_repeats(said.repeats);
        }
        let over_time = self.repeats.map_or(defaults, |repeats| defaults.with_repeats(repeats));
        let over_time = self.window.map_or(over_time, |window| over_time.with_window(window));
        Ok(self.hold.map_or(over_time, |hold| over_time.with_hold(hold)))
    }
}

/// Refuses a gate behind the first exit: in a video every frame counts.
pub(super) fn check_gate(info: &ModelInfo, gate: Option<&GateConfig>) -> Result<(), Failure> {
    match info.video.is_some() && gate.is_some_and(|gate| gate.latent.is_some()) {
        true => wrong("--gate latent and both are not for networks of videos, whose every frame counts"),
        false => Ok(()),
    }
}

/// Time from frame to frame of a camera where nobody says: that which a network of videos was trained on.
pub(super) fn period(info: &ModelInfo) -> Option<Duration> {
    let seconds = info.video.as_ref()?.frame_period?;
    Duration::try_from_secs_f32(seconds).ok()
}

/// What a frame of a video is told as.
pub(super) fn record(answer: &VideoAnswer, labels: Option<&Vec<String>>) -> VideoRecord {
    let frame = &answer.frame;
    VideoRecord {
        answer: frame.class,
        label: frame.class.map(|class| class_name(labels, class)),
        changed: frame.changed,
        certain: frame.certain,
        stale: answer.stale,
        warming: frame.warming,
        held: frame.held,
        reset: answer.reset.map(|reason| reason.name()),
    }
}

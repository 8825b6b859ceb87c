//! A detector in the loop: options, and its boxes as records.

use clap::Args;
use dyn_perceiver::detect::TrackerSettings;
use dyn_perceiver::detector::Detections;
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::model::ModelInfo;
use dyn_perceiver::pipeline::PipelineConfig;
use dyn_perceiver::plan::Plan;

use crate::args::detection;
use crate::args::policy::PolicyArgs;
use crate::args::share::Share;
use crate::output::failure::{Failure, wrong};
use crate::output::found::BoxRecord;
use crate::output::records::DetectionRecord;

/// What a detector computes, and how objects are followed.
#[derive(Args)]
#[command(next_help_heading = "Detection")]
pub(super) struct DetectorArgs {
    /// Ask a detector's exits first: one that says with this confidence that nothing is there ends the frame
    #[arg(long, value_name = "SHARE", conflicts_with = "policy")]
    presence: Option<Share>,
    /// Compute boxes from coarse levels to this one, for instance P5, and no finer ones [default: the policy's, else all]
    #[arg(long, value_name = "LEVEL", conflicts_with = "policy")]
    level: Option<String>,
    /// Count boxes with a score above this [default: 25 %, or the model's if that is higher]
    #[arg(long, value_name = "SHARE")]
    score: Option<Share>,
    /// Give an object a number once N of the last M frames show it
    #[arg(long, value_name = "N/M", default_value = "2/3", value_parser = frames)]
    track_frames: (u32, u32),
}

fn frames(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('/').and_then(|(n, m)| Some((n.trim().parse().ok()?, m.trim().parse().ok()?)));
    let parsed = parsed.filter(|&(n, m): &(u32, u32)| n >= 1 && n <= m && m <= 32);
    parsed.ok_or_else(|| "expected two numbers of frames up to 32, such as 2/3".to_owned())
}

impl DetectorArgs {
    /// Whether what is computed was spelled out, so that no policy file says it.
    pub(super) fn is_spelled_out(&self) -> bool {
        self.presence.is_some() || self.level.is_some()
    }

    /// Whether any of the options that only a detector has was given.
    fn asks_for_boxes(&self) -> bool {
        self.presence.is_some() || self.level.is_some() || self.score.is_some()
    }

    /// The policy spelled out, for a model that is a detector and has no policy file.
    pub(super) fn policy(&self, plan: &Plan, policy: &PolicyArgs) -> Result<Option<ExitPolicy>, Failure> {
        if plan.info().boxes.is_none() {
            return match self.asks_for_boxes() {
                true => wrong("--presence, --level and --score are for detectors"),
                false => Ok(None),
            };
        }
        if policy.is_spelled_out() {
            return wrong("--exit and --thresholds are for classification; a detector takes --presence and --level");
        }
        detection::spelled_out(plan, self.presence.map(Share::get), self.level.as_deref()).map(Some)
    }

    /// What the loop has to know.
    pub(super) fn configure(&self, info: &ModelInfo, config: &mut PipelineConfig) {
        config.score = detection::shown_score(self.score, info);
        config.tracker = TrackerSettings::new(config.tracker.overlap, self.track_frames.0, self.track_frames.1);
    }
}

/// Boxes as they are told.
pub(super) fn boxes(found: &Detections) -> Vec<BoxRecord> {
    let boxes = found.boxes.iter();
    boxes
        .map(|found| BoxRecord {
            class: found.class,
            label: found.label.to_string(),
            score: found.score,
            r#box: found.area.corners(),
            track: found.track,
        })
        .collect()
}

/// What a frame of a detector is told as; `outcomes` are the names of the exits and then of the goals.
pub(super) fn record(found: &Detections, outcomes: &[String], goals: usize) -> DetectionRecord {
    let name = |outcome: usize| outcomes.get(outcome).cloned();
    let exits = outcomes.len().saturating_sub(goals);
    DetectionRecord {
        gate: found.gated_at.and_then(name),
        level: found.goals.checked_sub(1).and_then(|goal| name(exits + goal)),
        boxes: boxes(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_track_are_n_of_m() {
        assert_eq!(frames("2/3"), Ok((2, 3)));
        assert!(["3", "0/3", "4/3", "1/33", "a/b"].iter().all(|text| frames(text).is_err()));
    }
}

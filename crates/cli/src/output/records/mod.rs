//! What the loop of `run` yields, as records: one form for `--json` and for `--log`.

mod json_lines;
mod live_line;
mod log;

use std::borrow::Cow;

use dyn_perceiver::energy::Reason;
use dyn_perceiver::energy::companion::Wakes;
use dyn_perceiver::events::EventKind;
use serde::Serialize;

use super::found::BoxRecord;
use super::json::Pairs;
#[cfg(test)]
pub(crate) use json_lines::Stamped;
pub(crate) use json_lines::line;
pub(crate) use live_line::{LiveLine, columns};
pub(crate) use log::Log;

/// What is to be expected of one step.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ExpectedStep {
    /// The step holds from this state of charge in [0, 1] upwards.
    pub from: f32,
    /// Index of the operating point.
    pub point: usize,
    /// The exits' thresholds, in words.
    pub thresholds: String,
    /// Expected share of frames answered rightly.
    pub accuracy: f32,
    /// Its standard error, from the number of images calibrated on.
    pub accuracy_error: Option<f32>,
    /// Joules that a frame adds to idling.
    pub joules: f32,
    /// Watts of the board on average.
    pub watts: f32,
    /// Hours that the battery takes from the step above to the next one, at its nameplate capacity.
    pub hours: Option<f32>,
}

/// Something that happened in the loop.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    /// What the level of the battery steps through, told once at the start.
    Steps {
        /// The steps by falling charge.
        steps: &'a [ExpectedStep],
    },
    /// A frame was classified.
    Frame(Frame<'a>),
    /// A frame was passed over: its file cannot be read, or it cannot be classified.
    Skipped {
        /// The file, where it is known.
        source: Option<Cow<'a, str>>,
        /// Why.
        message: &'a str,
    },
    /// The camera was lost or is back.
    Camera {
        /// Whether frames come again.
        connected: bool,
        /// What happened, in words.
        message: &'a str,
    },
    /// The fuel gauge failed, or can be read again.
    Gauge {
        /// Whether its readings can be believed again.
        connected: bool,
        /// What happened, in words.
        message: &'a str,
    },
    /// The plan of a mission no longer holds, or holds again.
    Plan {
        /// What it rests on: "frames" (what a frame takes), "battery" (what a charge gives), "gauge", "sun" or "demand".
        cause: &'static str,
        /// Whether it holds again.
        holds: bool,
        /// Found over expected; none of a gauge.
        ratio: Option<f32>,
        /// What happened, in words.
        message: &'a str,
    },
    /// A class appeared, is still here or left.
    Event(EventRecord<'a>),
    /// The state was stored.
    State {
        /// How often it has been.
        periods: u64,
    },
    /// The loop has ended.
    Summary(Summary<'a>),
}

/// The result of one frame.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Frame<'a> {
    /// Number of the frame in its stream.
    pub frame: u64,
    /// The file or camera it came from.
    pub source: Option<Cow<'a, str>>,
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: Cow<'a, str>,
    /// Index of the true class, if it is known.
    pub truth: Option<usize>,
    /// Name of the exit at which the frame left.
    pub exit: &'a str,
    /// Confidence in [0, 1] at that exit.
    pub confidence: f32,
    /// Probability in [0, 1] that the class is right, as calibrated; none where that is not known.
    pub probability: Option<f32>,
    /// Whether a gate let the last answer hold, so that the network did not run, or not beyond its first exit.
    pub reused: bool,
    /// "frame" or "code": which gate that was.
    pub gate: Option<&'static str>,
    /// Whether the frame left before the last exit that the policy evaluates.
    pub exited_early: bool,
    /// The former name of `exited_early`.
    pub cut: bool,
    /// Milliseconds of inference.
    pub latency_ms: f64,
    /// Milliseconds from the capture of the frame to the answer.
    pub age_ms: f64,
    /// State of charge in [0, 1] after the frame; none where there is no battery or it is not known.
    pub soc: Option<f32>,
    /// Index of the operating point in force, cheapest first.
    pub point: usize,
    /// Why that point is in force.
    #[cfg_attr(test, schemars(with = "String"))]
    pub reason: Reason,
    /// Milliseconds to the next frame, if the governor chooses them.
    pub period_ms: Option<u64>,
    /// Multiply-accumulates of the network for the frame; 0 where it did not run.
    pub macs: u64,
    /// Joules that the frame added to idle consumption, modelled.
    pub joules: f32,
    /// What a detector found; of others not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection: Option<DetectionRecord>,
    /// The frame among those before it, of a network of videos; of others not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoRecord>,
}

/// What a detector found in a frame.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DetectionRecord {
    /// The exit that said that nothing is there, where one ended the frame.
    pub gate: Option<String>,
    /// The finest level computed; none where a gate ended the frame.
    pub level: Option<String>,
    /// Boxes, best first.
    pub boxes: Vec<BoxRecord>,
}

/// A frame among those before it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct VideoRecord {
    /// Index of the class that is the answer over time; none before the first.
    pub answer: Option<usize>,
    /// Name of that class.
    pub label: Option<String>,
    /// Whether this frame changed the answer.
    pub changed: bool,
    /// Whether the answer is certain, so that the next frame looks at the first exit alone.
    pub certain: bool,
    /// Whether states behind the first exit were held for too long.
    pub stale: bool,
    /// Whether the frame computed anew what was stale, so that it is worth less.
    pub warming: bool,
    /// Frames since the last exit was computed.
    pub held: u32,
    /// Why what came before was forgotten: "gap", "stream" or "not-finite".
    pub reset: Option<&'static str>,
}

/// Something that happened in front of the camera.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct EventRecord<'a> {
    /// Number of the event in this run, from 1 on.
    pub id: u64,
    /// "appeared", "still-here" or "left".
    #[cfg_attr(test, schemars(with = "String"))]
    pub event: EventKind,
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: &'a str,
    /// Highest confidence in [0, 1] with which it was seen since it appeared.
    pub confidence: f32,
    /// Number of the frame that decided it.
    pub frame: u64,
    /// Seconds for which the class has been here.
    pub lasted_s: f64,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Summary<'a> {
    /// Frames classified.
    pub frames: u64,
    /// Frames of those for which a gate let the last answer hold, so that the network did not run, or not beyond its first
    /// exit.
    pub reused: u64,
    /// Frames of those that were held back behind the first exit.
    pub reused_by_code: u64,
    /// Share of labelled frames answered rightly.
    pub accuracy: Option<f64>,
    /// The same of the full network, of the frames for which it ran.
    pub accuracy_full: Option<f64>,
    /// Share of the frames that ran by exit.
    pub exit_share: Pairs<f64>,
    /// Latency by exit, and of `all` frames and of the `full` network.
    pub latency_ms: Pairs<Option<Latency>>,
    /// Multiply-accumulates of a frame that went through the network, on average.
    pub macs_mean: Option<f64>,
    /// Frames that a detector's exits ended, because nothing is there; of others not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gated: Option<u64>,
    /// Boxes in all frames of a detector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<u64>,
    /// Changes of the answer of a network of videos; of others not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<u64>,
    /// How often a network of videos forgot what came before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets: Option<u64>,
    /// Joules that inference added to idle consumption, modelled.
    pub joules: f64,
    /// What the full network would have added.
    pub joules_full: f64,
    /// Changes of the operating point.
    pub switches: u64,
    /// State of charge at the end.
    pub soc: Option<f32>,
    /// Frames of the camera that never reached the loop.
    pub dropped: u64,
    /// Frames of those that came damaged or could not be decoded.
    pub damaged: u64,
    /// Frames or files passed over.
    pub skipped: u64,
    /// Threads that the network ran on.
    pub threads: usize,
    /// Milliseconds from the start of the program to the first answer.
    pub first_answer_ms: Option<f64>,
    /// What the companion microcontroller used the board's switch for, where it holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wakes: Option<WakeCounts>,
    /// Why the run ended.
    pub ended: &'a str,
}

/// Times that the board was switched on and off.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct WakeCounts {
    /// Times that the board was switched on, this one included.
    pub boots: u32,
    /// Of them those by motion.
    pub by_motion: u32,
    /// Times that the supply was cut from a board that had not halted.
    pub cuts: u32,
    /// Wakes that were due while the charge was too low.
    pub missed: u32,
    /// Seconds until the clock wakes the board the next time; null where only motion does.
    pub next_s: Option<u32>,
}

impl From<Wakes> for WakeCounts {
    fn from(wakes: Wakes) -> Self {
        let Wakes { boots, by_motion, cuts, missed, next_s, .. } = wakes;
        Self { boots, by_motion, cuts, missed, next_s }
    }
}

/// Latency in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Latency {
    pub mean: f64,
    pub p95: f64,
}

impl From<(f64, f64)> for Latency {
    fn from((mean, p95): (f64, f64)) -> Self {
        Self { mean, p95 }
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Record<'static> {
    Record::Frame(Frame {
        frame: 7,
        source: Some("boot.png".into()),
        class: 9,
        label: "Ankle boot".into(),
        truth: Some(9),
        exit: "exit1",
        confidence: 0.875,
        probability: Some(0.9375),
        reused: false,
        gate: None,
        exited_early: true,
        cut: true,
        latency_ms: 3.25,
        age_ms: 4.5,
        soc: Some(0.1),
        point: 2,
        reason: Reason::Hold,
        period_ms: None,
        macs: 1200,
        joules: 0.125,
        detection: None,
        video: None,
    })
}

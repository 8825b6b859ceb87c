//! The numbers of a running loop, as a page, a dashboard or a message shows them.

use dyn_perceiver::energy::Reason;
use serde::Serialize;

use crate::output::found::BoxRecord;

/// A loop at one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct State {
    /// Time of day in UTC; none while the clock is not set.
    pub time: Option<String>,
    /// Seconds since the loop began.
    pub uptime_s: f64,
    /// Whether the loop takes no frames because somebody said so.
    pub paused: bool,
    /// Frames classified.
    pub frames: u64,
    /// Frames of those for which a gate let the last answer hold.
    pub reused: u64,
    /// Frames of the camera that never reached the loop.
    pub dropped: u64,
    /// Frames of those that came damaged or could not be decoded.
    pub damaged: u64,
    /// Frames or files passed over.
    pub skipped: u64,
    /// The newest answer; none before the first.
    pub answer: Option<Answer>,
    /// Each exit's part, in order of cost.
    pub exits: Vec<Exit>,
    /// Mean latency of all frames in milliseconds.
    pub latency_mean_ms: Option<f64>,
    /// 95th percentile of it.
    pub latency_p95_ms: Option<f64>,
    /// Joules that inference added to idle consumption, modelled.
    pub joules: f64,
    /// What the full network would have added, modelled.
    pub joules_full: f64,
    /// Changes of the operating point.
    pub switches: u64,
    /// The battery and what it is spent on.
    pub charge: Charge,
    /// The mission, if there is one.
    pub mission: Option<Mission>,
    /// The camera.
    pub camera: Camera,
}

/// The answer to one frame.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Answer {
    /// Number of the frame in its stream.
    pub frame: u64,
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Confidence in [0, 1] at the exit taken.
    pub confidence: f32,
    /// Probability in [0, 1] that the class is right, as calibrated; none where that is not known.
    pub probability: Option<f32>,
    /// Name of the exit taken.
    pub exit: String,
    /// Whether the frame left before the last exit that the policy evaluates.
    pub exited_early: bool,
    /// Milliseconds of inference.
    pub latency_ms: f64,
    /// Milliseconds from the capture of the frame to the answer.
    pub age_ms: f64,
    /// Index of the operating point in force, cheapest first.
    pub point: usize,
    /// Why that point is in force.
    #[cfg_attr(test, schemars(with = "String"))]
    pub reason: Reason,
    /// Milliseconds to the next frame, where the loop has a pace.
    pub period_ms: Option<u64>,
    /// Joules that the frame added to idle consumption, modelled.
    pub joules: f32,
    /// What a detector found, best first; of others not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boxes: Option<Vec<BoxRecord>>,
    /// Width of the frame in pixels, in which boxes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Its height.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
}

/// One exit's part in a run.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Exit {
    /// Its name.
    pub exit: String,
    /// Frames that left there.
    pub frames: u64,
    /// Share of all frames, in [0, 1].
    pub share: f64,
    /// Mean latency in milliseconds; none when no frame left there.
    pub mean_ms: Option<f64>,
    /// 95th percentile of latency in milliseconds.
    pub p95_ms: Option<f64>,
}

/// The battery.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Charge {
    /// State of charge in [0, 1]; none where there is no battery or it is not known.
    pub soc: Option<f32>,
    /// Joules that a frame may add on average, where a mission has a budget.
    pub budget_joules: Option<f32>,
    /// Watts drawn on average since the loop began, modelled.
    pub watts: Option<f64>,
    /// Watts that the mission's governor plans to draw on average until the end, modelled; none without a mission.
    pub planned_watts: Option<f64>,
    /// Hours until the battery is empty if it goes on like this; none where that is not known.
    pub hours_left: Option<f64>,
    /// Why the gauge is not believed, while it is not.
    pub trouble: Option<String>,
}

/// The mission.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Mission {
    /// Seconds since it began.
    pub elapsed_s: f64,
    /// Its length in seconds.
    pub length_s: f64,
    /// State of charge that must be left at its end, in [0, 1].
    pub reserve: f32,
    /// Accuracy in [0, 1] below which it never goes; none where accuracy gives way.
    pub floor: Option<f32>,
    /// State of charge at its end if it goes on as in this run so far, in [0, 1]; none where that is not known yet.
    pub forecast_soc: Option<f32>,
    /// For what its plan does not hold at present, in words.
    pub departures: Vec<String>,
}

/// The camera.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Camera {
    /// What frames come from.
    pub name: String,
    /// Whether frames come.
    pub connected: bool,
    /// Why not.
    pub message: Option<String>,
}

impl Default for Camera {
    fn default() -> Self {
        Self { name: String::new(), connected: true, message: None }
    }
}

/// A state in which everything is known.
#[cfg(test)]
pub(crate) fn sample() -> State {
    let exit = |exit: &str, frames: u64, mean_ms: Option<f64>| Exit {
        exit: exit.into(),
        frames,
        share: frames as f64 / 40.0,
        mean_ms,
        p95_ms: mean_ms.map(|ms| 1.5 * ms),
    };
    State {
        time: Some("2026-01-02T03:04:05.678Z".into()),
        uptime_s: 4.5,
        frames: 40,
        dropped: 2,
        answer: Some(Answer {
            frame: 41,
            class: 9,
            label: "Ankle boot".into(),
            confidence: 0.875,
            probability: Some(0.9375),
            exit: "early".into(),
            exited_early: true,
            latency_ms: 3.25,
            age_ms: 4.5,
            point: 2,
            reason: Reason::Hold,
            period_ms: Some(100),
            joules: 0.125,
            boxes: None,
            width: None,
            height: None,
        }),
        exits: vec![exit("early", 30, Some(2.0)), exit("late", 10, Some(8.0)), exit("never", 0, None)],
        latency_mean_ms: Some(3.5),
        latency_p95_ms: Some(12.0),
        joules: 5.0,
        joules_full: 12.0,
        switches: 1,
        charge: Charge {
            soc: Some(0.5),
            budget_joules: Some(0.25),
            watts: Some(1.5),
            planned_watts: Some(1.25),
            hours_left: Some(6.5),
            trouble: None,
        },
        mission: Some(Mission {
            elapsed_s: 4.5,
            length_s: 3600.0,
            reserve: 0.1,
            floor: Some(0.92),
            forecast_soc: Some(0.2),
            departures: vec!["not as planned".into()],
        }),
        camera: Camera { name: "/dev/video0".into(), connected: true, message: None },
        ..State::default()
    }
}

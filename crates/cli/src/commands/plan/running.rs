//! The plan of a mission that runs: what `plan` prints, with what the loop has measured and was told, for its page.

use std::time::Duration;

use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::profile::Profile;
use dyn_perceiver_host::Board;
use serde::Serialize;

use super::{
    Asked, BURST, CAMERA_SIZE, EFFICIENCY, EVENTS_PER_DAY, LONGEST, Measured, Network, Report, STILL, SUN_HOURS,
    SupplyArgs, WishArgs, reckon,
};
use crate::args::model;
use crate::args::number;
use crate::args::policy::Points;
use crate::args::share::Share;
use crate::output::failure::{Failure, wrong};
use crate::output::json;

/// What a frame of the loop costs.
#[derive(Clone, Debug)]
pub(crate) struct LoopCosts {
    /// Watts of the idle board alone.
    pub idle_watts: f32,
    /// Seconds and joules of each stage.
    pub seconds: Vec<f32>,
    pub joules: Vec<f32>,
    /// Where the joules come from, in words.
    pub method: String,
}

/// What the page is sent.
#[derive(Serialize)]
struct Served<'a> {
    kind: &'static str,
    #[serde(flatten)]
    report: Report<'a>,
}

/// A mission that runs.
pub(crate) struct Running<'a> {
    pub board: &'a Board,
    pub plan: &'a Plan,
    pub points: &'a Points,
    pub costs: LoopCosts,
    pub profile: Option<&'a Profile>,
    pub battery_wh: f32,
    pub reserve: Share,
    pub solar_wp: f32,
    pub length: Duration,
    /// Frames a second that are wished for, and the longest time from frame to frame, where the governor chooses.
    pub fps: f64,
    pub longest: Option<Duration>,
    pub radio: bool,
}

impl Running<'_> {
    /// The plan as one line of JSON, with the keys of `plan --json`.
    ///
    /// # Errors
    /// What a plan cannot be made of.
    pub(crate) fn line(self) -> Result<Vec<u8>, Failure> {
        let LoopCosts { idle_watts, seconds, joules, method } = self.costs;
        let measured = Measured {
            idle_watts: idle_watts.into(),
            seconds: seconds.iter().map(|seconds| f64::from(*seconds)).collect(),
            joules: joules.iter().map(|joules| f64::from(*joules)).sum(),
            method,
        };
        let network = Network {
            plan: self.plan,
            points: self.points,
            measured: Some(&measured),
            profile: self.profile,
            gate: None,
        };
        // Defaults of `plan` where a loop has no option.
        let supply = SupplyArgs {
            battery_wh: self.battery_wh,
            reserve: self.reserve,
            efficiency: EFFICIENCY,
            solar_wp: self.solar_wp,
            sun_hours: SUN_HOURS,
        };
        let wish = WishArgs {
            days: self.length,
            fps: self.fps,
            longest: self.longest.map_or_else(|| number::seconds(LONGEST), Ok).or_else(wrong)?,
            still: STILL,
            gate_report: None,
            events_per_day: EVENTS_PER_DAY,
            burst: BURST,
            camera_size: number::size(CAMERA_SIZE).or_else(wrong)?,
        };
        let asked = Asked { supply: &supply, wish: &wish, radio: self.radio, by_loop: true };
        let reckoned = reckon(asked, self.board, &network, &[])?;
        let model = model::name(self.plan);
        let served = Served { kind: "plan", report: reckoned.report(asked, self.board, &model) };
        Ok(json::line(&json::Versioned::new(&served))?)
    }
}

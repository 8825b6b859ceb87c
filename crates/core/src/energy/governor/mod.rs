//! Energy governors: pick the operating point as the battery drains.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::gauge::GaugeState;

mod budget;
mod dither;
mod guard;
mod horizon;
mod hours;
mod ladder;
mod learned;
mod mission;
mod spells;
mod steps;

pub use budget::{BudgetGovernor, BudgetPlan};
pub use ladder::{Ladder, LadderError, Rung, point_joules};
pub use learned::Learned;
pub use mission::{FrameDemand, GovernorSettings, Mission, MissionError, Solar};
pub use steps::{MAX_STEPS, SocStep, SocSteps, StepsError};

/// Picks the operating point: an index into the frontier's points, sorted by cost, 0 being the cheapest.
pub trait Governor {
    /// Decides what to run until the next call.
    fn choose(&mut self, input: &GovernorInput) -> Choice;
}

/// What a governor decides upon.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct GovernorInput {
    /// Time since the mission began. Never goes back.
    pub elapsed: Duration,
    /// What the fuel gauge says and how far to believe it.
    pub gauge: GaugeState,
    /// Frames finished since the last decision.
    pub frames: u32,
    /// Joules that those frames added to the board's idle consumption, measured or modelled.
    pub joules: f32,
}

impl GovernorInput {
    /// An input with a gauge and no frames yet.
    pub const fn new(elapsed: Duration, gauge: GaugeState) -> Self {
        GovernorInput { elapsed, gauge, frames: 0, joules: 0.0 }
    }

    /// The same input after `frames` frames that added `joules` together.
    #[must_use]
    pub const fn with_frames(self, frames: u32, joules: f32) -> Self {
        GovernorInput { frames, joules, ..self }
    }
}

/// What to run until the next decision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Choice {
    /// Index of the operating point.
    pub point: usize,
    /// Time from one frame to the next, where the mission leaves it to the governor.
    pub period: Option<Duration>,
    /// Why.
    pub reason: Reason,
}

impl Choice {
    /// An operating point and why, with the frame period left as it is.
    pub const fn new(point: usize, reason: Reason) -> Self {
        Choice { point, period: None, reason }
    }

    /// The same choice of another operating point.
    #[must_use]
    pub const fn with_point(self, point: usize) -> Self {
        Choice { point, ..self }
    }

    /// The same choice with the time from one frame to the next.
    #[must_use]
    pub const fn with_period(self, period: Duration) -> Self {
        Choice { period: Some(period), ..self }
    }

    /// Whether to stop running frames altogether.
    pub fn stops(&self) -> bool {
        self.reason == Reason::BrownOut
    }
}

/// Why an operating point was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The first decision.
    Start,
    /// Nothing calls for a change.
    Hold,
    /// The state of charge crossed a step.
    Step,
    /// The budget per frame calls for this point.
    Budget,
    /// More than enough is left for the most accurate point.
    Plenty,
    /// The battery cannot last the mission even at the cheapest point.
    CannotLast,
    /// The battery cannot last the mission at the accuracy asked for; the accuracy is kept.
    FloorCannotLast,
    /// The point moves towards the budget as fast as allowed.
    RateLimited,
    /// The gauge is stale: the plan goes on from the charge counted since its last reading.
    StaleHold,
    /// The gauge is stale for long: the point goes down step by step. No governor of this version says so.
    StaleDegrade,
    /// The gauge has failed: the plan goes on from the charge counted, with a margin for what is not known of it; the
    /// cheapest point where it never told anything.
    GaugeFailed,
    /// The reserve is reached: the cheapest point.
    Reserve,
    /// The voltage is too low to go on: inference stops.
    BrownOut,
    /// The mission is over.
    MissionOver,
    /// The board runs on external power: the most accurate point.
    ExternalPower,
}

impl Reason {
    /// The name used in files, logs and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Start => "start",
            Reason::Hold => "hold",
            Reason::Step => "step",
            Reason::Budget => "budget",
            Reason::Plenty => "plenty",
            Reason::CannotLast => "cannot-last",
            Reason::FloorCannotLast => "floor-cannot-last",
            Reason::RateLimited => "rate-limited",
            Reason::StaleHold => "stale-hold",
            Reason::StaleDegrade => "stale-degrade",
            Reason::GaugeFailed => "gauge-failed",
            Reason::Reserve => "reserve",
            Reason::BrownOut => "brown-out",
            Reason::MissionOver => "mission-over",
            Reason::ExternalPower => "external-power",
        }
    }

    /// A stable number for wire formats.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

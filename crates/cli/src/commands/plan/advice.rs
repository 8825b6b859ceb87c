//! What would reach the wish: a bigger cell, a panel, a switch, another board.

use serde::Serialize;

use super::measures::Setting;

/// What the mission can be, and what it takes to be what was wished for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Advice {
    /// Watts on average that battery and sun allow.
    pub allowed_watts: f64,
    /// Seconds from frame to frame of a board that is always on, all measures taken; null where it cannot last.
    pub period_s: Option<f64>,
    /// Events a day of a board that is switched off in between; null where nothing is known of that.
    pub events_per_day: Option<f64>,
    /// Seconds between frames from which on it pays to be switched off.
    pub off_pays_from_s: Option<f64>,
    /// Watt-hours of a battery with which the board could be always on, at the longest period.
    pub battery_wh: f64,
    /// Peak watts of a panel that would do it with the battery there is.
    pub solar_wp: f64,
    /// Other boards with the same battery.
    pub boards: Vec<OtherBoard>,
}

/// The same mission on another board.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct OtherBoard {
    pub board: String,
    pub name: String,
    /// Watts of the board always on, at the longest period, all measures taken.
    pub watts: f64,
    pub period_s: Option<f64>,
    pub events_per_day: Option<f64>,
}

/// How a watt-hour and a peak watt turn into joules at the board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yields {
    /// Joules at the board for a watt-hour of nameplate capacity.
    pub joules_per_wh: f64,
    /// Watts on average for a peak watt.
    pub watts_per_wp: f64,
}

pub(super) fn advise(setting: &Setting, yields: Yields, boards: Vec<OtherBoard>) -> Advice {
    let needed = setting.least_always_on();
    let mission = setting.mission;
    let missing = (needed - mission.income).max(0.0);
    Advice {
        allowed_watts: setting.allowed(),
        period_s: setting.chosen_period(),
        events_per_day: setting.most_events(),
        off_pays_from_s: setting.pays_from(),
        battery_wh: missing * mission.seconds / yields.joules_per_wh,
        solar_wp: (needed - mission.joules / mission.seconds).max(0.0) / yields.watts_per_wp,
        boards,
    }
}

impl OtherBoard {
    pub(super) fn new(board: &str, name: &str, setting: &Setting) -> Self {
        Self {
            board: board.to_owned(),
            name: name.to_owned(),
            watts: setting.least_always_on(),
            period_s: setting.chosen_period(),
            events_per_day: setting.most_events(),
        }
    }
}

//! The policy in flash.

use core::fmt;

use dyn_perceiver_core::energy::{
    BudgetGovernor, FrameDemand, GovernorSettings, Ladder, Mission, MissionError, PowerModel,
};
use serde::{Deserialize, Serialize};

use crate::wake::{WakeError, WakePlan};

/// Everything the governor needs, stored as postcard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The operating points of the network that the Linux board runs, and what they cost there. The policies themselves
    /// stay with that board: the whole frontier takes tens of kilobytes of stack to read, of which the governor needs the
    /// ladder alone.
    pub ladder: Ladder,
    /// What that board draws.
    pub power: PowerModel,
    /// The mission.
    pub mission: Mission,
    /// The battery and the governor's habits.
    pub settings: GovernorSettings,
    /// When the board has power, where the microcontroller holds its switch; none: always.
    pub wake: Option<WakePlan>,
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The bytes are no configuration.
    Bytes,
    /// The mission or the settings are out of range.
    Mission(MissionError),
    /// The wake plan is out of range.
    Wake(WakeError),
    /// The switch is to be held without a wake plan.
    NoWakePlan,
    /// The mission has a frame every so often, which a board that is switched off at times cannot make.
    WakeWithPeriod,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Bytes => f.write_str("the bytes are not a postcard of a configuration"),
            ConfigError::Mission(error) => error.fmt(f),
            ConfigError::Wake(error) => error.fmt(f),
            ConfigError::NoWakePlan => f.write_str("there is no wake plan"),
            ConfigError::WakeWithPeriod => {
                f.write_str("with a wake plan the mission's frames come per-hour or day-night, not every so often")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError::Bytes`] when the bytes are none or the ladder or power model in them is unsound.
    pub fn from_postcard(bytes: &[u8]) -> Result<Self, ConfigError> {
        postcard::from_bytes(bytes).map_err(|_| ConfigError::Bytes)
    }

    /// The wake plan, if there is one.
    ///
    /// # Errors
    /// [`ConfigError`] when it is out of range or does not fit the mission.
    pub fn wake(&self) -> Result<Option<WakePlan>, ConfigError> {
        let Some(plan) = self.wake else { return Ok(None) };
        plan.check().map_err(ConfigError::Wake)?;
        match self.mission.frames {
            FrameDemand::PerHour(_) | FrameDemand::DayNight { .. } => Ok(Some(plan)),
            FrameDemand::Period(_) | FrameDemand::Between(..) => Err(ConfigError::WakeWithPeriod),
        }
    }

    /// The governor.
    ///
    /// # Errors
    /// [`ConfigError`] when the parts do not fit together.
    pub fn governor(&self) -> Result<BudgetGovernor, ConfigError> {
        BudgetGovernor::new(self.ladder.clone(), &self.power, self.mission, self.settings).map_err(ConfigError::Mission)
    }
}

//! The battery: simulated, behind a gauge, or none.

use clap::{Args, ValueEnum};

use super::number::positive;
use crate::output::failure::{Failure, wrong};

/// What the board runs on, if no gauge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BatteryKind {
    /// Mains: nothing runs empty, and the most accurate point is used
    Mains,
    /// A battery that is drained by the joules modelled
    Simulated,
}

/// Capacity of a battery, in watt-hours.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct CapacityArgs {
    /// Set the capacity of the battery in watt-hours
    #[arg(long, value_name = "WH", value_parser = positive)]
    battery_wh: Option<f32>,
    /// The same in milliwatt-hours
    #[arg(long, value_name = "MWH", value_parser = positive, hide = true, conflicts_with = "battery_wh")]
    battery_mwh: Option<f32>,
}

impl CapacityArgs {
    /// Milliwatt-hours, if a capacity was given.
    pub(crate) fn milliwatt_hours(&self) -> Option<f32> {
        self.battery_wh.map(|wh| wh * 1000.0).or(self.battery_mwh)
    }
}

/// The battery of a run.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct BatteryArgs {
    /// Run on mains or on a simulated battery [default: the battery of --gauge or --battery-wh, else mains with --camera
    /// and --frames, else simulated, at a capacity that lasts 75 % of the frames at the full network]
    #[arg(long, value_enum, value_name = "KIND")]
    battery: Option<BatteryKind>,
    #[command(flatten)]
    pub capacity: CapacityArgs,
}

impl BatteryArgs {
    /// Whether a battery is simulated: `gauge` and `named_frames` say if there is a gauge, and if the frames are the user's.
    pub(crate) fn is_simulated(&self, gauge: bool, named_frames: bool) -> Result<bool, Failure> {
        let capacity = self.capacity.milliwatt_hours().is_some();
        match self.battery {
            Some(BatteryKind::Mains) if capacity => wrong("--battery mains has no capacity: leave out --battery-wh"),
            Some(_) if gauge => wrong("--battery and --gauge exclude each other: the gauge tells of a real battery"),
            Some(kind) => Ok(kind == BatteryKind::Simulated),
            None => Ok(!gauge && (capacity || !named_frames)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_is_simulated_on_request_or_in_the_demonstration() {
        let capacity = CapacityArgs { battery_wh: Some(10.0), battery_mwh: None };
        let args = |battery, capacity| BatteryArgs { battery, capacity };
        let none = CapacityArgs::default();
        let simulated = |args: BatteryArgs, gauge, named| args.is_simulated(gauge, named).ok();
        assert_eq!(simulated(args(None, none), false, false), Some(true), "the demonstration");
        assert_eq!(simulated(args(None, none), false, true), Some(false), "a camera");
        assert_eq!(simulated(args(None, capacity), false, true), Some(true), "a capacity");
        assert_eq!(simulated(args(None, capacity), true, true), Some(false), "a gauge");
        assert_eq!(simulated(args(Some(BatteryKind::Simulated), none), false, true), Some(true));
        assert_eq!(simulated(args(Some(BatteryKind::Mains), none), false, false), Some(false));
        assert_eq!(simulated(args(Some(BatteryKind::Mains), capacity), false, false), None);
        assert_eq!(simulated(args(Some(BatteryKind::Mains), none), true, false), None);
        assert_eq!(CapacityArgs { battery_wh: None, battery_mwh: Some(5.0) }.milliwatt_hours(), Some(5.0));
        assert_eq!(capacity.milliwatt_hours(), Some(10_000.0));
    }
}

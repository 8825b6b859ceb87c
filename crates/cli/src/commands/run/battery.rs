//! The battery of a run, and the gauge that tells of it.

use std::time::Duration;

use clap::Args as ClapArgs;
use dyn_perceiver::energy::estimator::{Chemistry, CoulombSettings, UnknownChemistry};
use dyn_perceiver::energy::{Battery, JOULES_PER_MWH, PowerModel};
use dyn_perceiver::sensors::AnyGauge;
use dyn_perceiver::sensors::Companion;
use dyn_perceiver::sensors::open::{
    SENSORS, SensorRole, companion_gauge, open_companion, open_counted_under, open_gauge_under,
};
use dyn_perceiver::sensors::store::Stored;

use super::mission::Chooser;
use crate::args::battery::CapacityArgs;
use crate::args::share::Share;
use crate::args::system;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::table;

/// Without a capacity the simulated battery holds what the full network would use for this share of the frames.
const BATTERY_SHARE: f32 = 0.75;

/// The sensor that tells the state of charge.
#[derive(ClapArgs)]
#[command(next_help_heading = "Battery and power")]
pub(super) struct GaugeArgs {
    /// Read this fuel gauge, such as power-supply or max17048:/dev/i2c-1; or a power monitor whose charge is counted, with
    /// --battery-wh, such as rail:ina219 or ina219:/dev/i2c-1:0x40:0.1. A name that is none lists them all
    #[arg(long, value_name = "NAME")]
    gauge: Option<String>,
    /// Take the cells to be liion, lifepo4 or nimh, where charge is counted
    #[arg(long, value_name = "KIND", default_value = "liion", value_parser = chemistry)]
    pub(super) chemistry: Chemistry,
    /// Set the number of cells in series, where charge is counted
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    cells: u8,
    /// Start the simulated battery at this state of charge, such as 50% or 0.5 [default: as stored, else full]
    #[arg(long, value_name = "SHARE")]
    soc: Option<Share>,
}

fn chemistry(name: &str) -> Result<Chemistry, String> {
    name.parse().map_err(|error: UnknownChemistry| error.to_string())
}

/// An opened gauge, and the companion behind it if it is one.
pub(super) struct Sensor {
    pub gauge: AnyGauge,
    pub companion: Option<Companion>,
}

impl Sensor {
    /// The companion as the one who decides.
    pub(super) fn chooser(&self) -> Result<Chooser, Failure> {
        match &self.companion {
            Some(companion) => Ok(Chooser::Companion(companion.clone())),
            None => wrong("mode companion needs --gauge companion:DEVICE"),
        }
    }
}

impl GaugeArgs {
    pub(super) fn is_named(&self) -> bool {
        self.gauge.is_some()
    }

    pub(super) fn is_companion(&self) -> bool {
        self.gauge.as_ref().is_some_and(|name| name.starts_with("companion:"))
    }

    /// Opens the gauge asked for.
    pub(super) fn open(&self, capacity: CapacityArgs, stored: &Stored) -> Result<Option<Sensor>, Failure> {
        let Some(name) = &self.gauge else { return Ok(None) };
        if let Some(device) = name.strip_prefix("companion:") {
            let companion = open_companion(device).or_input()?;
            return Ok(Some(Sensor { gauge: companion_gauge(companion.clone()), companion: Some(companion) }));
        }
        let root = system::here().path("/");
        let first = name.split(':').next().unwrap_or_default();
        let is_monitor = SENSORS.iter().any(|kind| kind.name == first && kind.role == SensorRole::Monitor);
        let gauge = if is_monitor {
            let Some(mwh) = capacity.milliwatt_hours() else {
                return wrong(format!("--gauge {name}: counting charge needs --battery-wh"));
            };
            let settings = CoulombSettings::new(self.chemistry, mwh, self.cells);
            open_counted_under(&root, name, settings, stored.coulomb).or_input()?
        } else {
            open_gauge_under(&root, name).or_input()?
        };
        Ok(Some(Sensor { gauge, companion: None }))
    }

    /// The battery in words.
    pub(super) fn describe(&self, battery: Option<&Battery>, simulated: bool) -> String {
        let capacity = battery.map(|battery| match battery.capacity_mwh() {
            mwh if mwh >= 1000.0 => format!("{:.2} Wh", mwh / 1000.0),
            mwh => format!("{mwh:.2} mWh"),
        });
        match (&self.gauge, capacity, battery) {
            (Some(gauge), Some(capacity), _) => format!("{capacity}, read by {gauge}"),
            (Some(gauge), None, _) => format!("read by {gauge}"),
            (None, Some(capacity), Some(battery)) if simulated => {
                format!("{capacity}, simulated, {} charged", table::percent(f64::from(battery.soc())))
            }
            _ => "none: on mains".to_owned(),
        }
    }
}

/// The simulated battery: of the capacity given, else as large as suits the number of frames. What an earlier run stored of its
/// charge is less what the board drew since then.
pub(super) fn simulated(
    gauge: &GaugeArgs,
    capacity: CapacityArgs,
    frames: Option<u64>,
    power: &PowerModel,
    (seconds, period): (&[f32], Duration),
    (stored, since): (&Stored, f32),
) -> Result<Battery, Failure> {
    let mwh = match (capacity.milliwatt_hours(), frames) {
        (Some(mwh), _) => mwh,
        (None, Some(frames)) => {
            let frame_seconds = seconds.iter().sum::<f32>().max(period.as_secs_f32());
            let full = power.frame_joules(seconds.len()) + power.idle_watts() * frame_seconds;
            frames as f32 * BATTERY_SHARE * full / JOULES_PER_MWH
        }
        (None, None) => return wrong("--battery simulated needs --battery-wh, as nobody knows how many frames come"),
    };
    let battery = Battery::new(mwh);
    Ok(match (gauge.soc, stored.coulomb) {
        (Some(now), _) => battery.charged_to(now.get()),
        (None, Some(then)) => {
            let mut battery = battery.charged_to(then.soc);
            battery.drain(since);
            battery
        }
        (None, None) => battery,
    })
}

/// The modelled counterpart of a real battery whose capacity was given: what a stuck gauge is noticed by.
pub(super) fn behind_gauge(gauge: &GaugeArgs, capacity: CapacityArgs) -> Option<Battery> {
    capacity.milliwatt_hours().filter(|_| gauge.is_named()).map(Battery::new)
}

//! Sensors by name, as a user writes them: `max17048:/dev/i2c-1`, `ina219:/dev/i2c-1:0x43:0.01`, `power-supply`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Companion;
pub use super::any::{AnyGauge, AnyMonitor, AnySensorError};
use super::any::{any_gauge, any_monitor};
#[cfg(all(feature = "i2c", target_os = "linux"))]
use super::chips;
use super::linux::{PowerSupply, Rail, Rapl};
use super::name::Name;
pub use super::name::{OpenError, SENSORS, SensorKind, SensorRole};
use crate::energy::estimator::{CoulombGauge, CoulombSettings, CoulombState};

/// A companion microcontroller tells something every minute; after three it counts as silent.
const PATIENCE: Duration = Duration::from_secs(180);

/// Opens the line to a companion microcontroller: a serial device, already set to the right speed.
///
/// # Errors
/// [`OpenError::Bus`] when the device cannot be opened.
pub fn open_companion(device: &str) -> Result<Companion, OpenError> {
    let line = File::open(device).map_err(|error| OpenError::Bus { path: device.into(), source: error.into() })?;
    Ok(Companion::listen(line, PATIENCE))
}

/// Opens a power monitor as a fuel gauge that counts the charge, from `state` on if there is one.
///
/// # Errors
/// As [`open_monitor`].
pub fn open_counted(name: &str, settings: CoulombSettings, state: Option<CoulombState>) -> Result<AnyGauge, OpenError> {
    open_counted_under(Path::new("/"), name, settings, state)
}

/// As [`open_counted`], with the kernel's files under `root` instead of the root folder.
///
/// # Errors
/// As [`open_monitor`].
pub fn open_counted_under(
    root: &Path,
    name: &str,
    settings: CoulombSettings,
    state: Option<CoulombState>,
) -> Result<AnyGauge, OpenError> {
    let begun = Instant::now();
    Ok(Box::new(CoulombGauge::new(open_monitor_under(root, name)?, move || begun.elapsed(), settings, state)))
}

/// A companion as one gauge among others.
#[must_use]
pub fn companion_gauge(companion: Companion) -> AnyGauge {
    any_gauge(companion)
}

/// Opens a fuel gauge by its name, such as `power-supply` or `max17048:/dev/i2c-1`; [`SENSORS`] lists the kinds.
///
/// # Errors
/// [`OpenError`] naming what was expected.
pub fn open_gauge(name: &str) -> Result<AnyGauge, OpenError> {
    open_gauge_under(Path::new("/"), name)
}

/// As [`open_gauge`], with the kernel's files under `root` instead of the root folder.
///
/// # Errors
/// As [`open_gauge`].
pub fn open_gauge_under(root: &Path, name: &str) -> Result<AnyGauge, OpenError> {
    let name = Name::parse(name, SensorRole::Gauge)?;
    match name.kind.name {
        "power-supply" => {
            let wanted = Some(name.rest).filter(|rest| !rest.is_empty());
            Ok(any_gauge(PowerSupply::find(&under(root, PowerSupply::ROOT), wanted)?))
        }
        "companion" if name.rest.is_empty() => Err(name.wrong()),
        "companion" => Ok(companion_gauge(open_companion(name.rest)?)),
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        _ => chips::gauge(&name),
        #[cfg(not(all(feature = "i2c", target_os = "linux")))]
        _ => Err(OpenError::NoI2c { name: name.whole.to_owned() }),
    }
}

/// Opens a power monitor by its name, such as `rail:VDD_IN` or `ina219:/dev/i2c-1:0x43:0.01`; [`SENSORS`] lists the kinds.
///
/// # Errors
/// [`OpenError`] naming what was expected.
pub fn open_monitor(name: &str) -> Result<AnyMonitor, OpenError> {
    open_monitor_under(Path::new("/"), name)
}

/// As [`open_monitor`], with the kernel's files under `root` instead of the root folder.
///
/// # Errors
/// As [`open_monitor`].
pub fn open_monitor_under(root: &Path, name: &str) -> Result<AnyMonitor, OpenError> {
    let name = Name::parse(name, SensorRole::Monitor)?;
    match name.kind.name {
        "rail" if name.rest.is_empty() => Err(name.wrong()),
        "rail" => {
            let rail = Rail::find(&under(root, Rail::HWMON), name.rest).or_else(|hwmon| {
                // The error that is told is that of hwmon: iio is the older way.
                Rail::find(&under(root, Rail::IIO), name.rest).map_err(|_| hwmon)
            })?;
            Ok(any_monitor(rail))
        }
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        _ => chips::monitor(&name),
        #[cfg(not(all(feature = "i2c", target_os = "linux")))]
        _ => Err(OpenError::NoI2c { name: name.whole.to_owned() }),
    }
}

/// An absolute path under another root.
fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Opens the energy counter of an x86 processor.
///
/// # Errors
/// [`OpenError::Linux`] if there is none or it may not be read.
pub fn open_rapl() -> Result<Rapl, OpenError> {
    Ok(Rapl::find(Path::new(Rapl::ROOT))?)
}

#[cfg(test)]
mod tests {
    use super::super::linux::tests::tree;
    use super::*;
    use crate::energy::gauge::{FuelGauge as _, PowerMonitor as _};

    fn gauge_error(name: &str) -> String {
        open_gauge(name).map(|_| ()).unwrap_err().to_string()
    }

    fn monitor_error(name: &str) -> String {
        open_monitor(name).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn sensor_names_that_are_wrong_are_told_the_one_list() {
        let unknown = gauge_error("max99999:/dev/i2c-1");
        assert_eq!(unknown.replace("max99999:/dev/i2c-1", "volts"), monitor_error("volts"));
        for kind in SENSORS {
            assert!(unknown.contains(&format!("{}{}", kind.name, kind.parts)), "{}", kind.name);
        }
        assert_eq!(
            gauge_error("ina260:/dev/i2c-1:0x40"),
            "\"ina260:/dev/i2c-1:0x40\" measures voltage and current, expected the state of charge"
        );
        assert_eq!(
            monitor_error("power-supply"),
            "\"power-supply\" measures the state of charge, expected voltage and current"
        );
        assert_eq!(monitor_error("rail"), "\"rail\": expected rail:LABEL");
        assert_eq!(gauge_error("companion:"), "\"companion:\": expected companion:DEVICE");
        assert_eq!(gauge_error("companion:/no/such/line"), "/no/such/line: cannot be opened");
    }

    #[test]
    fn sensors_of_the_kernel_are_opened_under_a_root() {
        let root = tree(&[
            ("sys/class/power_supply/BAT0/type", "Battery"),
            ("sys/class/power_supply/BAT0/capacity", "42"),
            ("sys/class/hwmon/hwmon0/name", "ina219"),
            ("sys/class/hwmon/hwmon0/in1_input", "5000"),
            ("sys/class/hwmon/hwmon0/curr1_input", "500"),
            ("sys/bus/iio/devices/iio:device0/rail_name_0", "POM_5V_IN"),
            ("sys/bus/iio/devices/iio:device0/in_voltage0_input", "5000"),
            ("sys/bus/iio/devices/iio:device0/in_current0_input", "400"),
        ]);
        for name in ["power-supply", "power-supply:BAT0"] {
            assert_eq!(open_gauge_under(root.path(), name).unwrap().read().unwrap().soc, 0.42);
        }
        for (name, watts) in [("rail:ina219", 2.5), ("rail:POM_5V_IN", 2.0)] {
            let mut monitor = open_monitor_under(root.path(), name).unwrap();
            assert_eq!(monitor.read_power().unwrap().watts(), watts);
        }
        let error = open_monitor_under(root.path(), "rail:VDD").map(|_| ()).unwrap_err().to_string();
        assert!(error.ends_with("no rail VDD; there is ina219"), "{error}");
    }
}

//! Power rails that the kernel measures: hwmon and iio devices, by label or by the name of the device.

use std::fs;
use std::path::{Path, PathBuf};

use super::{LinuxError, folders, list, name, number, text};
use crate::energy::gauge::{PowerMonitor, PowerReading};

/// Channels that a device may have.
const CHANNELS: u32 = 16;

/// A power rail that the kernel measures: hwmon (`inN_label`, `inN_input`, `currN_input`) or the older iio files of
/// Jetson boards (`rail_name_N`, `in_voltageN_input`, `in_currentN_input`).
#[derive(Clone, Debug)]
pub struct Rail {
    millivolts: PathBuf,
    current: Current,
}

/// Where the current is found.
#[derive(Clone, Debug)]
enum Current {
    Milliamperes(PathBuf),
    /// The power in microwatts, over the voltage.
    Microwatts(PathBuf),
    /// The voltage over the shunt in millivolts, and the shunt in microohms.
    Shunt(PathBuf, PathBuf),
}

/// One channel of a device.
struct Channel {
    folder: PathBuf,
    number: u32,
    label: Option<String>,
    rail: Rail,
}

impl Rail {
    /// Where the kernel lists hardware monitors.
    pub const HWMON: &'static str = "/sys/class/hwmon";
    /// Where the kernel lists industrial I/O devices.
    pub const IIO: &'static str = "/sys/bus/iio/devices";

    /// The rail with the label `wanted`, such as `VDD_IN`, of any hwmon or iio device under `root`. Devices without labels
    /// are found by their own name, such as `ina219`, and their channels by number, as `ina3221:2`; the first without one.
    /// Of several devices with the same name one is told by where it is, as `ina219@1-0040`.
    ///
    /// # Errors
    /// [`LinuxError::NotFound`] naming the rails there are, or those among which the name does not decide.
    pub fn find(root: &Path, wanted: &str) -> Result<Self, LinuxError> {
        let mut channels = Vec::new();
        for folder in folders(root)? {
            channels.extend((0..CHANNELS).filter_map(|number| Channel::open(&folder, number)));
        }
        if let Some(labelled) = channels.iter().find(|channel| channel.label.as_deref() == Some(wanted)) {
            return Ok(labelled.rail.clone());
        }
        let (device, number) = match wanted.rsplit_once(':') {
            Some((device, number)) => (device, number.parse().ok()),
            None => (wanted, None),
        };
        let asked = |channel: &&Channel| {
            let is_device = channel.device() == device || channel.place().is_some_and(|place| place == device);
            is_device && (number.is_none() || number == Some(channel.number))
        };
        let found: Vec<&Channel> = channels.iter().filter(asked).collect();
        let what = |what: &str| format!("{what} {wanted}");
        let failed = |what, of: &[&Channel]| {
            let mut names: Vec<String> = of.iter().map(|channel| channel.name()).collect();
            names.dedup();
            LinuxError::NotFound { folder: root.to_owned(), what, found: list(&names) }
        };
        match found.as_slice() {
            _ if number.is_none() && wanted.contains(':') => {
                Err(failed(what("rail"), &channels.iter().collect::<Vec<_>>()))
            }
            [] => Err(failed(what("rail"), &channels.iter().collect::<Vec<_>>())),
            [first, rest @ ..] if rest.iter().all(|other| other.folder == first.folder) => Ok(first.rail.clone()),
            several => {
                let places: Vec<String> = several.iter().filter_map(|channel| channel.place()).collect();
                let (folder, what) = (root.to_owned(), what("only rail"));
                Err(LinuxError::NotFound { folder, what, found: list(&places) })
            }
        }
    }
}

impl Channel {
    fn open(folder: &Path, number: u32) -> Option<Self> {
        let file = |name: String| Some(folder.join(name)).filter(|path| path.exists());
        let label = |name: String| text(&folder.join(name)).ok();
        let (millivolts, label) = match file(format!("in_voltage{number}_input")) {
            Some(iio) => (iio, label(format!("rail_name_{number}"))),
            None => (file(format!("in{number}_input"))?, label(format!("in{number}_label"))),
        };
        let shunt = || Some(Current::Shunt(file("in0_input".to_owned())?, file("shunt_resistor".to_owned())?));
        let current = file(format!("curr{number}_input"))
            .or_else(|| file(format!("in_current{number}_input")))
            .map(Current::Milliamperes)
            .or_else(|| file(format!("power{number}_input")).map(Current::Microwatts))
            .or_else(|| if number == 1 { shunt() } else { None })?;
        Some(Channel { folder: folder.to_owned(), number, label, rail: Rail { millivolts, current } })
    }

    /// The name of the device.
    fn device(&self) -> String {
        text(&self.folder.join("name")).unwrap_or_default()
    }

    /// The name of the device and where it is on its bus.
    fn place(&self) -> Option<String> {
        let device = fs::canonicalize(self.folder.join("device")).ok()?;
        Some(format!("{}@{}", self.device(), name(&device)))
    }

    /// What to call this channel by.
    fn name(&self) -> String {
        match &self.label {
            Some(label) => label.clone(),
            None if self.number == 1 => self.device(),
            None => format!("{}:{}", self.device(), self.number),
        }
    }
}

impl PowerMonitor for Rail {
    type Error = LinuxError;

    fn read_power(&mut self) -> Result<PowerReading, LinuxError> {
        let volts = number(&self.millivolts)? / 1e3;
        let amperes = match &self.current {
            Current::Milliamperes(path) => number(path)? / 1e3,
            Current::Microwatts(path) if volts > 0.0 => number(path)? / 1e6 / volts,
            Current::Microwatts(_) => 0.0,
            Current::Shunt(millivolts, microohms) => {
                let ohms = number(microohms)? / 1e6;
                if ohms <= 0.0 {
                    let (path, actual) = (microohms.clone(), ohms.to_string());
                    return Err(LinuxError::OutOfRange { path, expected: "a resistance above 0", actual });
                }
                number(millivolts)? / 1e3 / ohms
            }
        };
        Ok(PowerReading::new(volts as f32, amperes as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use crate::energy::gauge::{Fault, SensorError as _};

    #[test]
    fn rail_is_found_by_label_in_hwmon_and_iio() {
        let root = tree(&[
            ("hwmon0/name", "cpu_thermal"),
            ("hwmon3/in1_label", "VDD_IN"),
            ("hwmon3/in1_input", "5040"),
            ("hwmon3/curr1_input", "-200"),
            ("hwmon3/in2_label", "VDD_CPU_GPU_CV"),
            ("hwmon3/in2_input", "5040"),
            ("hwmon3/curr2_input", "100"),
            ("iio:device0/rail_name_0", "POM_5V_IN"),
            ("iio:device0/in_voltage0_input", "4976"),
            ("iio:device0/in_current0_input", "412"),
        ]);
        let read = |label: &str| Rail::find(root.path(), label).unwrap().read_power().unwrap();
        assert_eq!(read("VDD_IN"), PowerReading::new(5.04, -0.2));
        assert_eq!(read("POM_5V_IN"), PowerReading::new(4.976, 0.412));
        let error = Rail::find(root.path(), "VDD_SOC").unwrap_err().to_string();
        assert!(error.ends_with("no rail VDD_SOC; there is VDD_IN, VDD_CPU_GPU_CV, POM_5V_IN"), "{error}");
    }

    #[test]
    fn rail_without_label_is_found_by_the_name_of_its_device() {
        let root = tree(&[
            ("hwmon0/name", "cpu_thermal"),
            ("hwmon2/name", "ina219"),
            ("hwmon2/in0_input", "-4"),
            ("hwmon2/in1_input", "4228"),
            ("hwmon2/curr1_input", "-40"),
            ("hwmon3/name", "ina3221"),
            ("hwmon3/in1_input", "5000"),
            ("hwmon3/curr1_input", "100"),
            ("hwmon3/in2_input", "3300"),
            ("hwmon3/curr2_input", "200"),
        ]);
        let read = |name: &str| Rail::find(root.path(), name).unwrap().read_power().unwrap();
        assert_eq!(read("ina219"), PowerReading::new(4.228, -0.04));
        assert_eq!(read("ina219:1"), PowerReading::new(4.228, -0.04));
        assert_eq!(read("ina3221"), PowerReading::new(5.0, 0.1));
        assert_eq!(read("ina3221:2"), PowerReading::new(3.3, 0.2));
        for bad in ["ina226", "ina3221:3", "ina3221:", "cpu_thermal", "ina219:x"] {
            let error = Rail::find(root.path(), bad).unwrap_err().to_string();
            assert!(error.ends_with(&format!("no rail {bad}; there is ina219, ina3221, ina3221:2")), "{error}");
        }
    }

    #[test]
    fn rail_current_is_found_from_power_or_shunt_where_the_driver_has_none() {
        let root = tree(&[
            ("hwmon0/name", "ina260"),
            ("hwmon0/in1_input", "5000"),
            ("hwmon0/power1_input", "2500000"),
            ("hwmon1/name", "ina226"),
            ("hwmon1/in0_input", "-4"),
            ("hwmon1/in1_input", "4000"),
            ("hwmon1/shunt_resistor", "100000"),
            ("hwmon2/name", "broken"),
            ("hwmon2/in0_input", "4"),
            ("hwmon2/in1_input", "4000"),
            ("hwmon2/shunt_resistor", "0"),
        ]);
        let rail = |name: &str| Rail::find(root.path(), name).unwrap();
        assert_eq!(rail("ina260").read_power().unwrap(), PowerReading::new(5.0, 0.5));
        assert_eq!(rail("ina226").read_power().unwrap(), PowerReading::new(4.0, -0.04));
        assert_eq!(rail("broken").read_power().unwrap_err().fault(), Fault::OutOfRange);
    }

    #[cfg(unix)]
    #[test]
    fn rail_of_several_devices_of_one_name_is_told_by_its_place() {
        let root = tree(&[
            ("hwmon1/name", "ina219"),
            ("hwmon1/in1_input", "5000"),
            ("hwmon1/curr1_input", "1"),
            ("hwmon2/name", "ina219"),
            ("hwmon2/in1_input", "5000"),
            ("hwmon2/curr1_input", "2"),
            ("i2c/1-0040/x", ""),
            ("i2c/1-0041/x", ""),
        ]);
        for (hwmon, place) in [("hwmon1", "1-0040"), ("hwmon2", "1-0041")] {
            let device = root.path().join("i2c").join(place);
            std::os::unix::fs::symlink(device, root.path().join(hwmon).join("device")).unwrap();
        }
        let error = Rail::find(root.path(), "ina219").unwrap_err().to_string();
        assert!(error.ends_with("no only rail ina219; there is ina219@1-0040, ina219@1-0041"), "{error}");
        let mut rail = Rail::find(root.path(), "ina219@1-0041").unwrap();
        assert_eq!(rail.read_power().unwrap().amperes, 0.002);
    }
}

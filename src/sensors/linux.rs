//! The kernel's files on Linux: where a driver owns the chip, its files are the way to it.
//!
//! Every source is found by name or label, never by number: numbers change from boot to boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::energy::gauge::{Fault, FuelGauge, GaugeReading, PowerMonitor, PowerReading, SensorError, Supply};

/// Why a file of the kernel could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinuxError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: expected {expected}, got {actual:?}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        actual: String,
    },
    /// There is no such device.
    #[error("{folder}: no {what}; there is {found}")]
    NotFound {
        /// The folder searched.
        folder: PathBuf,
        /// What was looked for.
        what: String,
        /// What is there instead.
        found: String,
    },
}

impl SensorError for LinuxError {
    fn fault(&self) -> Fault {
        match self {
            LinuxError::Content { expected, .. } if expected.contains("range") => Fault::OutOfRange,
            _ => Fault::File,
        }
    }
}

fn text(path: &Path) -> Result<String, LinuxError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(LinuxError::Read { path: path.to_owned(), source }),
    }
}

fn number(path: &Path) -> Result<f64, LinuxError> {
    let actual = text(path)?;
    match actual.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(LinuxError::Content { path: path.to_owned(), expected: "a number", actual }),
    }
}

/// Folders in a folder, sorted so that a search is repeatable.
fn folders(root: &Path) -> Result<Vec<PathBuf>, LinuxError> {
    let read = |source| LinuxError::Read { path: root.to_owned(), source };
    let entries: Result<Vec<PathBuf>, _> = fs::read_dir(root).map_err(read)?.map(|e| e.map(|e| e.path())).collect();
    let mut paths = entries.map_err(read)?;
    paths.sort();
    Ok(paths)
}

fn found(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// A battery under `/sys/class/power_supply`.
#[derive(Clone, Debug)]
pub struct PowerSupply {
    folder: PathBuf,
}

impl PowerSupply {
    /// Where the kernel lists power supplies.
    pub const ROOT: &'static str = "/sys/class/power_supply";

    /// The battery called `name`, or the first of type `Battery` without a name.
    ///
    /// # Errors
    /// [`LinuxError::NotFound`] naming what there is instead.
    pub fn find(root: &Path, name: Option<&str>) -> Result<Self, LinuxError> {
        let mut names = Vec::new();
        for folder in folders(root)? {
            let own = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let battery = text(&folder.join("type")).is_ok_and(|kind| kind == "Battery");
            if battery && name.is_none_or(|name| name == own) {
                return Ok(PowerSupply { folder });
            }
            names.push(own);
        }
        let what = name.map_or("battery".to_owned(), |name| format!("battery {name}"));
        Err(LinuxError::NotFound { folder: root.to_owned(), what, found: found(&names) })
    }

    /// The ratio of two files, where the driver has both: finer than whole percents.
    fn ratio(&self, now: &str, full: &str) -> Option<f64> {
        let (now, full) = (number(&self.folder.join(now)).ok()?, number(&self.folder.join(full)).ok()?);
        (full > 0.0).then_some(now / full)
    }
}

impl FuelGauge for PowerSupply {
    type Error = LinuxError;

    fn read(&mut self) -> Result<GaugeReading, LinuxError> {
        let fine = self.ratio("energy_now", "energy_full").or_else(|| self.ratio("charge_now", "charge_full"));
        let soc = match fine {
            Some(soc) => soc,
            None => number(&self.folder.join("capacity"))? / 100.0,
        };
        if !(0.0..=1.1).contains(&soc) {
            let (path, actual) = (self.folder.join("capacity"), soc.to_string());
            return Err(LinuxError::Content { path, expected: "a charge in range 0 to 1", actual });
        }
        let mut reading = GaugeReading::new((soc as f32).min(1.0));
        if let Ok(microvolts) = number(&self.folder.join("voltage_now")) {
            reading = reading.with_volts((microvolts / 1e6) as f32);
        }
        if let Ok(status) = text(&self.folder.join("status"))
            && status != "Unknown"
        {
            reading = reading.with_supply(if status == "Charging" { Supply::Charging } else { Supply::Battery });
        }
        if let Ok(seconds) = number(&self.folder.join("time_to_empty_now"))
            && let Ok(time) = Duration::try_from_secs_f64(seconds)
        {
            reading = reading.with_time_to_empty(time);
        }
        Ok(reading)
    }
}

/// A power rail that the kernel measures: hwmon (`inN_label`, `inN_input`, `currN_input`) or the older iio files of
/// Jetson boards (`rail_name_N`, `in_voltageN_input`, `in_currentN_input`).
#[derive(Clone, Debug)]
pub struct Rail {
    millivolts: PathBuf,
    milliamperes: PathBuf,
}

impl Rail {
    /// Where the kernel lists hardware monitors.
    pub const HWMON: &'static str = "/sys/class/hwmon";
    /// Where the kernel lists industrial I/O devices.
    pub const IIO: &'static str = "/sys/bus/iio/devices";

    /// The rail with the label `label`, such as `VDD_IN`, of any hwmon or iio device under `root`.
    ///
    /// # Errors
    /// [`LinuxError::NotFound`] naming the labels there are.
    pub fn find(root: &Path, label: &str) -> Result<Self, LinuxError> {
        let mut labels = Vec::new();
        for folder in folders(root)? {
            for number in 0..8 {
                let hwmon = (format!("in{number}_label"), format!("in{number}_input"), format!("curr{number}_input"));
                let iio = (
                    format!("rail_name_{number}"),
                    format!("in_voltage{number}_input"),
                    format!("in_current{number}_input"),
                );
                for (name, volts, amperes) in [hwmon, iio] {
                    let Ok(own) = text(&folder.join(name)) else { continue };
                    if own == label {
                        return Ok(Rail { millivolts: folder.join(volts), milliamperes: folder.join(amperes) });
                    }
                    labels.push(own);
                }
            }
        }
        Err(LinuxError::NotFound { folder: root.to_owned(), what: format!("rail {label}"), found: found(&labels) })
    }
}

impl PowerMonitor for Rail {
    type Error = LinuxError;

    fn read_power(&mut self) -> Result<PowerReading, LinuxError> {
        let volts = (number(&self.millivolts)? / 1000.0) as f32;
        Ok(PowerReading::new(volts, (number(&self.milliamperes)? / 1000.0) as f32))
    }
}

/// An energy counter of x86 processors (Intel's running average power limit, also on AMD): joules since some moment.
#[derive(Clone, Debug)]
pub struct Rapl {
    counter: PathBuf,
    wraps_at: f64,
    last: f64,
    joules: f64,
}

impl Rapl {
    /// Where the kernel lists the counters.
    pub const ROOT: &'static str = "/sys/class/powercap";

    /// The counter of the first processor package. Usually only root may read it.
    ///
    /// # Errors
    /// [`LinuxError`] where there is none or it cannot be read.
    pub fn find(root: &Path) -> Result<Self, LinuxError> {
        let mut names = Vec::new();
        for folder in folders(root)? {
            let Ok(name) = text(&folder.join("name")) else { continue };
            if name.starts_with("package") {
                let counter = folder.join("energy_uj");
                let last = number(&counter)?;
                let wraps_at = number(&folder.join("max_energy_range_uj"))?;
                return Ok(Rapl { counter, wraps_at, last, joules: 0.0 });
            }
            names.push(name);
        }
        let what = "energy counter of a processor package".to_owned();
        Err(LinuxError::NotFound { folder: root.to_owned(), what, found: found(&names) })
    }

    /// Joules since this counter was found. To be asked at least once per wrap of the counter, some minutes under load.
    ///
    /// # Errors
    /// [`LinuxError`] when the counter cannot be read.
    pub fn joules(&mut self) -> Result<f64, LinuxError> {
        let now = number(&self.counter)?;
        let step = if now >= self.last { now - self.last } else { now + self.wraps_at - self.last };
        self.joules += step / 1e6;
        self.last = now;
        Ok(self.joules)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{content}\n")).unwrap();
        }
        root
    }

    #[test]
    fn power_supply_is_found_by_type_and_by_name() {
        let root = tree(&[
            ("AC/type", "Mains"),
            ("BAT0/type", "Battery"),
            ("BAT0/capacity", "73"),
            ("BAT0/voltage_now", "3870000"),
            ("BAT0/status", "Discharging"),
            ("BAT0/time_to_empty_now", "3600"),
            ("ups/type", "Battery"),
            ("ups/charge_now", "1234000"),
            ("ups/charge_full", "2000000"),
            ("ups/status", "Charging"),
        ]);
        let reading = PowerSupply::find(root.path(), None).unwrap().read().unwrap();
        assert_eq!((reading.soc, reading.volts, reading.supply), (0.73, Some(3.87), Some(Supply::Battery)));
        assert_eq!(reading.time_to_empty, Some(Duration::from_secs(3600)));
        let reading = PowerSupply::find(root.path(), Some("ups")).unwrap().read().unwrap();
        assert_eq!((reading.soc, reading.volts, reading.supply), (0.617, None, Some(Supply::Charging)));
        let error = PowerSupply::find(root.path(), Some("BAT1")).unwrap_err().to_string();
        assert!(error.contains("BAT1") && error.contains("AC, BAT0, ups"), "{error}");
    }

    #[test]
    fn rails_are_found_by_label_in_hwmon_and_iio() {
        let root = tree(&[
            ("hwmon0/name", "cpu_thermal"),
            ("hwmon3/in1_label", "VDD_IN"),
            ("hwmon3/in1_input", "5040"),
            ("hwmon3/curr1_input", "-200"),
            ("hwmon3/in2_label", "VDD_CPU_GPU_CV"),
            ("iio:device0/rail_name_0", "POM_5V_IN"),
            ("iio:device0/in_voltage0_input", "4976"),
            ("iio:device0/in_current0_input", "412"),
        ]);
        let read = |label: &str| Rail::find(root.path(), label).unwrap().read_power().unwrap();
        assert_eq!(read("VDD_IN"), PowerReading::new(5.04, -0.2));
        assert_eq!(read("POM_5V_IN"), PowerReading::new(4.976, 0.412));
        let error = Rail::find(root.path(), "VDD_SOC").unwrap_err().to_string();
        assert!(error.contains("VDD_SOC") && error.contains("VDD_CPU_GPU_CV"), "{error}");
    }

    #[test]
    fn bad_content_is_named_and_classified() {
        let root = tree(&[("BAT0/type", "Battery"), ("BAT0/capacity", "many")]);
        let mut battery = PowerSupply::find(root.path(), None).unwrap();
        let error = battery.read().unwrap_err();
        assert!(error.to_string().contains("capacity") && error.fault() == Fault::File, "{error}");
        fs::write(root.path().join("BAT0/capacity"), "255").unwrap();
        assert_eq!(battery.read().unwrap_err().fault(), Fault::OutOfRange);
        fs::remove_file(root.path().join("BAT0/capacity")).unwrap();
        assert_eq!(battery.read().unwrap_err().fault(), Fault::File);
        assert!(PowerSupply::find(&root.path().join("none"), None).is_err());
    }

    #[test]
    fn the_energy_counter_wraps() {
        let root = tree(&[
            ("intel-rapl:0/name", "package-0"),
            ("intel-rapl:0/energy_uj", "9000000"),
            ("intel-rapl:0/max_energy_range_uj", "10000000"),
            ("intel-rapl:0:0/name", "core"),
        ]);
        let mut rapl = Rapl::find(root.path()).unwrap();
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "2000000").unwrap();
        assert_eq!(rapl.joules().unwrap(), 3.0);
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "2500000").unwrap();
        assert_eq!(rapl.joules().unwrap(), 3.5);
    }
}

//! Batteries under `/sys/class/power_supply`: which of them carry the board, what is left of them, and mains.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{LinuxError, folders, list, name, number, text};
use crate::energy::gauge::{FuelGauge, GaugeReading, Supply};

/// How far the ratio of two counters may be from the percentage that the driver itself tells. Drivers that do not know a
/// counter report 0 or nonsense there.
const AGREEMENT: f64 = 0.1;
/// A little more than full is a battery that holds more than the driver thinks; far more is no reading.
const MOST: f64 = 1.1;
/// Temperatures that a battery can have.
const CELSIUS: std::ops::RangeInclusive<f64> = -40.0..=85.0;

/// The battery of the board: one power supply of the kernel's, or several packs that are added up.
#[derive(Clone, Debug)]
pub struct PowerSupply {
    root: PathBuf,
    packs: Vec<PathBuf>,
}

/// What one pack says.
#[derive(Debug)]
struct Pack {
    soc: f64,
    /// What it holds when full, in micro watt-hours, where the driver counts energy or charge.
    full: Option<f64>,
    volts: Option<f64>,
    status: Option<String>,
    seconds_to_empty: Option<f64>,
    /// Temperature of the battery, where the driver tells it.
    celsius: Option<f64>,
}

impl PowerSupply {
    /// Where the kernel lists power supplies.
    pub const ROOT: &'static str = "/sys/class/power_supply";

    /// The battery called `name`. Without a name all batteries that carry the board together: those of a device beside
    /// it, such as a wireless mouse, and those that are not there are left out.
    ///
    /// # Errors
    /// [`LinuxError::NotFound`] naming what there is instead.
    pub fn find(root: &Path, wanted: Option<&str>) -> Result<Self, LinuxError> {
        let mut packs = Vec::new();
        let mut names = Vec::new();
        for folder in folders(root)? {
            let own = name(&folder);
            let battery = text(&folder.join("type")).is_ok_and(|kind| kind == "Battery" || kind == "UPS");
            match wanted {
                Some(wanted) if battery && wanted == own => {
                    return Ok(PowerSupply { root: root.to_owned(), packs: vec![folder] });
                }
                None if battery && is_of_device(&folder) => names.push(format!("{own} (of a device beside the board)")),
                None if battery && !is_present(&folder) => names.push(format!("{own} (not present)")),
                None if battery => packs.push(folder),
                _ => names.push(own),
            }
        }
        if packs.is_empty() {
            let what = wanted.map_or("battery".to_owned(), |name| format!("battery {name}"));
            return Err(LinuxError::NotFound { folder: root.to_owned(), what, found: list(&names) });
        }
        Ok(PowerSupply { root: root.to_owned(), packs })
    }

    /// Whether a supply that is no battery is plugged in, by type: mains, and anything else such as USB. None where the
    /// kernel knows of no such supply.
    fn online(&self) -> Option<Online> {
        let mut found = None;
        for folder in folders(&self.root).unwrap_or_default() {
            let kind = text(&folder.join("type")).unwrap_or_default();
            let Ok(online) = number(&folder.join("online")) else { continue };
            if kind == "Battery" || kind == "UPS" || is_of_device(&folder) {
                continue;
            }
            let online = match (online > 0.0, kind.as_str()) {
                (false, _) => Online::No,
                (true, "Mains") => Online::Mains,
                (true, _) => Online::Other,
            };
            found = found.max(Some(online));
        }
        found
    }

    /// Where the board's power comes from, by the packs' states and what is plugged in.
    fn supply(&self, packs: &[Pack]) -> Option<Supply> {
        let any = |state: &str| packs.iter().any(|pack| pack.status.as_deref() == Some(state));
        let held = |pack: &Pack| matches!(pack.status.as_deref(), Some("Full" | "Not charging"));
        match self.online() {
            Some(Online::Mains) => Some(Supply::External),
            // A port may give less than the board takes: then the battery is discharged although it is plugged in.
            _ if any("Discharging") => Some(Supply::Battery),
            Some(Online::Other) => Some(Supply::External),
            _ if any("Charging") => Some(Supply::Charging),
            // A driver that still says full with nothing plugged in does not know.
            None if packs.iter().all(held) => Some(Supply::External),
            _ => None,
        }
    }
}

/// How much of a supply is plugged in, the surest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Online {
    No,
    Other,
    Mains,
}

/// Whether a supply belongs to a device beside the board, as a mouse or a keyboard.
fn is_of_device(folder: &Path) -> bool {
    text(&folder.join("scope")).is_ok_and(|scope| scope == "Device")
}

/// Whether a pack is in its place; drivers without the file have theirs built in.
fn is_present(folder: &Path) -> bool {
    number(&folder.join("present")).map_or(true, |present| present > 0.0)
}

impl Pack {
    fn read(folder: &Path) -> Result<Self, LinuxError> {
        let file = |name: &str| number(&folder.join(name)).ok();
        let volts = file("voltage_now").and_then(volts);
        let capacity = number(&folder.join("capacity"));
        let percent = capacity.as_ref().ok().map(|percent| percent / 100.0).filter(|soc| (0.0..=MOST).contains(soc));
        let counted = |now: &str, full: &str| {
            let (now, full) = (file(now)?, file(full)?);
            let soc = now / full;
            let agrees = percent.is_none_or(|percent| (soc - percent).abs() <= AGREEMENT);
            (full > 0.0 && (0.0..=MOST).contains(&soc) && agrees).then_some((soc, full))
        };
        let energy = counted("energy_now", "energy_full");
        // Microampere-hours by volts are micro watt-hours.
        let charge = || counted("charge_now", "charge_full").map(|(soc, full)| (soc, volts.map(|volts| full * volts)));
        let (soc, full) = match energy.map(|(soc, full)| (soc, Some(full))).or_else(charge) {
            Some(counted) => counted,
            None => match percent {
                Some(percent) => (percent, None),
                None => {
                    let (actual, path) = (capacity?.to_string(), folder.join("capacity"));
                    return Err(LinuxError::OutOfRange { path, expected: "a percentage from 0 to 100", actual });
                }
            },
        };
        let status = text(&folder.join("status")).ok();
        let celsius = file("temp").map(|tenths| tenths / 10.0).filter(|celsius| CELSIUS.contains(celsius));
        Ok(Pack { soc: soc.min(1.0), full, volts, status, seconds_to_empty: file("time_to_empty_now"), celsius })
    }
}

/// Volts from the file's microvolts. Some drivers write millivolts, which as microvolts would be no battery.
fn volts(raw: f64) -> Option<f64> {
    match raw {
        _ if raw >= 500_000.0 => Some(raw / 1e6),
        _ if raw >= 500.0 => Some(raw / 1e3),
        _ => None,
    }
}

impl FuelGauge for PowerSupply {
    type Error = LinuxError;

    fn read(&mut self) -> Result<GaugeReading, LinuxError> {
        let present = self.packs.iter().filter(|folder| is_present(folder));
        let packs: Vec<Pack> = present.map(|folder| Pack::read(folder)).collect::<Result<_, _>>()?;
        if packs.is_empty() {
            let names: Vec<String> =
                self.packs.iter().map(|folder| format!("{} (not present)", name(folder))).collect();
            let (folder, what) = (self.root.clone(), "battery".to_owned());
            return Err(LinuxError::NotFound { folder, what, found: list(&names) });
        }
        // By what each pack holds, where that is known of all of them; else each counts the same.
        let full: Option<Vec<f64>> = packs.iter().map(|pack| pack.full).collect();
        let weights = full.unwrap_or_else(|| vec![1.0; packs.len()]);
        let held: f64 = packs.iter().zip(&weights).map(|(pack, weight)| pack.soc * weight).sum();
        let mut reading = GaugeReading::new((held / weights.iter().sum::<f64>()) as f32);
        // Packs may be used one after the other: the highest voltage is that of the one in use.
        if let Some(volts) = packs.iter().filter_map(|pack| pack.volts).reduce(f64::max) {
            reading = reading.with_volts(volts as f32);
        }
        let supply = self.supply(&packs);
        if let Some(supply) = supply {
            reading = reading.with_supply(supply);
        }
        // The coldest pack has lost most of its capacity.
        if let Some(celsius) = packs.iter().filter_map(|pack| pack.celsius).reduce(f64::min) {
            reading = reading.with_celsius(celsius as f32);
        }
        let seconds = packs.iter().filter_map(|pack| pack.seconds_to_empty).reduce(|sum, seconds| sum + seconds);
        if supply != Some(Supply::External)
            && let Some(Ok(time)) = seconds.map(Duration::try_from_secs_f64)
        {
            reading = reading.with_time_to_empty(time);
        }
        Ok(reading)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::tree;
    use super::*;
    use crate::energy::gauge::{Fault, SensorError as _};

    fn read(files: &[(&str, &str)]) -> Result<GaugeReading, LinuxError> {
        let root = tree(files);
        PowerSupply::find(root.path(), None)?.read()
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
            ("BAT0/temp", "-53"),
            ("ups/temp", "99999"),
            ("ups/type", "Battery"),
            ("ups/charge_now", "1234000"),
            ("ups/charge_full", "2000000"),
            ("ups/status", "Charging"),
        ]);
        let reading = PowerSupply::find(root.path(), Some("BAT0")).unwrap().read().unwrap();
        assert_eq!((reading.soc, reading.volts, reading.supply), (0.73, Some(3.87), Some(Supply::Battery)));
        assert_eq!((reading.time_to_empty, reading.celsius), (Some(Duration::from_secs(3600)), Some(-5.3)));
        let reading = PowerSupply::find(root.path(), Some("ups")).unwrap().read().unwrap();
        assert_eq!((reading.soc, reading.volts, reading.supply), (0.617, None, Some(Supply::Charging)));
        assert_eq!(reading.celsius, None);
        let error = PowerSupply::find(root.path(), Some("BAT1")).unwrap_err().to_string();
        assert!(error.ends_with("no battery BAT1; there is AC, BAT0, ups"), "{error}");
    }

    #[test]
    fn power_supply_leaves_out_batteries_of_devices_and_packs_that_are_not_there() {
        let mouse = [
            ("hid-mouse-battery/type", "Battery"),
            ("hid-mouse-battery/scope", "Device"),
            ("hid-mouse-battery/capacity", "60"),
            ("hid-mouse-battery/online", "1"),
            ("hid-mouse-battery/status", "Discharging"),
        ];
        let ups = [
            ("ip5xxx-battery/type", "Battery"),
            ("ip5xxx-battery/scope", "System"),
            ("ip5xxx-battery/capacity", "18"),
            ("ip5xxx-battery/status", "Discharging"),
        ];
        let reading = read(&[mouse.as_slice(), &ups].concat()).unwrap();
        assert_eq!((reading.soc, reading.supply), (0.18, Some(Supply::Battery)));
        let only = read(&mouse).unwrap_err().to_string();
        assert!(only.ends_with("no battery; there is hid-mouse-battery (of a device beside the board)"), "{only}");

        let removed = [
            ("BAT0/type", "Battery"),
            ("BAT0/present", "0"),
            ("BAT1/type", "Battery"),
            ("BAT1/present", "1"),
            ("BAT1/capacity", "55"),
        ];
        assert_eq!(read(&removed).unwrap().soc, 0.55);
        let none = read(&removed[..2]).unwrap_err().to_string();
        assert!(none.ends_with("no battery; there is BAT0 (not present)"), "{none}");
        // One that is taken out later is missed then, and a port alone is no battery.
        let root = tree(&removed);
        let mut gauge = PowerSupply::find(root.path(), None).unwrap();
        fs::write(root.path().join("BAT1/present"), "0").unwrap();
        assert_eq!(gauge.read().unwrap_err().fault(), Fault::File);
        assert!(read(&[("usb/type", "USB"), ("usb/online", "1")]).is_err());
    }

    #[test]
    fn power_supply_adds_up_packs_by_what_they_hold() {
        let packs = [
            ("BAT0/type", "Battery"),
            ("BAT0/energy_now", "23500000"),
            ("BAT0/energy_full", "25000000"),
            ("BAT0/capacity", "94"),
            ("BAT0/status", "Not charging"),
            ("BAT0/voltage_now", "12100000"),
            ("BAT1/type", "Battery"),
            ("BAT1/energy_now", "4000000"),
            ("BAT1/energy_full", "71000000"),
            ("BAT1/capacity", "6"),
            ("BAT1/status", "Discharging"),
            ("BAT1/voltage_now", "11000000"),
        ];
        let reading = read(&packs).unwrap();
        assert!((reading.soc - 27.5 / 96.0).abs() < 1e-6, "{}", reading.soc);
        assert_eq!((reading.supply, reading.volts), (Some(Supply::Battery), Some(12.1)));
        // Charge is weighed by voltage, and packs of unknown size count the same.
        let charges: Vec<_> = packs.iter().map(|(path, text)| (path.replace("energy", "charge"), *text)).collect();
        let charges: Vec<_> = charges.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let expected = (0.94 * 25.0 * 12.1 + 4.0 * 11.0) / (25.0 * 12.1 + 71.0 * 11.0);
        assert!((read(&charges).unwrap().soc - expected as f32).abs() < 1e-6);
        let percents: Vec<_> = packs.into_iter().filter(|(path, _)| !path.contains("energy")).collect();
        assert!((read(&percents).unwrap().soc - 0.5).abs() < 1e-6);
    }

    #[test]
    fn power_supply_falls_back_to_the_percentage_where_counters_are_nonsense() {
        let battery = |now: &'static str, full: &'static str, percent: &'static str| {
            [("B/type", "Battery"), ("B/charge_now", now), ("B/charge_full", full), ("B/capacity", percent)]
        };
        for (now, full, percent, expected) in [
            ("4600000", "4000000", "100", 1.0),
            ("0", "4000000", "63", 0.63),
            ("3000000", "0", "75", 0.75),
            ("-5", "4000000", "40", 0.4),
            ("2040000", "4000000", "51", 0.51),
            ("4000000", "4000000", "104", 1.0),
        ] {
            assert_eq!(read(&battery(now, full, percent)).unwrap().soc, expected, "{now} of {full}, {percent} %");
        }
        // Finer than whole percents where the two agree, and taken alone where there is no percentage.
        assert_eq!(read(&battery("2030000", "4000000", "51")).unwrap().soc, 0.5075);
        assert_eq!(read(&battery("2030000", "4000000", "51")[..3]).unwrap().soc, 0.5075);
    }

    #[test]
    fn power_supply_tells_external_power() {
        let with = |status: &'static str, others: &[(&'static str, &'static str)]| {
            let battery = [("B/type", "Battery"), ("B/capacity", "80"), ("B/status", status)];
            read(&[&battery, others].concat()).unwrap().supply
        };
        let mains = |online: &'static str| [("AC/type", "Mains"), ("AC/online", online)];
        let usb = [("usb/type", "USB"), ("usb/online", "1")];
        assert_eq!(with("Full", &[]), Some(Supply::External));
        assert_eq!(with("Not charging", &[]), Some(Supply::External));
        assert_eq!(with("Not charging", &mains("1")), Some(Supply::External));
        assert_eq!(with("Charging", &mains("1")), Some(Supply::External));
        assert_eq!(with("Discharging", &mains("1")), Some(Supply::External));
        assert_eq!(with("Unknown", &usb), Some(Supply::External));
        // A port that gives less than the board takes, a charger that is not told of, and a driver that does not know.
        assert_eq!(with("Discharging", &usb), Some(Supply::Battery));
        assert_eq!(with("Discharging", &mains("0")), Some(Supply::Battery));
        assert_eq!(with("Charging", &[]), Some(Supply::Charging));
        assert_eq!(with("Full", &mains("0")), None);
        assert_eq!(with("Unknown", &[]), None);
    }

    #[test]
    fn power_supply_reads_volts_also_where_the_driver_writes_millivolts() {
        let with = |raw: &'static str| {
            read(&[("B/type", "Battery"), ("B/capacity", "50"), ("B/voltage_now", raw)]).unwrap().volts
        };
        assert_eq!([with("3800000"), with("3800"), with("0"), with("-1")], [Some(3.8), Some(3.8), None, None]);
    }

    #[test]
    fn power_supply_names_and_classifies_bad_content() {
        let root = tree(&[("BAT0/type", "Battery"), ("BAT0/capacity", "many")]);
        let mut battery = PowerSupply::find(root.path(), None).unwrap();
        let error = battery.read().unwrap_err();
        assert!(error.to_string().ends_with("BAT0/capacity: expected a number, got \"many\""), "{error}");
        assert_eq!(error.fault(), Fault::File);
        for impossible in ["255", "-19"] {
            fs::write(root.path().join("BAT0/capacity"), impossible).unwrap();
            assert_eq!(battery.read().unwrap_err().fault(), Fault::OutOfRange);
        }
        fs::remove_file(root.path().join("BAT0/capacity")).unwrap();
        assert_eq!(battery.read().unwrap_err().fault(), Fault::File);
        assert!(PowerSupply::find(&root.path().join("none"), None).is_err());
    }
}

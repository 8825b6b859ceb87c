//! The clock of the processor, held at a limit for a measurement and put back.

use std::io;
use std::path::PathBuf;

use crate::System;

/// Where the kernel has a folder for each group of cores that share a clock.
const POLICIES: &str = "/sys/devices/system/cpu/cpufreq";

/// The limits of the processor's clock, put back when this is dropped.
#[derive(Debug)]
pub struct Clocks {
    /// Files of the limits, with what stood in them.
    limits: Vec<(PathBuf, String)>,
    megahertz: Vec<f64>,
}

impl Clocks {
    /// The clocks of a system whose limit can be set; `None` where there is one clock only, or this program may not change it.
    #[must_use]
    pub fn of(system: &System) -> Option<Self> {
        let (mut limits, mut megahertz) = (Vec::new(), Vec::new());
        for policy in system.names(POLICIES).iter().filter(|name| name.starts_with("policy")) {
            let limit = format!("{POLICIES}/{policy}/scaling_max_freq");
            let now = system.read(&limit)?;
            std::fs::OpenOptions::new().write(true).open(system.path(&limit)).ok()?;
            limits.push((system.path(&limit), now.trim().to_owned()));
            let list = system.read(&format!("{POLICIES}/{policy}/scaling_available_frequencies")).unwrap_or_default();
            megahertz.extend(list.split_whitespace().filter_map(|khz| khz.parse::<f64>().ok()).map(|khz| khz / 1e3));
        }
        megahertz.sort_by(f64::total_cmp);
        megahertz.dedup();
        (megahertz.len() > 1).then_some(Self { limits, megahertz })
    }

    /// The clocks there are, in megahertz, the slowest first.
    #[must_use]
    pub fn megahertz(&self) -> &[f64] {
        &self.megahertz
    }

    /// Lets the processor run no faster than this.
    ///
    /// # Errors
    /// What the system says.
    pub fn limit(&self, megahertz: f64) -> io::Result<()> {
        let text = format!("{:.0}", megahertz * 1e3);
        self.limits.iter().try_for_each(|(path, _)| std::fs::write(path, &text))
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        for (path, before) in &self.limits {
            // A file that could be written before and cannot now has nobody left to be told.
            let _ = std::fs::write(path, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    #[test]
    fn a_limit_is_set_and_put_back() {
        let limit = "/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq";
        let list = "/sys/devices/system/cpu/cpufreq/policy0/scaling_available_frequencies";
        let folder = tree(&[(limit, b"1800000\n"), (list, b"1800000 600000 1500000 \n")]);
        let system = System::at(folder.path());
        let clocks = Clocks::of(&system).unwrap();
        assert_eq!(clocks.megahertz(), [600.0, 1500.0, 1800.0]);
        clocks.limit(600.0).unwrap();
        assert_eq!(system.number(limit), Some(600_000.0));
        drop(clocks);
        assert_eq!(system.number(limit), Some(1_800_000.0));
    }

    #[test]
    fn a_processor_with_one_clock_has_nothing_to_set() {
        assert!(Clocks::of(&System::at("/nonexistent")).is_none());
        let folder = tree(&[("/sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", b"1800000\n")]);
        assert!(Clocks::of(&System::at(folder.path())).is_none());
    }
}

//! What decides how fast a machine is at this moment. Belongs beside every latency that is measured.

use serde::Serialize;

use crate::{Board, Cooling, System, Throttled};

/// Clock of one core.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Core {
    /// Number of the core.
    pub core: u32,
    /// Clock now, in MHz.
    pub mhz: f64,
    /// Highest clock that is allowed now, in MHz.
    pub limit_mhz: Option<f64>,
    /// Highest clock of the hardware, in MHz.
    pub max_mhz: Option<f64>,
    /// The kernel's rule for choosing the clock, for instance `ondemand`.
    pub governor: Option<String>,
}

/// Clock, governor, temperature and what slows the processor down.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct State {
    /// Clocks of the cores whose clock the kernel tells.
    pub cores: Vec<Core>,
    /// Temperature of the processor in degrees Celsius.
    pub celsius: Option<f64>,
    /// The firmware's flags, where there are any.
    pub throttled: Option<Throttled>,
    /// What the kernel may slow down to cool the processor.
    pub cooling: Vec<Cooling>,
}

impl State {
    /// The state of the machine on which this runs.
    #[must_use]
    pub fn here() -> Self {
        Self::read(&System::default(), &crate::generic())
    }

    /// Reads the state of `system`, which is a `board`.
    #[must_use]
    pub fn read(system: &System, board: &Board) -> Self {
        Self {
            cores: cores(system),
            celsius: celsius(system, &board.thermal.zone),
            throttled: Throttled::read(system),
            cooling: Cooling::read(system),
        }
    }

    /// What makes the machine slower now than it can be, in words; empty where nothing does, or nothing is told.
    #[must_use]
    pub fn slowed(&self) -> Vec<String> {
        let mut reasons: Vec<String> =
            self.throttled.into_iter().flat_map(Throttled::now).map(ToOwned::to_owned).collect();
        for Core { core, limit_mhz, max_mhz, .. } in &self.cores {
            if let (Some(limit), Some(max)) = (limit_mhz, max_mhz)
                && limit < max
            {
                reasons.push(format!("core {core} is limited to {limit:.0} of {max:.0} MHz"));
            }
        }
        let cooling = self.cooling.iter().filter(|cooling| cooling.step > 0);
        reasons
            .extend(cooling.map(|Cooling { kind, step, steps }| format!("{kind} is cooled, step {step} of {steps}")));
        reasons
    }

    /// The state in a line: clocks, governor, temperature, and what slows the machine down.
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(first) = self.cores.first() {
            let clocks: Vec<_> = self.cores.iter().map(|core| format!("{:.0}", core.mhz)).collect();
            parts.push(format!("{} MHz", clocks.join(", ")));
            parts.extend(first.governor.as_ref().map(|governor| format!("governor {governor}")));
        }
        parts.extend(self.celsius.map(|celsius| format!("{celsius:.0} °C")));
        parts.extend(self.slowed());
        if parts.is_empty() { "the kernel tells neither clock nor temperature".into() } else { parts.join(", ") }
    }
}

fn cores(system: &System) -> Vec<Core> {
    let folder = "/sys/devices/system/cpu";
    let numbers = system.names(folder).into_iter().filter_map(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
    numbers
        .filter_map(|core| {
            let file = |name: &str| format!("{folder}/cpu{core}/cpufreq/{name}");
            // The kernel tells kHz.
            let mhz = |name: &str| Some(system.number(&file(name))? / 1e3);
            Some(Core {
                core,
                mhz: mhz("scaling_cur_freq")?,
                limit_mhz: mhz("scaling_max_freq"),
                max_mhz: mhz("cpuinfo_max_freq"),
                governor: system.read(&file("scaling_governor")),
            })
        })
        .collect()
}

/// Temperature of the zone of this type, or of the hottest where there is none of it.
fn celsius(system: &System, zone: &str) -> Option<f64> {
    let folder = "/sys/class/thermal";
    let zones: Vec<(String, f64)> = system
        .names(folder)
        .iter()
        .filter(|name| name.starts_with("thermal_zone"))
        .filter_map(|name| {
            let kind = system.read(&format!("{folder}/{name}/type")).unwrap_or_default();
            // The kernel tells thousandths of a degree.
            Some((kind, system.number(&format!("{folder}/{name}/temp"))? / 1e3))
        })
        .collect();
    let named = zones.iter().find(|(kind, _)| kind.eq_ignore_ascii_case(zone)).map(|(_, celsius)| *celsius);
    named.or_else(|| zones.iter().map(|(_, celsius)| *celsius).reduce(f64::max))
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    #[test]
    fn clocks_and_temperature_are_read() {
        let folder = tree(&[]);
        let write = |path: &str, text: &str| board_tree::write(&folder.path().join("sys"), path, text.as_bytes());
        for (core, khz) in [(0, "600000\n"), (1, "1500000\n")] {
            let base = format!("devices/system/cpu/cpu{core}/cpufreq");
            write(&format!("{base}/scaling_cur_freq"), khz);
            write(&format!("{base}/cpuinfo_max_freq"), "1500000\n");
            write(&format!("{base}/scaling_governor"), "ondemand\n");
        }
        write("devices/system/cpu/cpufreq/ignored", "");
        write("class/thermal/thermal_zone0/type", "gpu-thermal\n");
        write("class/thermal/thermal_zone0/temp", "70500\n");
        write("class/thermal/thermal_zone1/type", "cpu-thermal\n");
        write("class/thermal/thermal_zone1/temp", "48123\n");
        let system = System::at(folder.path());
        let mut board = crate::generic();
        board.thermal.zone = "cpu-thermal".into();
        let state = State::read(&system, &board);
        let core =
            |core, mhz| Core { core, mhz, limit_mhz: None, max_mhz: Some(1500.0), governor: Some("ondemand".into()) };
        let cores = vec![core(0, 600.0), core(1, 1500.0)];
        assert_eq!(state, State { cores, celsius: Some(48.123), ..State::default() });
        assert_eq!(state.line(), "600, 1500 MHz, governor ondemand, 48 °C");
        write("devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1000000\n");
        write("devices/platform/soc/soc:firmware/get_throttled", "4\n");
        write("class/thermal/cooling_device0/type", "cpufreq-cpu0\n");
        write("class/thermal/cooling_device0/cur_state", "1\n");
        write("class/thermal/cooling_device0/max_state", "3\n");
        let slowed = State::read(&system, &board).slowed();
        let expected =
            ["the clock is throttled", "core 0 is limited to 1000 of 1500 MHz", "cpufreq-cpu0 is cooled, step 1 of 3"];
        assert_eq!(slowed, expected);
        board.thermal.zone = "other".into();
        assert_eq!(State::read(&system, &board).celsius, Some(70.5));
        assert_eq!(State::read(&System::at("/nonexistent"), &board), State::default());
    }
}

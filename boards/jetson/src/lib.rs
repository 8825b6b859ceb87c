//! Jetson boards: their data, and the power monitors on them.

use dyn_perceiver_host::{Board, BoardError, System};
use serde::Serialize;

/// Board data by file name.
pub const BOARDS: [(&str, &str); 3] = [
    ("jetson-nano.toml", include_str!("../boards/jetson-nano.toml")),
    ("jetson-tx2.toml", include_str!("../boards/jetson-tx2.toml")),
    ("jetson-orin-nano.toml", include_str!("../boards/jetson-orin-nano.toml")),
];

/// The boards of this family.
///
/// # Errors
/// [`BoardError`] where their data is damaged.
pub fn boards() -> Result<Vec<Board>, BoardError> {
    BOARDS.iter().map(|(file, text)| Board::parse(file, text)).collect()
}

/// What a power monitor on the board measures at this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RailReading {
    /// The rail's label.
    pub label: String,
    /// Its voltage.
    pub volts: f64,
    /// Its current, in amperes.
    pub amperes: f64,
}

impl RailReading {
    /// Its power.
    #[must_use]
    pub fn watts(&self) -> f64 {
        self.volts * self.amperes
    }
}

/// Reads the rails of the board's INA3221 monitors, which the kernel owns, from its hwmon files.
#[must_use]
pub fn rails(system: &System) -> Vec<RailReading> {
    let folder = "/sys/class/hwmon";
    let monitors = system.names(folder).into_iter().map(|name| format!("{folder}/{name}"));
    monitors
        .filter(|monitor| system.read(&format!("{monitor}/name")).is_some_and(|name| name == "ina3221"))
        .flat_map(|monitor| (1..=3).filter_map(move |channel| rail(system, &monitor, channel)))
        .collect()
}

/// One channel. The kernel tells millivolts and milliamperes.
fn rail(system: &System, monitor: &str, channel: u32) -> Option<RailReading> {
    let label = system.read(&format!("{monitor}/in{channel}_label"))?;
    let volts = system.number(&format!("{monitor}/in{channel}_input"))? / 1e3;
    let amperes = system.number(&format!("{monitor}/curr{channel}_input"))? / 1e3;
    Some(RailReading { label, volts, amperes })
}

#[cfg(test)]
mod tests {
    use board_tree::tree;
    use dyn_perceiver_host::detect;

    use super::*;

    #[test]
    fn each_board_is_known_by_its_device_tree() {
        let boards = boards().unwrap();
        for (compatible, id) in [
            (&b"nvidia,p3450-0000\0nvidia,tegra210\0"[..], "jetson-nano"),
            (b"nvidia,p2771-0000\0nvidia,tegra186\0", "jetson-tx2"),
            (b"nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0", "jetson-orin-nano"),
        ] {
            let folder = tree(&[("/proc/device-tree/compatible", compatible)]);
            let system = System::at(folder.path());
            assert_eq!(detect(&system, &boards).map(|board| board.id.as_str()), Some(id));
        }
    }

    #[test]
    fn rails_are_read_from_the_kernels_files() {
        let folder = tree(&[
            ("/sys/class/hwmon/hwmon0/name", b"tmp451\n"),
            ("/sys/class/hwmon/hwmon1/name", b"ina3221\n"),
            ("/sys/class/hwmon/hwmon1/in1_label", b"VDD_IN\n"),
            ("/sys/class/hwmon/hwmon1/in1_input", b"5000\n"),
            ("/sys/class/hwmon/hwmon1/curr1_input", b"980\n"),
            ("/sys/class/hwmon/hwmon1/in2_label", b"VDD_CPU_GPU_CV\n"),
            ("/sys/class/hwmon/hwmon1/in2_input", b"4992\n"),
            ("/sys/class/hwmon/hwmon1/curr2_input", b"200\n"),
        ]);
        let rails = rails(&System::at(folder.path()));
        assert_eq!(rails.len(), 2);
        assert_eq!((rails[0].label.as_str(), rails[0].volts, rails[0].amperes), ("VDD_IN", 5.0, 0.98));
        assert!((rails[0].watts() - 4.9).abs() < 1e-9);
    }
}

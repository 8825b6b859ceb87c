//! What slows the processor down: the firmware's flags and the kernel's cooling devices.

use serde::Serialize;

use crate::System;

/// Where the kernel tells the firmware's flags, as hexadecimal digits.
const THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// What a Raspberry Pi's firmware says of the supply and the clock, as `vcgencmd get_throttled` does: bits 0 to 3 are the
/// present, bits 16 to 19 what has happened since the board was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Throttled {
    /// All flags.
    pub bits: u32,
}

impl Throttled {
    const FLAGS: [(u32, &'static str); 4] = [
        (0, "the supply voltage is too low"),
        (1, "the clock is capped"),
        (2, "the clock is throttled"),
        (3, "the soft temperature limit is reached"),
    ];

    /// Reads the flags; `None` where the kernel does not tell them, as on every other board.
    #[must_use]
    pub fn read(system: &System) -> Option<Self> {
        let text = system.read(THROTTLED)?;
        let bits = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
        Some(Self { bits })
    }

    fn set(self, shift: u32) -> Vec<&'static str> {
        Self::FLAGS.iter().filter(|(bit, _)| self.bits >> (bit + shift) & 1 == 1).map(|(_, text)| *text).collect()
    }

    /// What is the case now, in words.
    #[must_use]
    pub fn now(self) -> Vec<&'static str> {
        self.set(0)
    }

    /// What has been the case at some time since the board was started, in words.
    #[must_use]
    pub fn since_start(self) -> Vec<&'static str> {
        self.set(16)
    }
}

/// What the kernel slows down to cool the processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Cooling {
    /// The kernel's name of it, for instance `cpufreq-cpu0`.
    pub kind: String,
    /// How far it is slowed down now, from 0.
    pub step: u64,
    /// The farthest step.
    pub steps: u64,
}

impl Cooling {
    /// The cooling devices of the processor; fans and the like slow nothing down.
    #[must_use]
    pub fn read(system: &System) -> Vec<Self> {
        let folder = "/sys/class/thermal";
        let names = system.names(folder).into_iter().filter(|name| name.starts_with("cooling_device"));
        names
            .filter_map(|name| {
                let kind = system.read(&format!("{folder}/{name}/type"))?;
                let step = |file: &str| Some(system.number(&format!("{folder}/{name}/{file}"))? as u64);
                let of_processor =
                    kind.starts_with("cpufreq") || kind.starts_with("thermal-cpufreq") || kind == "Processor";
                let cooling = Self { step: step("cur_state")?, steps: step("max_state")?, kind };
                of_processor.then_some(cooling)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    #[test]
    fn cooling_devices_of_the_processor_are_read_and_others_left_out() {
        let folder = tree(&[
            ("/sys/class/thermal/cooling_device0/type", b"cpufreq-cpu0\n"),
            ("/sys/class/thermal/cooling_device0/cur_state", b"2\n"),
            ("/sys/class/thermal/cooling_device0/max_state", b"4\n"),
            ("/sys/class/thermal/cooling_device1/type", b"pwm-fan\n"),
            ("/sys/class/thermal/cooling_device1/cur_state", b"1\n"),
            ("/sys/class/thermal/cooling_device1/max_state", b"3\n"),
        ]);
        let system = System::at(folder.path());
        assert_eq!(Cooling::read(&system), [Cooling { kind: "cpufreq-cpu0".into(), step: 2, steps: 4 }]);
    }

    #[test]
    fn throttle_flags_are_read_and_told_in_words() {
        let read = |text: &[u8]| Throttled::read(&System::at(tree(&[(THROTTLED, text)]).path()));
        let flags = read(b"50005\n").unwrap();
        assert_eq!(flags.now(), ["the supply voltage is too low", "the clock is throttled"]);
        assert_eq!(flags.since_start(), flags.now());
        let flags = read(b"0x80000").unwrap();
        assert!(flags.now().is_empty());
        assert_eq!(flags.since_start(), ["the soft temperature limit is reached"]);
        assert_eq!(read(b"0\n"), Some(Throttled::default()));
        assert_eq!(read(b"none"), None);
    }
}

//! How long stages take on a machine: measured once, and kept in a bundle or a state file for the next starts.

use std::fs;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

/// Seconds that each stage of a plan takes on one machine, on so many threads.
///
/// Times say nothing of another machine; [`MachineTimes::is_of_here`] tells whether they were taken on one like this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct MachineTimes {
    /// The machine, as [`name`] has it.
    pub machine: String,
    /// Threads that worked on a frame.
    pub threads: NonZeroUsize,
    /// Median seconds that each outcome of the plan adds to those before it: the exits, then the levels of a detector.
    pub seconds: Vec<f32>,
}

impl MachineTimes {
    /// Seconds of stages on so many threads of a machine.
    pub fn new(machine: impl Into<String>, threads: NonZeroUsize, seconds: impl Into<Vec<f32>>) -> Self {
        MachineTimes { machine: machine.into(), threads, seconds: seconds.into() }
    }

    /// Whether they were taken on a machine like this one: the same board, processor, cores and highest clock.
    pub fn is_of_here(&self) -> bool {
        self.machine == name()
    }

    /// Seconds of a whole frame.
    pub fn whole(&self) -> f32 {
        self.seconds.iter().sum()
    }

    /// What is wrong with times for a plan of so many outcomes.
    #[cfg(feature = "tract")]
    pub(crate) fn fault(&self, outcomes: usize) -> Option<String> {
        let sound = self.seconds.iter().all(|seconds| seconds.is_finite() && *seconds >= 0.0);
        let count = self.seconds.len();
        (!sound || count != outcomes).then(|| format!("times of {count} stages, expected {outcomes}, none below 0"))
    }
}

/// The board, processor, cores and highest clock of this machine in words, such as `Raspberry Pi 4 Model B Rev 1.2, aarch64 Cortex-A72,
/// 4 cores, 1500 MHz`: what decides how long a frame takes. Machines of one make have one name.
pub fn name() -> String {
    let text = |path: &str| fs::read_to_string(path).ok();
    let board = text("/proc/device-tree/model");
    let khz = text("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").and_then(|khz| khz.trim().parse().ok());
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    words(board.as_deref(), &text("/proc/cpuinfo").unwrap_or_default(), cores, khz)
}

fn words(board: Option<&str>, cpuinfo: &str, cores: usize, khz: Option<u64>) -> String {
    let field = |key: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    let board = board.map(|board| board.trim_end_matches('\0').trim().to_owned()).filter(|board| !board.is_empty());
    let part = || field("CPU part").map(|part| core_name(&part).map_or(format!("part {part}"), str::to_owned));
    let cpu = field("model name").or_else(part).unwrap_or_else(|| "unknown processor".to_owned());
    let mut words: Vec<String> = board.into_iter().collect();
    words.push(format!("{} {cpu}", std::env::consts::ARCH));
    words.push(format!("{cores} cores"));
    words.extend(khz.map(|khz| format!("{} MHz", khz / 1000)));
    words.join(", ")
}

/// The name of one of Arm's cores by its part number.
fn core_name(part: &str) -> Option<&'static str> {
    Some(match part {
        "0xd03" => "Cortex-A53",
        "0xd05" => "Cortex-A55",
        "0xd07" => "Cortex-A57",
        "0xd08" => "Cortex-A72",
        "0xd0b" => "Cortex-A76",
        "0xd42" => "Cortex-A78AE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_one_make_have_one_name_and_others_another() {
        let pi = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd08\n";
        let arch = std::env::consts::ARCH;
        assert_eq!(
            words(Some("Raspberry Pi 4 Model B Rev 1.2\0"), pi, 4, Some(1_500_000)),
            format!("Raspberry Pi 4 Model B Rev 1.2, {arch} Cortex-A72, 4 cores, 1500 MHz")
        );
        let other = "model name\t: Some CPU @ 2 GHz\n";
        assert_eq!(words(None, other, 2, None), format!("{arch} Some CPU @ 2 GHz, 2 cores"));
        assert_eq!(words(None, "CPU part : 0xfff", 1, None), format!("{arch} part 0xfff, 1 cores"));
        let times = MachineTimes::new(super::name(), NonZeroUsize::MIN, [0.25, 0.5]);
        assert!(times.is_of_here() && times.whole() == 0.75);
        assert!(!MachineTimes::new("elsewhere", NonZeroUsize::MIN, [0.25]).is_of_here());
    }

    #[cfg(feature = "tract")]
    #[test]
    fn times_are_of_as_many_stages_as_there_are_and_none_is_below_0() {
        let fault = |seconds: &[f32]| MachineTimes::new("a", NonZeroUsize::MIN, seconds).fault(2);
        assert_eq!(fault(&[0.0, 1.0]), None);
        assert!([&[1.0][..], &[1.0, -1.0], &[1.0, f32::NAN], &[1.0; 3]].iter().all(|seconds| fault(seconds).is_some()));
    }
}

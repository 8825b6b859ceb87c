//! The machine that is measured, as far as the kernel tells.

use std::path::Path;
use std::process::Command;

use dyn_perceiver_host::System;

use crate::result::Machine;

/// Vector extensions that bear on float32 and float16 arithmetic.
const FLAGS: [&str; 12] = [
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_fp16",
    "amx_tile",
    "asimd",
    "asimdhp",
    "asimddp",
    "sve",
];

/// Reads what there is to read; `name` is what tables call the machine.
pub(super) fn read(name: Option<String>, emulated: bool) -> Machine {
    let system = System::default();
    let cpuinfo = system.read("/proc/cpuinfo").unwrap_or_default();
    let field = |wanted: &[&str]| {
        cpuinfo.lines().filter_map(|line| line.split_once(':')).find_map(|(key, value)| {
            wanted.contains(&key.trim()).then(|| value.trim().to_owned()).filter(|value| !value.is_empty())
        })
    };
    // ARM kernels give numbers, which tract and this project's board files go by too.
    let part = || Some(format!("ARM implementer {} part {}", field(&["CPU implementer"])?, field(&["CPU part"])?));
    let cpu = field(&["model name"]).or_else(part).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let listed = field(&["flags", "Features"]).unwrap_or_default();
    let has = |flag: &&&str| listed.split_whitespace().any(|word| word == **flag);
    let frequency = |file: &str| {
        let khz = system.number(&format!("/sys/devices/system/cpu/cpu0/cpufreq/{file}"))?;
        Some((khz / 1000.0) as u32)
    };
    let release = system.read("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        name: name.or_else(|| system.model()).unwrap_or_else(|| cpu.clone()),
        architecture: std::env::consts::ARCH.to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        flags: FLAGS.iter().filter(has).map(|&flag| flag.to_owned()).collect(),
        memory_bytes: system.memory().map_or(0, |(all, _)| all),
        governor: system.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        clock_mhz: frequency("cpuinfo_min_freq").zip(frequency("cpuinfo_max_freq")),
        throttled: throttled(&system),
        system: format!("Linux {release}"),
        gpu: gpu(),
        emulated,
        cpu,
    }
}

/// Whether the first core is held below its highest clock, where the kernel tells.
pub(super) fn throttled(system: &System) -> Option<bool> {
    let number = |file: &str| system.number(&format!("/sys/devices/system/cpu/cpu0/cpufreq/{file}"));
    Some(number("scaling_max_freq")? < number("cpuinfo_max_freq")?)
}

fn gpu() -> Option<String> {
    let cards = std::fs::read_dir("/proc/driver/nvidia/gpus").ok()?;
    let text = cards.flatten().find_map(|card| std::fs::read_to_string(card.path().join("information")).ok())?;
    text.lines().find_map(|line| line.strip_prefix("Model:")).map(|model| model.trim().to_owned())
}

/// Version control's name of the code, with `+` where files were changed; none outside a checkout.
pub(super) fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(git(&["rev-parse", "--short", "HEAD"])? + if changed { "+" } else { "" })
}

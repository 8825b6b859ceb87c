//! Boots machines under QEMU and drives the loop there with the kernel's own drivers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use serde_json::Value;

use crate::dist;
use crate::guest::Guest;

mod burst;
mod raspberry_pi;
mod virt;

/// Boot Debian's arm64 kernel under QEMU and run the loop on its virtual camera
///
/// On `virt`: loads the kernel's virtual camera, classifies its frames through the V4L2 code, takes the camera away and
/// gives it back, kills the loop and sees it come back, and powers off. On `burst`, the same machine: a card that boots, classifies
/// and switches itself off, twice, and how long that takes by a clock that counts instructions. On `raspi3b`: boots the card of a Raspberry Pi 3
/// to the first classified frame, with a fuel gauge on its I2C bus, and sees the operating point follow the gauge. Needs
/// QEMU for arm64, version 9 for `raspi3b`, and apt with Debian's sources.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Machines [default: those that the emulator can]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    machine: Option<Vec<Machine>>,
    /// Statically linked program for aarch64 Linux [default: it is built]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Model to classify with [default: the shipped one]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The emulator
    #[arg(long, value_name = "FILE", default_value = "qemu-system-aarch64")]
    qemu: PathBuf,
    /// End well, and say so, where the emulator is not installed
    #[arg(long)]
    skip_without_qemu: bool,
    /// Write all that the guests' consoles say here
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// A machine of the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Machine {
    Virt,
    /// `virt` again, as a board that is switched on for a burst.
    Burst,
    Raspi3b,
}

/// The first QEMU whose Raspberry Pi machines have an I2C controller.
const QEMU_WITH_I2C: u32 = 9;
/// Emulation is slow, and CI machines slower.
const LIMIT: Duration = Duration::from_secs(180);
const RESULTS: &str = "/data/results.jsonl";

pub(crate) fn run(args: &Args) -> Result<()> {
    let Ok(version) = Command::new(&args.qemu).arg("--version").output() else {
        ensure!(args.skip_without_qemu, "{}: not found (apt install qemu-system-arm)", args.qemu.display());
        println!("system test: skipped, {} is not installed", args.qemu.display());
        return Ok(());
    };
    let version = version_of(&String::from_utf8_lossy(&version.stdout))
        .with_context(|| format!("{} --version: expected the words `version 9.0.0`", args.qemu.display()))?;
    let able = version >= QEMU_WITH_I2C;
    let machines = match &args.machine {
        Some(machines) => machines.clone(),
        None if able => vec![Machine::Virt, Machine::Burst, Machine::Raspi3b],
        None => {
            println!("raspi3b: skipped, QEMU {version} has no I2C controller there; {QEMU_WITH_I2C} has");
            vec![Machine::Virt, Machine::Burst]
        }
    };
    if machines.contains(&Machine::Raspi3b) && !able {
        bail!("--machine raspi3b: QEMU {version} has no I2C controller there; {QEMU_WITH_I2C} has");
    }
    let program = match &args.binary {
        Some(program) => program.clone(),
        None => dist::build("aarch64-unknown-linux-gnu")?,
    };
    let mut test = Test {
        qemu: &args.qemu,
        program: &program,
        model: args.model.as_deref(),
        steps: Steps { passed: 0, began: Instant::now() },
        log: String::new(),
    };
    let result = machines.iter().try_for_each(|machine| {
        match machine {
            Machine::Virt => virt::run(&mut test),
            Machine::Burst => burst::run(&mut test),
            Machine::Raspi3b => raspberry_pi::run(&mut test),
        }
        .with_context(|| format!("{machine:?}"))
    });
    if let Some(path) = &args.log {
        std::fs::write(path, &test.log).with_context(|| path.display().to_string())?;
    }
    result.inspect_err(|_| eprintln!("the guest's console said last:\n{}", tail(&test.log, 40)))?;
    println!("system test: {} passed, 0 failed", test.steps.passed);
    Ok(())
}

/// What is tested on every machine, and what has come of it.
struct Test<'a> {
    qemu: &'a Path,
    program: &'a Path,
    /// The shipped one where there is none.
    model: Option<&'a Path>,
    steps: Steps,
    /// All that the machines' consoles said.
    log: String,
}

/// The first number of the version that QEMU tells.
fn version_of(text: &str) -> Option<u32> {
    text.split_once("version ")?.1.split('.').next()?.parse().ok()
}

/// Prints each step with the time it took and counts them.
struct Steps {
    passed: u32,
    began: Instant,
}

impl Steps {
    fn pass(&mut self, what: &str) {
        self.passed += 1;
        println!("ok {:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
        self.began = Instant::now();
    }
}

/// Runs `test` on a machine and keeps what its console said.
fn on_guest<T>(qemu: Command, log: &mut String, test: impl FnOnce(&mut Guest) -> Result<T>) -> Result<T> {
    let mut guest = Guest::start(qemu)?;
    let result = test(&mut guest);
    *log += &guest.log();
    result
}

/// Waits for the shell, and returns the kernel's name once both partitions of the card are there.
fn booted(guest: &mut Guest) -> Result<String> {
    guest.wait_for("GUEST READY", LIMIT)?;
    // The shell's greeting.
    guest.run("true", LIMIT)?;
    let kernel = guest.check("uname -mr")?;
    ensure!(kernel.ends_with("aarch64"), "the guest says it is {kernel}");
    guest.check("grep -q ' /boot vfat ' /proc/mounts && grep -q ' /data ext4 ' /proc/mounts")?;
    Ok(kernel)
}

/// Loads modules that the machine does not load by itself, in this order.
fn load(guest: &mut Guest, modules: &[PathBuf]) -> Result<()> {
    for module in modules {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        // Some may have been loaded at the start.
        guest.run(&format!("insmod /modules/{name}"), LIMIT)?;
    }
    Ok(())
}

fn power_off(guest: &mut Guest) -> Result<()> {
    guest.power_off("umount /data; poweroff -f", LIMIT)
}

/// Waits until `count` more frames have been classified.
fn frames(guest: &mut Guest, count: u32) -> Result<()> {
    let count_all = format!("grep -c '\"kind\":\"frame\"' {RESULTS}");
    let (now, _) = guest.run(&count_all, LIMIT)?;
    let now: u32 = now.trim().parse().unwrap_or(0);
    let enough = format!("[ $({count_all}) -ge {} ]", now + count);
    let result = guest.until("frames", &enough, LIMIT);
    if result.is_err() {
        eprintln!("the loop says: {}", guest.check(&format!("cat /tmp/log; tail -n 3 {RESULTS}"))?);
    }
    result.map(drop)
}

/// The last record of a kind.
fn last(guest: &mut Guest, kind: &str) -> Result<Value> {
    let line = guest.check(&format!("grep '\"kind\":\"{kind}\"' {RESULTS} | tail -n 1"))?;
    serde_json::from_str(&line).with_context(|| format!("the last record of kind {kind}: {line}"))
}

/// What `doctor` reports; its exit status does not matter here.
fn doctor(guest: &mut Guest) -> Result<Value> {
    let (text, _) = guest.run("dyn-perceiver doctor --json 2>/dev/null", LIMIT)?;
    serde_json::from_str(text.trim()).with_context(|| format!("doctor says: {text}"))
}

fn status<'a>(report: &'a Value, name: &str) -> Option<&'a str> {
    report["checks"].as_array()?.iter().find(|check| check["check"] == name)?["status"].as_str()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulators_version_is_read() {
        assert_eq!(version_of("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"), Some(7));
        assert_eq!(version_of("QEMU emulator version 10.0.2"), Some(10));
        assert_eq!(version_of("another program"), None);
    }
}

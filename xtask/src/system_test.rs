//! Boots a machine under QEMU and drives the loop there with the kernel's own drivers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;

use crate::guest::Guest;
use crate::{dist, image, work_folder};

/// Boot Debian's arm64 kernel under QEMU and run the loop on its virtual camera
///
/// Loads the kernel's virtual camera, classifies its frames through the V4L2 code, takes the camera away and gives it back,
/// kills the loop and sees it come back, and powers off. Needs QEMU for arm64, and apt with Debian's sources.
#[derive(ClapArgs)]
pub struct Args {
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
    /// Write all that the guest's console says here
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Options of the loop, as a person would write them into the card's file.
const OPTIONS: &str =
    "OPTIONS='--model /usr/share/model.onnx --camera /dev/video0 --fps 10 --no-compare --battery-mwh 100000'\n";
const RESULTS: &str = "/data/results.jsonl";
/// Emulation is slow, and CI machines slower.
const LIMIT: Duration = Duration::from_secs(180);

pub fn run(args: &Args) -> Result<()> {
    if Command::new(&args.qemu).arg("--version").output().is_err() {
        ensure!(args.skip_without_qemu, "{}: not found (apt install qemu-system-arm)", args.qemu.display());
        println!("system test: skipped, {} is not installed", args.qemu.display());
        return Ok(());
    }
    let program = match &args.binary {
        Some(program) => program.clone(),
        None => dist::build("aarch64-unknown-linux-gnu")?,
    };
    let work = work_folder("system-test")?;
    let card = work.join("card.img");
    let parts = image::make("qemu-virt", &card, &program, args.model.as_deref(), OPTIONS)?;

    let mut log = String::new();
    let result = both_boots(args, &parts, &card, &mut log);
    if let Some(path) = &args.log {
        std::fs::write(path, &log).with_context(|| path.display().to_string())?;
    }
    let passed = result.inspect_err(|_| eprintln!("the guest's console said last:\n{}", tail(&log, 40)))?;
    println!("system test: {passed} passed, 0 failed");
    Ok(())
}

/// The loop's whole life, then a second start on the same card.
fn both_boots(args: &Args, parts: &image::Parts, card: &Path, log: &mut String) -> Result<u32> {
    let mut steps = Steps { passed: 0, began: Instant::now() };
    for boot in [first_boot, second_boot] {
        let mut guest = Guest::start(machine(&args.qemu, parts, card))?;
        let result = boot(&mut guest, parts, &mut steps);
        *log += &guest.log();
        result?;
    }
    Ok(steps.passed)
}

fn machine(qemu: &Path, parts: &image::Parts, card: &Path) -> Command {
    let mut command = Command::new(qemu);
    command.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-nic", "none", "-display", "none"]);
    command.args(["-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(&parts.kernel).arg("-initrd").arg(&parts.initrd);
    command.arg("-drive").arg(format!("file={},format=raw,if=virtio", card.display()));
    command.args(["-append", "console=ttyAMA0 quiet panic=-1"]);
    command
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

fn first_boot(guest: &mut Guest, parts: &image::Parts, steps: &mut Steps) -> Result<()> {
    guest.wait_for("GUEST READY", LIMIT)?;
    // The shell's greeting.
    guest.run("true", LIMIT)?;
    let kernel = guest.check("uname -mr")?;
    ensure!(kernel.ends_with("aarch64"), "the guest says it is {kernel}");
    guest.check("grep -q ' /boot vfat ' /proc/mounts && grep -q ' /data ext4 ' /proc/mounts")?;
    steps.pass(&format!("boots Linux {kernel} from the card"));

    let report = doctor(guest)?;
    ensure!(status(&report, "camera") == Some("warn"), "doctor without a camera: {report}");
    guest.until("a word about the missing camera", "grep -q /dev/video0 /tmp/log", LIMIT)?;
    steps.pass("doctor and the loop miss the camera");

    for module in &parts.spare {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        // Some may have been loaded at the start.
        guest.run(&format!("insmod /modules/{name}"), LIMIT)?;
    }
    guest.until("the camera", "[ -c /dev/video0 ]", LIMIT)?;
    let report = doctor(guest)?;
    ensure!(status(&report, "camera") == Some("ok"), "doctor with a camera: {report}");
    steps.pass("the virtual camera is loaded, and doctor finds it");

    frames(guest, 5)?;
    let frame = last(guest, "frame")?;
    ensure!(frame["class"].is_u64() && frame["confidence"].is_f64(), "a frame's result is {frame}");
    steps.pass(&format!("the loop classifies frames of /dev/video0: {frame}"));

    let before = guest.check("cat /tmp/pid")?;
    guest.check("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind")?;
    guest.until("the loss of the camera", &format!("grep -q '\"connected\":false' {RESULTS}"), LIMIT)?;
    let loss = last(guest, "camera")?;
    guest.until("unloading the camera's module", "rmmod vivid", LIMIT)?;
    guest.check("sleep 2; insmod /modules/vivid.ko")?;
    guest.until("the camera's return", &format!("grep -q '\"connected\":true' {RESULTS}"), LIMIT)?;
    frames(guest, 3)?;
    ensure!(guest.check("cat /tmp/pid")? == before, "the loop was started again instead of living on");
    steps.pass(&format!("survives the camera's module being unloaded and loaded: {}", loss["message"]));

    guest.check("kill -9 $(cat /tmp/pid)")?;
    guest.until("a new process", &format!("[ $(cat /tmp/pid) != {before} ]"), LIMIT)?;
    frames(guest, 3)?;
    steps.pass("the loop is started again after it was killed");

    guest.check("touch /tmp/stop; kill -TERM $(cat /tmp/pid)")?;
    guest.until("the end of the loop", "[ \"$(tail -n 1 /tmp/log)\" = 'ended with status 0' ]", LIMIT)?;
    steps.pass("the loop ends on request");

    guest.power_off("umount /data; poweroff -f", LIMIT)?;
    steps.pass("powers off");
    Ok(())
}

fn second_boot(guest: &mut Guest, _: &image::Parts, steps: &mut Steps) -> Result<()> {
    guest.wait_for("GUEST READY", LIMIT)?;
    guest.run("true", LIMIT)?;
    let kept = guest.check(&format!("grep -c '\"kind\":\"frame\"' {RESULTS}"))?;
    guest.power_off("umount /data; poweroff -f", LIMIT)?;
    steps.pass(&format!("a second start finds the results of {kept} frames on the card, and powers off"));
    Ok(())
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

//! Boots a machine under QEMU and drives the loop there with the kernel's own drivers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use serde_json::Value;

use crate::debian::{Archive, Kernel};
use crate::guest::Guest;
use crate::{dist, initramfs, modules, root, work_folder};

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

/// The virtual camera and what it needs.
const MODULES: [&str; 1] = ["vivid"];
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
    let model = args.model.clone().unwrap_or_else(|| root().join("models/pretrained/fashion-mnist/model.onnx"));
    let archive = Archive::open(&work_folder("debian")?)?;
    let kernel = Kernel::fetch(&archive)?;
    let busybox = archive.unpack("busybox-static")?.join("bin/busybox");
    let modules = modules::resolve(&kernel.modules, &MODULES)?;
    let image = initramfs::build(&initramfs::Contents {
        busybox: &busybox,
        program: &program,
        modules: &modules,
        files: &[(&model, "model.onnx")],
    })?;
    let initrd = work_folder("system-test")?.join("initrd.gz");
    std::fs::write(&initrd, image).with_context(|| initrd.display().to_string())?;

    let mut guest = Guest::start(machine(&args.qemu, &kernel.image, &initrd))?;
    let result = steps(&mut guest, &modules);
    if let Some(log) = &args.log {
        std::fs::write(log, guest.log()).with_context(|| log.display().to_string())?;
    }
    let passed = result.inspect_err(|_| eprintln!("the guest's console said last:\n{}", tail(&guest.log(), 40)))?;
    println!("system test: {passed} passed, 0 failed");
    Ok(())
}

fn machine(qemu: &Path, kernel: &Path, initrd: &Path) -> Command {
    let mut command = Command::new(qemu);
    command.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-nic", "none", "-display", "none"]);
    command.args(["-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
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

fn steps(guest: &mut Guest, modules: &[PathBuf]) -> Result<u32> {
    let mut steps = Steps { passed: 0, began: Instant::now() };
    guest.wait_for("GUEST READY", LIMIT)?;
    let kernel = guest.check("uname -mr")?;
    ensure!(kernel.ends_with("aarch64"), "the guest says it is {kernel}");
    steps.pass(&format!("boots Linux {kernel}"));

    let report = doctor(guest)?;
    ensure!(status(&report, "camera") == Some("warn"), "doctor without a camera: {report}");
    steps.pass("doctor misses the camera");

    for module in modules {
        let name = module.file_name().context("a module without a name")?.to_string_lossy();
        guest.check(&format!("insmod /modules/{name}"))?;
    }
    guest.until("the camera", "[ -c /dev/video0 ]", LIMIT)?;
    let report = doctor(guest)?;
    ensure!(status(&report, "camera") == Some("ok"), "doctor with a camera: {report}");
    steps.pass("loads the virtual camera, and doctor finds it");

    let options = "--model /model.onnx --camera /dev/video0 --fps 10 --no-compare --battery-mwh 100000";
    guest.check(&format!("supervise {options} >/dev/null 2>&1 &"))?;
    frames(guest, 5)?;
    let frame = last(guest, "frame")?;
    ensure!(frame["class"].is_u64() && frame["confidence"].is_f64(), "a frame's result is {frame}");
    steps.pass(&format!("classifies frames of /dev/video0: {frame}"));

    guest.check("echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind")?;
    guest.until("the loss of the camera", "grep -q '\"connected\":false' /data/results.jsonl", LIMIT)?;
    let loss = last(guest, "camera")?;
    let before = guest.check("cat /data/pid")?;
    guest.until("unloading the camera's module", "rmmod vivid", LIMIT)?;
    guest.check("sleep 2; insmod /modules/vivid.ko")?;
    guest.until("the camera's return", "grep -q '\"connected\":true' /data/results.jsonl", LIMIT)?;
    frames(guest, 3)?;
    ensure!(guest.check("cat /data/pid")? == before, "the loop was started again instead of living on");
    steps.pass(&format!("survives the camera's module being unloaded and loaded: {}", loss["message"]));

    guest.check("kill -9 $(cat /data/pid)")?;
    guest.until("a new process", &format!("[ $(cat /data/pid) != {before} ]"), LIMIT)?;
    frames(guest, 3)?;
    steps.pass("is started again after it was killed");

    guest.check("touch /data/stop; kill -TERM $(cat /data/pid)")?;
    guest.until("the summary", "grep -q '\"kind\":\"summary\"' /data/results.jsonl", LIMIT)?;
    let summary = last(guest, "summary")?;
    ensure!(summary["ended"] == "interrupted", "the summary is {summary}");
    steps.pass(&format!("ends on request, {} frames classified, {} dropped", summary["frames"], summary["dropped"]));

    guest.power_off("sync; poweroff -f", LIMIT)?;
    steps.pass("powers off");
    Ok(steps.passed)
}

/// Waits until `count` more frames have been classified.
fn frames(guest: &mut Guest, count: u32) -> Result<()> {
    const COUNT: &str = "grep -c '\"kind\":\"frame\"' /data/results.jsonl";
    let (now, _) = guest.run(COUNT, LIMIT)?;
    let now: u32 = now.trim().parse().unwrap_or(0);
    let enough = format!("[ $({COUNT}) -ge {} ]", now + count);
    let result = guest.until("frames", &enough, LIMIT);
    if result.is_err() {
        eprintln!("the loop says: {}", guest.check("cat /data/log; tail -n 3 /data/results.jsonl")?);
    }
    result.map(drop)
}

/// The last record of a kind.
fn last(guest: &mut Guest, kind: &str) -> Result<Value> {
    let line = guest.check(&format!("grep '\"kind\":\"{kind}\"' /data/results.jsonl | tail -n 1"))?;
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

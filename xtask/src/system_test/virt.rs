//! The loop's whole life on `-M virt`: a camera that comes, goes and comes back, a kill, a stop, and a second start.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::{LIMIT, RESULTS, Steps, Test, booted, doctor, frames, last, load, on_guest, power_off, status};
use crate::guest::Guest;
use crate::{image, work_folder};

/// Options of the loop, as a person would write them into the card's file.
const OPTIONS: &str =
    "OPTIONS='--model /usr/share/model.onnx --camera /dev/video0 --fps 10 --no-compare --battery-wh 100'\n";

pub(super) fn run(test: &mut Test<'_>) -> Result<()> {
    let card = work_folder("system-test")?.join("virt.img");
    let parts = image::make("qemu-virt", &card, test.program, test.model, OPTIONS)?;
    for boot in [first_boot, second_boot] {
        let mut machine = machine(test.qemu, &parts, &card);
        machine.args(["-smp", "2"]);
        on_guest(machine, &mut test.log, |guest| boot(guest, &parts, &mut test.steps))?;
    }
    Ok(())
}

pub(super) fn machine(qemu: &Path, parts: &image::Parts, card: &Path) -> Command {
    let mut command = Command::new(qemu);
    command.args(["-M", "virt", "-cpu", "cortex-a72", "-m", "1024", "-nic", "none", "-display", "none"]);
    command.args(["-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(&parts.kernel).arg("-initrd").arg(&parts.initrd);
    command.arg("-drive").arg(format!("file={},format=raw,if=virtio", card.display()));
    command.arg("-append").arg(format!("console=ttyAMA0 {} panic=-1", parts.command_line));
    command
}

fn first_boot(guest: &mut Guest, parts: &image::Parts, steps: &mut Steps) -> Result<()> {
    let kernel = booted(guest)?;
    steps.pass(&format!("virt boots Linux {kernel} from the card"));

    let report = doctor(guest)?;
    ensure!(status(&report, "camera") == Some("warn"), "doctor without a camera: {report}");
    guest.until("a word about the missing camera", "grep -q /dev/video0 /tmp/log", LIMIT)?;
    steps.pass("doctor and the loop miss the camera");

    load(guest, &parts.spare)?;
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

    power_off(guest)?;
    steps.pass("powers off");
    Ok(())
}

fn second_boot(guest: &mut Guest, _: &image::Parts, steps: &mut Steps) -> Result<()> {
    booted(guest)?;
    let kept = guest.check(&format!("grep -c '\"kind\":\"frame\"' {RESULTS}"))?;
    power_off(guest)?;
    steps.pass(&format!("a second start finds the results of {kept} frames on the card, and powers off"));
    Ok(())
}

//! The card of a Raspberry Pi 3 on `-M raspi3b`, with a chip on its I2C bus that is given the registers of a MAX17048.
//!
//! The emulated machine has the board's own controllers: SD host, I2C, serial port and watchdog are driven by the drivers
//! that drive the board. Its chip is a 256-byte memory, which answers reads of registers as a gauge does; what the gauge
//! would measure is written into it from the guest. `raspi4b` cannot be taken: the voltage of its card is switched by a
//! GPIO line of the firmware, which QEMU 10.0 does not have, so the kernel finds no card.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{LIMIT, RESULTS, Steps, Test, booted, doctor, frames, last, load, on_guest, power_off, status};
use crate::guest::Guest;
use crate::{image, work_folder};

const OPTIONS: &str = "OPTIONS='--model /usr/share/model.onnx --camera /dev/video0 --fps 10 --no-compare \
                       --gauge max17048:/dev/i2c-1'\n";
/// The gauge's fixed address.
const ADDRESS: u8 = 0x36;
/// Registers, of two bytes with the high one first: voltage, state of charge, rate.
const VCELL: u8 = 0x02;
const SOC: u8 = 0x04;
const CRATE: u8 = 0x16;

pub(super) fn run(test: &mut Test<'_>) -> Result<()> {
    let card = work_folder("system-test")?.join("raspberry-pi-3.img");
    let parts = image::make("raspberry-pi-3", &card, test.program, test.model, OPTIONS)?;
    let machine = machine(test.qemu, &parts, &card)?;
    on_guest(machine, &mut test.log, |guest| boot(guest, &parts, &mut test.steps))
}

fn machine(qemu: &Path, parts: &image::Parts, card: &Path) -> Result<Command> {
    let mut command = Command::new(qemu);
    command.args(["-M", "raspi3b", "-display", "none", "-monitor", "none", "-no-reboot"]);
    // The first port is the Bluetooth chip's, as on the board; the console is on the second.
    command.args(["-serial", "null", "-serial", "stdio"]);
    command.arg("-kernel").arg(&parts.kernel).arg("-initrd").arg(&parts.initrd);
    // The firmware would choose the device tree.
    command.arg("-dtb").arg(parts.device_trees.first().context("an image without a device tree")?);
    command.arg("-drive").arg(format!("file={},format=raw,if=sd", card.display()));
    command.arg("-device").arg(format!("at24c-eeprom,bus=i2c-bus.1,address={ADDRESS:#x},rom-size=256"));
    command.arg("-append").arg(format!("console=ttyS1,115200 {} panic=-1", parts.command_line));
    Ok(command)
}

fn boot(guest: &mut Guest, parts: &image::Parts, steps: &mut Steps) -> Result<()> {
    let kernel = booted(guest)?;
    steps.pass(&format!("raspi3b boots Linux {kernel} from the card"));

    let report = doctor(guest)?;
    ensure!(report["detected"] == "raspberry-pi-3", "doctor on a Raspberry Pi 3: {report}");
    ensure!(status(&report, "i2c") == Some("ok"), "doctor with an I2C bus: {report}");
    steps.pass(&format!("doctor knows the board by its device tree, {}, and finds its I2C bus", report["model"]));

    load(guest, &parts.spare)?;
    frames(guest, 1)?;
    let uptime = guest.check("cut -d ' ' -f 1 /proc/uptime")?;
    let frame = last(guest, "frame")?;
    ensure!(frame["class"].is_u64() && frame["confidence"].is_f64(), "a frame's result is {frame}");
    steps.pass(&format!("the first frame is classified, {uptime} s after the start of the kernel"));

    ensure!(frame["point"] == 0, "an unset gauge, of 0 V, must not be believed: {frame}");
    steps.pass("a gauge that says nonsense is answered with the cheapest operating point");

    // The voltage's high byte comes last: until then nothing is believed.
    for (register, value) in [(SOC, 90 << 8), (CRATE, 0xffb0), (VCELL, 0xc000)] {
        write(guest, register, value)?;
    }
    let full = follows(guest, 0.9)?;
    let mut point = full["point"].as_u64().context("no operating point")?;
    ensure!(point > 0, "the cheapest operating point at 90 %: {full}");
    steps.pass(&format!("the gauge is read: 90 % of charge, operating point {point}"));

    for (percent, soc) in [(35, 0.35), (4, 0.04)] {
        write(guest, SOC, percent << 8)?;
        let lower = follows(guest, soc)?["point"].as_u64().context("no operating point")?;
        ensure!(lower < point, "operating point {lower} at {percent} % instead of one below {point}");
        steps.pass(&format!("the chip falls to {percent} %: operating point {point} becomes {lower}"));
        point = lower;
    }
    ensure!(point == 0, "operating point {point} with the battery nearly empty");

    power_off(guest)?;
    steps.pass("powers off through the board's watchdog");
    Ok(())
}

/// Gives one of the chip's registers a value, low byte first.
fn write(guest: &mut Guest, register: u8, value: u16) -> Result<()> {
    let [high, low] = value.to_be_bytes();
    for (register, byte) in [(register + 1, low), (register, high)] {
        guest.check(&format!("i2cset -y 1 {ADDRESS:#x} {register:#x} {byte:#x}"))?;
    }
    Ok(())
}

/// Waits for a frame that was classified at this state of charge, and returns its record.
fn follows(guest: &mut Guest, soc: f64) -> Result<Value> {
    let near = format!("\"soc\":{soc}");
    guest.until(&near, &format!("grep '\"kind\":\"frame\"' {RESULTS} | tail -n 1 | grep -q '{near}'"), LIMIT)?;
    // The point may follow within a few frames.
    frames(guest, 3)?;
    let frame = last(guest, "frame")?;
    ensure!(frame["soc"].as_f64().is_some_and(|read| (read - soc).abs() < 1e-3), "at {soc}: {frame}");
    Ok(frame)
}

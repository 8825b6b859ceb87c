//! What is looked at.

use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;

use dyn_perceiver_host::{Board, State, System, savers};
use serde::Serialize;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// The loop runs, but worse than it could.
    Warn,
    /// The loop cannot run or cannot be trusted.
    Fail,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Check {
    pub check: &'static str,
    pub status: Status,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub fix: Option<String>,
}

pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Check {
    Check { check, status: Status::Ok, found: found.into(), fix: None }
}

pub(super) fn bad(check: &'static str, status: Status, found: impl Into<String>, fix: impl Into<String>) -> Check {
    Check { check, status, found: found.into(), fix: Some(fix.into()) }
}

/// Every check, in the order in which a person would go about it.
pub(super) fn all(system: &System, board: &Board, detected: Option<&Board>, state: &State) -> Vec<Check> {
    let mut checks = vec![identity(system, board, detected), memory(system)];
    checks.extend(governor(state));
    checks.extend(temperature(board, state));
    checks.extend(supply(board, state));
    checks.push(camera(system, board));
    checks.push(i2c(system, board));
    checks.push(battery(system));
    checks.extend(rails(system, board));
    checks.extend(saving(system));
    checks
}

fn identity(system: &System, board: &Board, detected: Option<&Board>) -> Check {
    let told = system.model().unwrap_or_else(|| "no device tree".into());
    match detected {
        Some(detected) if detected.id == board.id => ok("board", format!("{} ({told})", board.name)),
        Some(detected) => bad(
            "board",
            Status::Warn,
            format!("taken for {}, but the device tree says {told}", board.name),
            format!("leave out --board, or use --board {}", detected.id),
        ),
        None if board.compatible.is_empty() => bad(
            "board",
            Status::Warn,
            format!("{}: {told}", board.name),
            "power figures are not known: give watts to `run`, or name a board with --board (see --list)",
        ),
        None => ok("board", format!("taken for {} ({told})", board.name)),
    }
}

fn memory(system: &System) -> Check {
    /// The loop's resident memory with the shipped model, with room to spare.
    const NEEDED: u64 = 128 << 20;
    let Some((total, available)) = system.memory() else {
        return bad("memory", Status::Warn, "the kernel does not tell", "mount /proc");
    };
    let found = format!("{} MiB, {} MiB available", total >> 20, available >> 20);
    if available < NEEDED {
        let fix = format!("stop other programs: {} MiB should be available", NEEDED >> 20);
        return bad("memory", Status::Warn, found, fix);
    }
    ok("memory", found)
}

fn governor(state: &State) -> Option<Check> {
    let core = state.cores.first()?;
    let governor = core.governor.clone().unwrap_or_default();
    let clocks: Vec<_> = state.cores.iter().map(|core| format!("{:.0}", core.mhz)).collect();
    let found = format!("{} MHz, governor {governor}", clocks.join(", "));
    let lowered = state.cores.iter().any(|core| core.limit_mhz < core.max_mhz);
    Some(if lowered {
        let fix = "the highest clock is limited; see scaling_max_freq below /sys/devices/system/cpu/cpu0/cpufreq";
        bad("clock", Status::Warn, found, fix)
    } else if governor == "powersave" && state.cores.iter().all(|core| Some(core.mhz) < core.max_mhz) {
        let fix =
            "for short latencies: echo schedutil | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
        bad("clock", Status::Warn, found, fix)
    } else {
        ok("clock", found)
    })
}

fn temperature(board: &Board, state: &State) -> Option<Check> {
    /// Degrees below the limit from which on it is worth a word.
    const MARGIN: f64 = 10.0;
    let celsius = state.celsius?;
    let found = format!("{celsius:.1} degrees Celsius");
    let limit = board.thermal.throttle_celsius.as_ref().map(|figure| figure.value);
    Some(match limit {
        Some(limit) if celsius >= limit => bad(
            "temperature",
            Status::Fail,
            format!("{found}, the clock is lowered from {limit} on"),
            "cool the processor",
        ),
        Some(limit) if celsius >= limit - MARGIN => bad(
            "temperature",
            Status::Warn,
            format!("{found}, close to the {limit} at which the clock is lowered"),
            "a heat sink or fan keeps the clock up",
        ),
        _ => ok("temperature", found),
    })
}

fn supply(board: &Board, state: &State) -> Option<Check> {
    if !board.id.starts_with("raspberry-pi") {
        return None;
    }
    let Some(throttled) = state.throttled else {
        let fix = "needs the Raspberry Pi kernel; `vcgencmd get_throttled` tells the same";
        return Some(bad("supply", Status::Warn, "the firmware's throttle flags cannot be read", fix));
    };
    let fix = "use the board's own power supply and a short cable, and cool the processor";
    let (now, before) = (throttled.now(), throttled.since_start());
    Some(if !now.is_empty() {
        bad("supply", Status::Fail, now.join(", "), fix)
    } else if !before.is_empty() {
        bad("supply", Status::Warn, format!("since the start: {}", before.join(", ")), fix)
    } else {
        ok("supply", "no throttling since the start")
    })
}

fn camera(system: &System, board: &Board) -> Check {
    let devices = system.devices("video");
    let command = board.camera.command.as_deref();
    if devices.is_empty() {
        let csi = command.map_or(String::new(), |command| {
            let format = board.camera.command_format.as_deref().unwrap_or_default();
            format!("; a CSI camera is read by --camera 'command:{command}' --camera-format {format}")
        });
        return bad("camera", Status::Warn, "no /dev/video*", format!("plug in a USB camera{csi}"));
    }
    for device in &devices {
        match OpenOptions::new().read(true).write(true).open(system.path(device)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let fix = "sudo usermod -aG video $USER, then log in again";
                return bad("camera", Status::Fail, format!("{device}: {error}"), fix);
            }
            _ => {}
        }
    }
    if !system.is_running() {
        return ok("camera", devices.join(", "));
    }
    let able: Vec<String> = devices.iter().filter_map(|device| offers(device)).collect();
    if able.is_empty() {
        let found = format!("{}: none yields frames in a format that can be read", devices.join(", "));
        return bad("camera", Status::Warn, found, "plug in a USB camera, or use --camera 'command:...'");
    }
    ok("camera", able.join("; "))
}

/// The camera's name and the formats it offers that can be read; `None` where there are none.
#[cfg(all(feature = "v4l", target_os = "linux"))]
fn offers(device: &str) -> Option<String> {
    use dyn_perceiver::camera::{CaptureDevice as _, V4lDevice};

    let mut camera = V4lDevice::open(device).ok()?;
    let (card, driver) = camera.card().ok()?;
    let offers: Vec<String> =
        camera.offers().ok()?.iter().filter(|offer| offer.format.is_some()).map(ToString::to_string).collect();
    (!offers.is_empty()).then(|| format!("{device} {card} ({driver}): {}", offers.join(", ")))
}

#[cfg(not(all(feature = "v4l", target_os = "linux")))]
fn offers(_: &str) -> Option<String> {
    None
}

fn i2c(system: &System, board: &Board) -> Check {
    let buses = system.devices("i2c-");
    if !buses.contains(&board.i2c.bus) {
        let others = if buses.is_empty() { "no /dev/i2c-*".into() } else { format!("only {}", buses.join(", ")) };
        let found = format!("no {}: {others}", board.i2c.bus);
        return bad("i2c", Status::Warn, found, format!("for a fuel gauge on a HAT: {}", board.i2c.enable));
    }
    match OpenOptions::new().read(true).write(true).open(system.path(&board.i2c.bus)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let fix = "sudo usermod -aG i2c $USER, then log in again";
            bad("i2c", Status::Fail, format!("{}: {error}", board.i2c.bus), fix)
        }
        Err(error) => bad("i2c", Status::Warn, format!("{}: {error}", board.i2c.bus), "see the kernel's log"),
        Ok(_) => ok("i2c", buses.join(", ")),
    }
}

fn battery(system: &System) -> Check {
    let folder = "/sys/class/power_supply";
    let (mut packs, mut beside) = (vec![], vec![]);
    for name in system.names(folder) {
        let file = |file: &str| format!("{folder}/{name}/{file}");
        let Some(percent) = system.number(&file("capacity")) else { continue };
        // A mouse's battery does not carry the board, and an empty place none at all.
        let of_device = system.read(&file("scope")).is_some_and(|scope| scope.trim() == "Device");
        let absent = system.number(&file("present")) == Some(0.0);
        if of_device || absent { beside.push(name) } else { packs.push(format!("{name} {percent} %")) }
    }
    if packs.is_empty() {
        let fix = "without a gauge `run` counts the joules it models; a gauge on I2C is named to `run`";
        let found = match &beside[..] {
            [] => "the kernel knows no battery".to_owned(),
            names => format!("none of the board: {} belongs to a device beside it or is not present", names.join(", ")),
        };
        return bad("battery", Status::Warn, found, fix);
    }
    ok("battery", packs.join(", "))
}

/// What draws power that a camera loop does not need; nothing to say where nothing can be switched off.
fn saving(system: &System) -> Option<Check> {
    let savers = savers(system);
    let on: Vec<&str> = savers.iter().filter(|saver| !saver.is_saving()).map(|saver| saver.what.as_str()).collect();
    match (savers.is_empty(), on.is_empty()) {
        (true, _) => None,
        (false, true) => Some(ok("saving", "all that a camera loop does not need is switched off")),
        (false, false) => Some(bad(
            "saving",
            Status::Warn,
            format!("on and not needed by a camera loop: {}", on.join(", ")),
            "`run --save-power` switches them off while it runs",
        )),
    }
}

fn rails(system: &System, board: &Board) -> Option<Check> {
    if board.rails.is_empty() {
        return None;
    }
    let rails = dyn_perceiver_jetson::rails(system);
    if rails.is_empty() {
        let labels = board.rails.iter().map(|rail| rail.label.as_str()).collect::<Vec<_>>().join(", ");
        let fix = "load the kernel module ina3221, and read it as a user that may";
        return Some(bad("rails", Status::Warn, format!("cannot read {labels}"), fix));
    }
    let found: Vec<String> = rails.iter().map(|rail| format!("{} {:.2} W", rail.label, rail.watts())).collect();
    Some(ok("rails", found.join(", ")))
}

//! Switching off what a camera loop does not need, and putting it back: HDMI, LEDs, USB devices and radio that may sleep; and
//! radios altogether.

use std::io;
use std::path::PathBuf;

use crate::System;

/// A file of the kernel that lets something draw less.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saver {
    /// What it is, in words.
    pub what: String,
    /// The file, below the system's root.
    pub path: PathBuf,
    /// What stands in it now, in the form in which it can be written back.
    pub now: String,
    /// What is written to save power.
    pub saving: &'static str,
}

impl Saver {
    /// Whether it saves power already.
    #[must_use]
    pub fn is_saving(&self) -> bool {
        self.now == self.saving
    }
}

/// All that the system can switch off, whether or not it is.
///
/// - HDMI outputs (`/sys/class/drm/*HDMI*/status`): a camera shows nothing
/// - LEDs of the board (`/sys/class/leds`): trigger and brightness
/// - runtime power management of USB devices and radios (`power/control`): what is in use is not suspended
#[must_use]
pub fn savers(system: &System) -> Vec<Saver> {
    let mut savers = Vec::new();
    let mut add = |what: String, path: String, saving: &'static str, now: fn(&str) -> String| {
        if let Some(text) = system.read(&path) {
            savers.push(Saver { what, path: system.path(&path), now: now(text.trim()), saving });
        }
    };
    for name in system.names("/sys/class/drm").iter().filter(|name| name.contains("HDMI")) {
        // What is read is whether a screen is there; what is written is whether to look for one.
        add(format!("HDMI output {name}"), format!("/sys/class/drm/{name}/status"), "off", |status| match status {
            "off" => "off".to_owned(),
            _ => "detect".to_owned(),
        });
    }
    for name in system.names("/sys/class/leds").iter().filter(|name| is_of_board(name)) {
        add(format!("LED {name}"), format!("/sys/class/leds/{name}/trigger"), "none", chosen);
        add(format!("LED {name}, brightness"), format!("/sys/class/leds/{name}/brightness"), "0", str::to_owned);
    }
    for name in system.names("/sys/bus/usb/devices").iter().filter(|name| !name.contains(':')) {
        let path = format!("/sys/bus/usb/devices/{name}/power/control");
        add(format!("USB device {name}"), path, "auto", str::to_owned);
    }
    for name in system.names("/sys/class/net") {
        if system.path(&format!("/sys/class/net/{name}/phy80211")).exists() {
            let path = format!("/sys/class/net/{name}/device/power/control");
            add(format!("radio {name}"), path, "auto", str::to_owned);
        }
    }
    savers
}

/// The radios that the kernel can block, Wi-Fi and Bluetooth among them: `soft` in the folders of `/sys/class/rfkill`.
///
/// What a switch of the board blocks is not on, and stays as it is.
#[must_use]
pub fn radios(system: &System) -> Vec<Saver> {
    let radio = |folder: &String| {
        let read = |file: &str| system.read(&format!("/sys/class/rfkill/{folder}/{file}"));
        let (now, kind) = (read("soft")?.trim().to_owned(), read("type")?);
        let name = read("name").filter(|name| !name.is_empty()).unwrap_or_else(|| folder.clone());
        let path = system.path(&format!("/sys/class/rfkill/{folder}/soft"));
        Some(Saver { what: format!("radio {name} ({})", kind.trim()), path, now, saving: "1" })
    };
    system.names("/sys/class/rfkill").iter().filter_map(radio).collect()
}

/// Whether an LED is one of the board's own, and not of a keyboard or a network plug.
fn is_of_board(name: &str) -> bool {
    ["ACT", "PWR", "led0", "led1", "default-on", "mmc0", "pwr"].iter().any(|known| name.starts_with(known))
}

/// The trigger in force: the kernel lists all, and that one in brackets.
fn chosen(triggers: &str) -> String {
    let inside = triggers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or_else(|| triggers.to_owned(), |(trigger, _)| trigger.to_owned())
}

/// What was switched off, put back when this is dropped.
#[derive(Debug, Default)]
pub struct Saving {
    changed: Vec<Saver>,
}

impl Saving {
    /// Switches off what can be, and says what could not.
    #[must_use]
    pub fn start(system: &System) -> (Self, Vec<(Saver, io::Error)>) {
        Self::of(savers(system))
    }

    /// The same for these, in their order.
    #[must_use]
    pub fn of(savers: Vec<Saver>) -> (Self, Vec<(Saver, io::Error)>) {
        let (mut changed, mut failed) = (Vec::new(), Vec::new());
        for saver in savers.into_iter().filter(|saver| !saver.is_saving()) {
            match std::fs::write(&saver.path, saver.saving) {
                Ok(()) => changed.push(saver),
                Err(error) => failed.push((saver, error)),
            }
        }
        (Self { changed }, failed)
    }

    /// What was switched off.
    #[must_use]
    pub fn changed(&self) -> &[Saver] {
        &self.changed
    }

    /// Puts everything back, last things first, and says what could not be.
    pub fn restore(&mut self) -> Vec<(Saver, io::Error)> {
        let back = |saver: Saver| std::fs::write(&saver.path, &saver.now).err().map(|error| (saver, error));
        std::mem::take(&mut self.changed).into_iter().rev().filter_map(back).collect()
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    const BOARD: &[(&str, &[u8])] = &[
        ("/sys/class/drm/card1-HDMI-A-1/status", b"connected\n"),
        ("/sys/class/drm/card1/dev", b"226:1\n"),
        ("/sys/class/leds/ACT/trigger", b"none kbd-scrolllock [mmc0] timer\n"),
        ("/sys/class/leds/ACT/brightness", b"255\n"),
        ("/sys/class/leds/input3::capslock/brightness", b"1\n"),
        ("/sys/bus/usb/devices/1-1/power/control", b"on\n"),
        ("/sys/bus/usb/devices/1-1:1.0/power/control", b"on\n"),
        ("/sys/bus/usb/devices/usb1/power/control", b"auto\n"),
        ("/sys/class/net/wlan0/phy80211/index", b"0\n"),
        ("/sys/class/net/wlan0/device/power/control", b"on\n"),
        ("/sys/class/net/eth0/device/power/control", b"on\n"),
    ];

    const CHANGED: [(&str, &str, &str); 5] = [
        ("/sys/class/drm/card1-HDMI-A-1/status", "off", "detect"),
        ("/sys/class/leds/ACT/trigger", "none", "mmc0"),
        ("/sys/class/leds/ACT/brightness", "0", "255"),
        ("/sys/bus/usb/devices/1-1/power/control", "auto", "on"),
        ("/sys/class/net/wlan0/device/power/control", "auto", "on"),
    ];

    #[test]
    fn what_is_not_needed_is_switched_off_and_put_back() {
        let folder = tree(BOARD);
        let system = System::at(folder.path());
        let read = |path: &str| std::fs::read_to_string(system.path(path)).unwrap();
        {
            let (saving, failed) = Saving::start(&system);
            assert!(failed.is_empty());
            assert_eq!(saving.changed().len(), CHANGED.len());
            for (path, saved, _) in CHANGED {
                assert_eq!(read(path), saved, "{path}");
            }
            assert!(savers(&system).iter().filter(|saver| !saver.what.contains("HDMI")).all(Saver::is_saving));
        }
        for (path, _, before) in CHANGED {
            assert_eq!(read(path), before, "{path}");
        }
        // What belongs to somebody else stays as it is.
        assert_eq!(read("/sys/class/leds/input3::capslock/brightness"), "1\n");
        assert_eq!(read("/sys/class/net/eth0/device/power/control"), "on\n");
        assert_eq!(read("/sys/bus/usb/devices/1-1:1.0/power/control"), "on\n");
    }

    #[test]
    fn radios_are_blocked_and_those_that_were_on_are_on_again() {
        let folder = tree(&[
            ("/sys/class/rfkill/rfkill0/type", b"wlan\n"),
            ("/sys/class/rfkill/rfkill0/name", b"phy0\n"),
            ("/sys/class/rfkill/rfkill0/soft", b"0\n"),
            ("/sys/class/rfkill/rfkill1/type", b"bluetooth\n"),
            ("/sys/class/rfkill/rfkill1/soft", b"1\n"),
        ]);
        let system = System::at(folder.path());
        let soft = || [0, 1].map(|n| system.read(&format!("/sys/class/rfkill/rfkill{n}/soft")).unwrap());
        let (mut saving, failed) = Saving::of(radios(&system));
        assert!(failed.is_empty());
        assert_eq!(saving.changed().iter().map(|radio| radio.what.as_str()).collect::<Vec<_>>(), ["radio phy0 (wlan)"]);
        assert_eq!(soft(), ["1", "1"]);
        assert!(saving.restore().is_empty());
        assert_eq!(soft(), ["0", "1"], "what was off before stays off");
        // Without being asked for nobody is cut off.
        drop(Saving::start(&system));
        assert!(savers(&system).iter().all(|saver| !saver.what.contains("radio")));
    }

    #[test]
    fn a_system_with_nothing_to_switch_off_is_left_alone() {
        let folder = tree(&[("/sys/class/leds/ACT/trigger", b"[none] mmc0\n")]);
        let (mut saving, failed) = Saving::start(&System::at(folder.path()));
        assert!(saving.changed().is_empty() && failed.is_empty() && saving.restore().is_empty());
    }
}

//! The alarm of a board's clock, which switches a halted board on again.

use std::io;
use std::time::Duration;

use crate::System;

/// Where the kernel has its clocks.
const CLOCKS: &str = "/sys/class/rtc";

/// A clock that can wake the board. The Raspberry Pi 5 has one; others get it with a module, such as a DS3231 whose interrupt is
/// wired to what switches the supply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeAlarm {
    path: String,
}

impl WakeAlarm {
    /// The first clock of the system that has an alarm.
    #[must_use]
    pub fn of(system: &System) -> Option<Self> {
        let path = |name: &String| format!("{CLOCKS}/{name}/wakealarm");
        let mut paths = system.names(CLOCKS).iter().map(path).collect::<Vec<_>>().into_iter();
        paths.find(|path| system.path(path).exists()).map(|path| Self { path })
    }

    /// Wakes the board so long from now. An alarm that was set before is forgotten: the kernel refuses a second one.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, system: &System, after: Duration) -> io::Result<()> {
        self.clear(system)?;
        std::fs::write(system.path(&self.path), format!("+{}", after.as_secs().max(1)))
    }

    /// Forgets an alarm that was set.
    ///
    /// # Errors
    /// What the system says.
    pub fn clear(&self, system: &System) -> io::Result<()> {
        std::fs::write(system.path(&self.path), "0")
    }
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    #[test]
    fn the_first_clock_with_an_alarm_is_set() {
        let folder = tree(&[("/sys/class/rtc/rtc0/name", b"dumb"), ("/sys/class/rtc/rtc1/wakealarm", b"")]);
        let system = System::at(folder.path());
        let alarm = WakeAlarm::of(&system).unwrap();
        alarm.set(&system, Duration::from_secs(600)).unwrap();
        assert_eq!(system.read("/sys/class/rtc/rtc1/wakealarm").as_deref(), Some("+600"));
        assert_eq!(WakeAlarm::of(&System::at("/nonexistent")), None);
    }
}

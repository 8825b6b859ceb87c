//! A board that sleeps between frames, its memory kept, until the alarm of its clock wakes it.

use std::io;
use std::time::{Duration, Instant};

use crate::{System, WakeAlarm};

/// Where the kernel is told to suspend, and what suspending to memory is called there.
const STATE: &str = "/sys/power/state";
const TO_MEMORY: &str = "mem";
/// Seconds since the start, those asleep counted.
const UPTIME: &str = "/proc/uptime";

/// How a board is suspended. Jetsons can be; of the Raspberry Pis none can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspend {
    alarm: WakeAlarm,
}

impl Suspend {
    /// How long before the alarm rings a board has to be awake again at least: alarms ring at full seconds.
    pub const SHORTEST: Duration = Duration::from_secs(1);

    /// The system's way to suspend to memory, if it has one and a clock whose alarm ends it.
    #[must_use]
    pub fn of(system: &System) -> Option<Self> {
        let states = system.read(STATE)?;
        let alarm = WakeAlarm::of(system)?;
        states.split_whitespace().any(|state| state == TO_MEMORY).then_some(Self { alarm })
    }

    /// Suspends the board for at most so long, down to full seconds, and returns once it is awake, with the time that it was
    /// asleep: no time at all where something kept it awake. [`Instant`] does not count that time.
    ///
    /// # Errors
    /// What the system says; the board is awake then.
    pub fn sleep(&self, system: &System, time: Duration) -> io::Result<Duration> {
        // The call returns when the board is awake again.
        self.sleep_by(system, time, || std::fs::write(system.path(STATE), TO_MEMORY))
    }

    fn sleep_by(
        &self,
        system: &System,
        time: Duration,
        suspend: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<Duration> {
        if time < Self::SHORTEST {
            return Ok(Duration::ZERO);
        }
        // Before anything is set: where it cannot be read, no alarm is left to ring.
        let (began, awake) = (uptime(system)?, Instant::now());
        self.alarm.set(system, time)?;
        let slept = suspend();
        // What ended the sleep may not have been the alarm, which must not ring later.
        let cleared = self.alarm.clear(system);
        slept.and(cleared)?;
        Ok(uptime(system)?.saturating_sub(began).saturating_sub(awake.elapsed()))
    }
}

fn uptime(system: &System) -> io::Result<Duration> {
    let text = std::fs::read_to_string(system.path(UPTIME))?;
    let seconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{UPTIME}: `{}`", text.trim())))
}

#[cfg(test)]
mod tests {
    use board_tree::tree;

    use super::*;

    const ALARM: &str = "/sys/class/rtc/rtc0/wakealarm";

    #[test]
    fn a_board_sleeps_until_its_alarm_and_tells_how_long() {
        let folder = tree(&[(STATE, b"freeze mem\n"), (ALARM, b""), (UPTIME, b"100.00 1.00\n")]);
        let system = System::at(folder.path());
        let suspend = Suspend::of(&system).unwrap();
        let mut alarm = None;
        let asleep = suspend.sleep_by(&system, Duration::from_millis(30_900), || {
            alarm = system.read(ALARM);
            std::fs::write(system.path(UPTIME), "130.50 1.00\n")
        });
        let asleep = asleep.unwrap();
        assert_eq!(alarm.as_deref(), Some("+30"));
        // The rest of the time it was awake, here or on its way to sleep.
        assert!(asleep > Duration::from_secs(20) && asleep <= Duration::from_millis(30_500), "{asleep:?}");
        assert_eq!(system.read(ALARM).as_deref(), Some("0"), "an alarm was left");
        // The kernel's own file is written.
        suspend.sleep(&system, Duration::from_secs(2)).unwrap();
        assert_eq!(system.read(STATE).as_deref(), Some(TO_MEMORY));
        let refused = suspend.sleep_by(&system, Duration::from_secs(2), || Err(io::ErrorKind::ResourceBusy.into()));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(system.read(ALARM).as_deref(), Some("0"), "an alarm was left");
    }

    #[test]
    fn what_cannot_be_suspended_or_woken_has_no_way_to_sleep() {
        let without_memory = tree(&[(STATE, b"freeze\n"), (ALARM, b"")]);
        let without_alarm = tree(&[(STATE, b"freeze mem\n")]);
        for folder in [&without_memory, &without_alarm] {
            assert_eq!(Suspend::of(&System::at(folder.path())), None);
        }
    }

    #[test]
    fn a_board_that_is_kept_awake_has_not_slept_and_short_times_are_left_alone() {
        let folder = tree(&[(STATE, b"mem\n"), (ALARM, b""), (UPTIME, b"100.00 1.00\n")]);
        let system = System::at(folder.path());
        let suspend = Suspend::of(&system).unwrap();
        assert_eq!(suspend.sleep(&system, Duration::from_millis(900)).unwrap(), Duration::ZERO);
        assert_eq!(system.read(ALARM).as_deref(), Some(""));
        assert_eq!(suspend.sleep(&system, Duration::from_secs(5)).unwrap(), Duration::ZERO);
        std::fs::write(system.path(UPTIME), "soon").unwrap();
        std::fs::write(system.path(ALARM), "").unwrap();
        assert!(suspend.sleep(&system, Duration::from_secs(5)).unwrap_err().to_string().contains("soon"));
        assert_eq!(system.read(ALARM).as_deref(), Some(""), "an alarm was set");
    }
}

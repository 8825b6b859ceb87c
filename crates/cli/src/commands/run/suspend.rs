//! Sleeping between frames: the board is suspended, and the alarm of its clock wakes it for the next one.

use std::time::Duration;

use dyn_perceiver::energy::PowerModel;
use dyn_perceiver_host::{Suspend, System};

use crate::args::watts::Watts;
use crate::output::failure::{Failure, OrInput as _, chain, wrong};
use crate::output::message;

/// So long before a frame the board is awake again: a camera has to give new frames first, those from before are old.
const AWAKE: Duration = Duration::from_secs(1);
/// Pauses from which on suspending is worth its way there and back.
const SHORTEST: Duration = Duration::from_secs(5);

/// A board that sleeps between frames.
#[derive(Debug)]
pub(super) struct Sleeper {
    system: System,
    suspend: Suspend,
    /// Whether somebody was told that it fails.
    told: bool,
}

impl Sleeper {
    /// Of a loop whose frames are so far apart at least.
    ///
    /// # Errors
    /// Where the board cannot be suspended, or the pauses are too short for it.
    pub(super) fn new(system: System, shortest: Duration) -> Result<Self, Failure> {
        let Some(suspend) = Suspend::of(&system) else {
            return wrong(
                "--suspend: this board cannot be suspended to memory and woken by its clock (`mem` in /sys/power/state, \
                 wakealarm in /sys/class/rtc)",
            );
        };
        if shortest < SHORTEST {
            return wrong(format!(
                "--suspend: frames are {:.1} s apart, expected {} s at least: --fps 0.1 or less, or --between-ms",
                shortest.as_secs_f64(),
                SHORTEST.as_secs()
            ));
        }
        Ok(Self { system, suspend, told: false })
    }

    /// Lets the board sleep for most of a pause, and returns how long it slept.
    pub(super) fn sleep(&mut self, pause: Duration) -> Duration {
        let slept = self.suspend.sleep(&self.system, pause.saturating_sub(AWAKE));
        slept.unwrap_or_else(|error| {
            if !std::mem::replace(&mut self.told, true) {
                message::warning(&format!("--suspend: the board stays awake: {}", chain(&error.into())));
            }
            Duration::ZERO
        })
    }
}

/// Says it where nobody knows what the suspended board draws.
pub(super) fn tell_unknown(watts: &Watts) {
    if watts.suspended.is_none() {
        message::note(&format!(
            "--suspend: what this board draws while it is suspended is not known and counted as idling, {:.2} W: give \
             --suspend-watts, or power.suspend_watts in a board.toml for --board",
            watts.idle
        ));
    }
}

/// The same board, suspended between frames; with every frame it is awake for a while.
pub(super) fn suspended(power: PowerModel, watts: &Watts) -> Result<PowerModel, Failure> {
    let Some(suspended) = watts.suspended else { return Ok(power) };
    // Alarms ring at full seconds: half of one on average comes on top.
    let awake = AWAKE.as_secs_f32() + Suspend::SHORTEST.as_secs_f32() / 2.0;
    let waking = awake * (watts.idle - suspended);
    power.with_suspend(suspended).and_then(|power| power.with_frame_joules(waking)).or_input()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_and_pauses_that_do_not_suit_are_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let sleeper = |shortest| Sleeper::new(System::at(folder.path()), shortest);
        let refusal = |shortest| match sleeper(shortest) {
            Err(Failure::Input(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        write("sys/class/rtc/rtc0/wakealarm", "");
        write("proc/uptime", "1.0 1.0\n");
        assert!(refusal(SHORTEST).contains("/sys/power/state"));
        write("sys/power/state", "mem\n");
        assert!(refusal(Duration::from_secs(1)).contains("1.0 s apart, expected 5 s"));
        let mut sleeper = sleeper(SHORTEST).unwrap();
        assert_eq!(sleeper.sleep(AWAKE), Duration::ZERO);
        // What the system refuses keeps nobody from the next frame.
        std::fs::remove_file(folder.path().join("proc/uptime")).unwrap();
        assert_eq!(sleeper.sleep(SHORTEST), Duration::ZERO);
        assert!(sleeper.told);
    }
}

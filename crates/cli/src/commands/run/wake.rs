//! What switches a halted board on again.

use std::time::Duration;

use anyhow::Context as _;
use dyn_perceiver::energy::switches::{LONGEST, SHORTEST};
use dyn_perceiver::sensors::SupplySwitch;
use dyn_perceiver_host::{System, WakeAlarm};

use super::source::SourceArgs;
use crate::output::failure::{Failure, OrInput as _, wrong};

/// Time until a switch cuts the supply that does not see for itself when the board has halted.
const HALTING: Duration = Duration::from_secs(60);

/// An alarm to be set at the end.
#[derive(Debug)]
pub(super) struct Wake {
    by: By,
    after: Duration,
}

#[derive(Debug)]
enum By {
    Clock(WakeAlarm),
    Switch(SupplySwitch),
}

impl Wake {
    /// What `--wake-after` and `--switch` ask for. Looked for before the run: a board that halts without an alarm stays off.
    pub(super) fn of(args: &SourceArgs, system: &System) -> Result<Option<Self>, Failure> {
        let Some(after) = args.wake_after else { return Ok(None) };
        let by = match &args.switch {
            Some(name) => {
                // An alarm that went off before the supply is cut would wake nothing.
                let least = SHORTEST.max(2 * HALTING);
                if !(least..=LONGEST).contains(&after) {
                    let (least, most) = (least.as_secs(), LONGEST.as_secs());
                    return wrong(format!("--wake-after with --switch: expected {least} to {most} seconds"));
                }
                By::Switch(SupplySwitch::open(name).context("--switch").or_input()?)
            }
            None => match WakeAlarm::of(system) {
                Some(alarm) => By::Clock(alarm),
                None => return wrong("--wake-after: no clock of this board has an alarm (/sys/class/rtc)"),
            },
        };
        Ok(Some(Wake { by, after }))
    }

    /// Sets the alarm. One that cannot be set must be known before the board halts.
    pub(super) fn set(self, system: &System) -> Result<(), Failure> {
        match self.by {
            By::Clock(alarm) => alarm.set(system, self.after).context("--wake-after: the alarm cannot be set")?,
            By::Switch(mut switch) => {
                switch.wake_after(self.after).context("--switch: the alarm cannot be set")?;
                switch.cut_after(HALTING).context("--switch: it cannot be told to cut the supply")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use dyn_perceiver::energy::switches::{PowerSwitch, SwitchError};

    use super::*;

    /// Remembers what it was told; its alarm is kept or not.
    struct Switch(Arc<Mutex<Vec<(&'static str, u64)>>>, bool);

    impl PowerSwitch for Switch {
        fn wake_after(&mut self, after: Duration, _: &mut dyn FnMut(Duration)) -> Result<(), SwitchError> {
            self.0.lock().unwrap().push(("wake", after.as_secs()));
            if self.1 { Ok(()) } else { Err(SwitchError::NotKept { register: 27 }) }
        }

        fn cut_after(&mut self, after: Duration) -> Result<(), SwitchError> {
            self.0.lock().unwrap().push(("cut", after.as_secs()));
            Ok(())
        }
    }

    #[test]
    fn the_supply_is_cut_only_where_the_alarm_was_kept() {
        let set = |keeps| {
            let told = Arc::new(Mutex::new(Vec::new()));
            let by = By::Switch(SupplySwitch::new(Switch(told.clone(), keeps)));
            let result = Wake { by, after: Duration::from_secs(600) }.set(&System::at("/none"));
            (told.lock().unwrap().clone(), result.err().map(|error| format!("{error:?}")))
        };
        let (told, error) = set(true);
        assert_eq!((told, error), (vec![("wake", 600), ("cut", HALTING.as_secs())], None));
        let (told, error) = set(false);
        assert_eq!(told, [("wake", 600)]);
        assert!(error.as_ref().is_some_and(|error| error.contains("the alarm cannot be set")), "{error:?}");
    }
}

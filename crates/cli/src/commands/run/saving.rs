//! Switching off what a camera loop does not need, for as long as it runs.

use std::sync::{Arc, Mutex, PoisonError};

use dyn_perceiver_host::{Clocks, Saver, Saving, System, radios, savers};

use crate::output::message;

/// What was switched off and the clock that is held, shared with whoever ends the program.
#[derive(Clone, Debug, Default)]
pub(super) struct SavePower(Arc<Mutex<Changed>>);

/// What was changed on the system for as long as the program runs.
#[derive(Debug, Default)]
struct Changed {
    saving: Vec<Saving>,
    /// Put back when they are dropped.
    clocks: Option<Clocks>,
}

impl SavePower {
    /// Switches off what was asked for and can be, and tells it.
    pub(super) fn start(&self, system: &System, parts: bool, radios: bool) {
        let wanted = [("--save-power", parts, savers(system)), ("--radio-off", radios, self::radios(system))];
        for (option, _, savers) in wanted.into_iter().filter(|(_, wanted, _)| *wanted) {
            let (saving, failed) = Saving::of(savers);
            tell(option, &saving, &failed);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).saving.push(saving);
        }
    }

    /// Keeps the processor at a clock until the end.
    pub(super) fn hold(&self, clocks: Option<Clocks>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clocks = clocks;
    }

    /// Puts everything back; a second time there is nothing left to do.
    pub(super) fn end(&self) {
        let mut changed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changed.clocks = None;
        // Last things first: the radios are on again before anything else.
        let failed = std::mem::take(&mut changed.saving).into_iter().rev().flat_map(|mut saving| saving.restore());
        for (saver, error) in failed {
            message::warning(&format!("{} was switched off and cannot be switched on again: {error}", saver.what));
        }
    }
}

/// Says what was switched off, and what could not be.
fn tell(option: &str, saving: &Saving, failed: &[(Saver, std::io::Error)]) {
    let names = |changed: &[Saver]| changed.iter().map(|saver| saver.what.as_str()).collect::<Vec<_>>().join(", ");
    match saving.changed() {
        [] => message::note(&format!("{option}: nothing was switched off")),
        changed => message::note(&format!("{option}: switched off {}", names(changed))),
    }
    if let Some((saver, error)) = failed.first() {
        let others = if failed.len() > 1 { format!(", nor {} others", failed.len() - 1) } else { String::new() };
        message::warning(&format!("{option}: {} cannot be switched off{others}: {error}", saver.what));
    }
}

/// Puts everything back when the run ends, also by an error.
#[derive(Debug)]
pub(super) struct Restored(pub SavePower);

impl Drop for Restored {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_switched_off_is_put_back_however_the_run_ends() {
        let folder = tempfile::tempdir().unwrap();
        let led = folder.path().join("sys/class/leds/ACT");
        std::fs::create_dir_all(&led).unwrap();
        std::fs::write(led.join("trigger"), "none [mmc0]\n").unwrap();
        let read = || std::fs::read_to_string(led.join("trigger")).unwrap();
        let system = System::at(folder.path());
        let power = SavePower::default();
        {
            let _restored = Restored(power.clone());
            power.start(&system, true, false);
            assert_eq!(read(), "none");
        }
        assert_eq!(read(), "mmc0");
        // As the handler of a second signal does.
        std::fs::write(led.join("trigger"), "none [mmc0]\n").unwrap();
        power.start(&system, true, false);
        power.clone().end();
        assert_eq!(read(), "mmc0");
    }
}

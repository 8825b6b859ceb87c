//! Where a mission goes on after a restart, and what the board drew in between.

use std::time::Duration;

use crate::args::watts::Off;

/// Where a mission goes on, and what the board drew while nobody counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Away {
    /// Time since the mission began.
    pub at: Duration,
    /// The last part of it, since an earlier run stored its state.
    pub away: Duration,
    pub joules: f32,
}

impl Away {
    /// A board that was switched off in between where its data tell what it draws then and what a boot takes, else one that idled.
    pub(super) fn new(at: Duration, away: Duration, off: Option<Off>, resting_watts: f32) -> Self {
        let seconds = away.as_secs_f32();
        let joules = match off {
            Some(off) if !away.is_zero() => off.boot_joules + off.watts * (seconds - off.boot_seconds).max(0.0),
            _ => resting_watts * seconds,
        };
        Away { at, away, joules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_that_was_off_took_a_boot_and_little_else() {
        let off = Off { watts: 0.03, boot_seconds: 10.0, boot_joules: 9.5 };
        let away = |off, seconds| Away::new(Duration::from_secs(7200), Duration::from_secs(seconds), off, 0.5).joules;
        assert!((away(Some(off), 610) - 9.5 - 18.0).abs() < 1e-4);
        assert_eq!((away(None, 610), away(Some(off), 0)), (305.0, 0.0));
    }
}

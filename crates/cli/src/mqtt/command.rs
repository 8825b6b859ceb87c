//! Commands that come from a broker.

use crate::args::share::Share;
use crate::live::{Live, Wish};

/// Something that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Command {
    /// The loop takes no frames, or takes them again.
    Pause(bool),
    /// The newest frame is published.
    Snapshot,
    /// The mission goes on otherwise.
    Mission(Wish),
}

impl Command {
    /// What a message under the command topic means; none for what is no command.
    pub(super) fn parse(name: &str, payload: &[u8]) -> Option<Self> {
        let payload = payload.trim_ascii();
        let is = |word: &str| payload.eq_ignore_ascii_case(word.as_bytes());
        match name {
            "pause" if is("on") => Some(Self::Pause(true)),
            "pause" if is("off") => Some(Self::Pause(false)),
            "snapshot" => Some(Self::Snapshot),
            "mode" if is("mission") => Some(Self::Mission(Wish::KeepFloor(false))),
            "mode" if is("floor") => Some(Self::Mission(Wish::KeepFloor(true))),
            "floor" => {
                let share: Share = std::str::from_utf8(payload).ok()?.parse().ok()?;
                Some(Self::Mission(Wish::Floor(share.get())))
            }
            _ => None,
        }
    }

    /// Does it, as far as the loop has to do with it.
    pub(super) fn apply(self, live: &Live) {
        match self {
            Self::Pause(paused) => live.pause(paused),
            Self::Snapshot => live.look(),
            Self::Mission(wish) => live.wish(wish),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_a_name_and_a_word() {
        assert_eq!(Command::parse("pause", b"ON"), Some(Command::Pause(true)));
        assert_eq!(Command::parse("pause", b" off\n"), Some(Command::Pause(false)));
        assert_eq!(Command::parse("snapshot", b""), Some(Command::Snapshot));
        assert_eq!(Command::parse("mode", b"Mission"), Some(Command::Mission(Wish::KeepFloor(false))));
        assert_eq!(Command::parse("mode", b"floor"), Some(Command::Mission(Wish::KeepFloor(true))));
        assert_eq!(Command::parse("floor", b"92%"), Some(Command::Mission(Wish::Floor(0.92))));
        assert_eq!(Command::parse("floor", b" 0.5 "), Some(Command::Mission(Wish::Floor(0.5))));
        for (name, payload) in
            [("mode", "steps"), ("mode", ""), ("floor", "92"), ("floor", "NaN"), ("floor", "101%"), ("Pause", "on")]
        {
            assert_eq!(Command::parse(name, payload.as_bytes()), None, "{name} {payload}");
        }
    }

    proptest! {
        /// Whatever comes from a broker: no panic, and nothing but what is a command.
        #[test]
        fn what_is_no_command_does_nothing(name in ".{0,20}", payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let live = Live::new(Default::default());
            for name in [name.as_str(), "pause", "snapshot", "mode", "floor"] {
                let Some(command) = Command::parse(name, &payload) else { continue };
                command.apply(&live);
                match command {
                    Command::Pause(paused) => {
                        let word = if paused { "on" } else { "off" };
                        prop_assert!(payload.trim_ascii().eq_ignore_ascii_case(word.as_bytes()));
                    }
                    Command::Mission(Wish::Floor(floor)) => prop_assert!((0.0..=1.0).contains(&floor)),
                    Command::Mission(Wish::KeepFloor(_)) => prop_assert_eq!(name, "mode"),
                    Command::Snapshot => prop_assert_eq!(name, "snapshot"),
                }
            }
        }
    }
}

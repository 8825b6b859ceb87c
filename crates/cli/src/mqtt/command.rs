//! Commands that come from a broker.

use crate::live::Live;

/// Something that somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The loop takes no frames, or takes them again.
    Pause(bool),
    /// The newest frame is published.
    Snapshot,
}

impl Command {
    /// What a message under the command topic means; none for what is no command.
    pub(super) fn parse(name: &str, payload: &[u8]) -> Option<Self> {
        let payload = payload.trim_ascii();
        match name {
            "pause" if payload.eq_ignore_ascii_case(b"on") => Some(Self::Pause(true)),
            "pause" if payload.eq_ignore_ascii_case(b"off") => Some(Self::Pause(false)),
            "snapshot" => Some(Self::Snapshot),
            _ => None,
        }
    }

    /// Does it, as far as the loop has to do with it.
    pub(super) fn apply(self, live: &Live) {
        match self {
            Self::Pause(paused) => live.pause(paused),
            Self::Snapshot => live.look(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_does_nothing() {
        assert_eq!(Command::parse("pause", b"ON"), Some(Command::Pause(true)));
        assert_eq!(Command::parse("pause", b" off\n"), Some(Command::Pause(false)));
        assert_eq!(Command::parse("snapshot", b""), Some(Command::Snapshot));
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2000 {
            let payload: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(..)).collect();
            let known = [&b"on"[..], b"off"].iter().any(|word| payload.trim_ascii().eq_ignore_ascii_case(word));
            assert_eq!(Command::parse("pause", &payload).is_some(), known);
            assert_eq!(Command::parse(&String::from_utf8_lossy(&payload), b"on"), None);
        }
    }
}

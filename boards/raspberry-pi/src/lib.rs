//! Raspberry Pi boards: their data, and the firmware's throttle flags.

use dyn_perceiver_host::{Board, BoardError, System};
use serde::Serialize;

/// Board data by file name.
pub const BOARDS: [(&str, &str); 4] = [
    ("raspberry-pi-zero-2-w.toml", include_str!("../boards/raspberry-pi-zero-2-w.toml")),
    ("raspberry-pi-3.toml", include_str!("../boards/raspberry-pi-3.toml")),
    ("raspberry-pi-4.toml", include_str!("../boards/raspberry-pi-4.toml")),
    ("raspberry-pi-5.toml", include_str!("../boards/raspberry-pi-5.toml")),
];

/// The boards of this family.
///
/// # Errors
/// [`BoardError`] where their data is damaged.
pub fn boards() -> Result<Vec<Board>, BoardError> {
    BOARDS.iter().map(|(file, text)| Board::parse(file, text)).collect()
}

/// Where the kernel tells the firmware's flags, as hexadecimal digits.
const THROTTLED: &str = "/sys/devices/platform/soc/soc:firmware/get_throttled";

/// What the firmware says of the supply and the clock, as `vcgencmd get_throttled` does: bits 0 to 3 are the present,
/// bits 16 to 19 what has happened since the board was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Throttled {
    /// All flags.
    pub bits: u32,
}

impl Throttled {
    const FLAGS: [(u32, &'static str); 4] = [
        (0, "the supply voltage is too low"),
        (1, "the clock is capped"),
        (2, "the clock is throttled"),
        (3, "the soft temperature limit is reached"),
    ];

    /// Reads the flags; `None` where the kernel does not tell them.
    #[must_use]
    pub fn read(system: &System) -> Option<Self> {
        let text = system.read(THROTTLED)?;
        let bits = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
        Some(Self { bits })
    }

    fn set(self, shift: u32) -> Vec<&'static str> {
        Self::FLAGS.iter().filter(|(bit, _)| self.bits >> (bit + shift) & 1 == 1).map(|(_, text)| *text).collect()
    }

    /// What is the case now, in words.
    #[must_use]
    pub fn now(self) -> Vec<&'static str> {
        self.set(0)
    }

    /// What has been the case at some time since the board was started, in words.
    #[must_use]
    pub fn since_start(self) -> Vec<&'static str> {
        self.set(16)
    }
}

#[cfg(test)]
mod tests {
    use dyn_perceiver_host::detect;

    use super::*;

    fn tree(files: &[(&str, &[u8])]) -> (tempfile::TempDir, System) {
        let folder = tempfile::tempdir().unwrap();
        for (path, contents) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, contents).unwrap();
        }
        let system = System::at(folder.path());
        (folder, system)
    }

    #[test]
    fn each_board_is_known_by_its_device_tree() {
        let boards = boards().unwrap();
        for (compatible, id) in [
            (&b"raspberrypi,model-zero-2-w\0brcm,bcm2837\0"[..], "raspberry-pi-zero-2-w"),
            (b"raspberrypi,3-model-b\0brcm,bcm2837\0", "raspberry-pi-3"),
            (b"raspberrypi,3-model-b-plus\0brcm,bcm2837\0", "raspberry-pi-3"),
            (b"raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberry-pi-4"),
            (b"raspberrypi,5-model-b\0brcm,bcm2712\0", "raspberry-pi-5"),
        ] {
            let (_folder, system) = tree(&[("/proc/device-tree/compatible", compatible)]);
            assert_eq!(detect(&system, &boards).map(|board| board.id.as_str()), Some(id));
        }
    }

    #[test]
    fn throttle_flags_are_read_and_told_in_words() {
        let read = |text: &[u8]| Throttled::read(&tree(&[(THROTTLED, text)]).1);
        let flags = read(b"50005\n").unwrap();
        assert_eq!(flags.now(), ["the supply voltage is too low", "the clock is throttled"]);
        assert_eq!(flags.since_start(), flags.now());
        let flags = read(b"0x80000").unwrap();
        assert!(flags.now().is_empty());
        assert_eq!(flags.since_start(), ["the soft temperature limit is reached"]);
        assert_eq!(read(b"0\n"), Some(Throttled::default()));
        assert_eq!(read(b"none"), None);
    }
}

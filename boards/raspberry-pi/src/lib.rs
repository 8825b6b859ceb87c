//! Raspberry Pi boards: their data.

use dyn_perceiver_host::{Board, BoardError};

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

#[cfg(test)]
mod tests {
    use board_tree::tree;
    use dyn_perceiver_host::{System, detect};

    use super::*;

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
            let folder = tree(&[("/proc/device-tree/compatible", compatible)]);
            assert_eq!(detect(&System::at(folder.path()), &boards).map(|board| board.id.as_str()), Some(id));
        }
    }
}

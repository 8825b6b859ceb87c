//! What a Linux board is and how it is doing: board data, detection from the device tree, clock, governor, temperature.
//!
//! A board is data, a `board.toml` ([`Board`]); code is only for what data cannot say. [`State`] is what decides how fast a
//! machine is at this moment, for the records of measurements. Everything is read below a root folder ([`System`]), so that
//! a tree of files can stand for a board. [`Watts`] is what a board draws, as far as that is known; [`Saving`] switches off what
//! a camera loop does not need, [`Clocks`] holds the processor's clock, [`Suspend`] lets the board sleep between frames, and
//! [`WakeAlarm`] wakes one that is halted.

mod alarm;
mod board;
mod clocks;
mod saving;
mod state;
mod suspend;
mod system;
mod throttle;
mod watts;

pub use alarm::WakeAlarm;
pub use board::{Basis, Board, BoardError, Boot, Camera, Cpu, Figure, I2c, Loads, Power, Rail, Thermal};
pub use clocks::Clocks;
pub use saving::{Saver, Saving, radios, savers};
pub use state::{Core, State};
pub use suspend::Suspend;
pub use system::System;
pub use throttle::{Cooling, Throttled};
pub use watts::Watts;

/// The board data of this crate: a machine of which nothing is known.
pub const GENERIC: &str = include_str!("../boards/generic-linux.toml");

/// The generic board.
///
/// # Panics
/// Never: the data is part of the crate and read by a test.
#[must_use]
pub fn generic() -> Board {
    Board::parse("generic-linux.toml", GENERIC).expect("the crate's own data")
}

/// The board among `boards` that `system` is, by its device tree; `None` for a machine that none of them describes.
#[must_use]
pub fn detect<'a>(system: &System, boards: &'a [Board]) -> Option<&'a Board> {
    let compatible = system.compatible();
    // The device tree lists the most specific name first, so its order counts, not that of the boards.
    compatible.iter().find_map(|name| boards.iter().find(|board| board.compatible.contains(name)))
}

#[cfg(test)]
mod tests {
    use board_tree::{tree, write};

    use super::*;

    #[test]
    fn the_most_specific_name_of_the_device_tree_decides() {
        let board = |id: &str, compatible: &[&str]| Board {
            id: id.into(),
            compatible: compatible.iter().map(|&name| name.into()).collect(),
            ..generic()
        };
        let boards = [board("soc", &["maker,soc"]), board("board", &["maker,board"])];
        let folder = tree(&[]);
        let system = System::at(folder.path());
        assert_eq!(detect(&system, &boards), None);
        write(folder.path(), "/proc/device-tree/compatible", b"maker,board\0maker,soc\0");
        assert_eq!(detect(&system, &boards).map(|board| board.id.as_str()), Some("board"));
        write(folder.path(), "/proc/device-tree/compatible", b"other,board\0maker,soc\0");
        assert_eq!(detect(&system, &boards).map(|board| board.id.as_str()), Some("soc"));
    }
}

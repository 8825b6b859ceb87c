//! The system whose kernel files are read and written.

use dyn_perceiver_host::System;

/// The environment variable that names a folder whose files stand for the system's: a container's mount of `/sys`, or a
/// made-up board.
const FOLDER: &str = "DYN_PERCEIVER_SYSTEM";

/// The system that the program runs on, or the one whose files lie in the folder named.
pub(crate) fn here() -> System {
    std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map_or_else(System::default, System::at)
}

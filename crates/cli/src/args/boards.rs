//! The boards that are known, by name, file or device tree.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use dyn_perceiver_host::{Board, generic};

use crate::output::failure::{Failure, OrInput as _};

/// Every board whose data is known; the generic one last.
pub(crate) fn all() -> Result<Vec<Board>, Failure> {
    let mut boards = dyn_perceiver_raspberry_pi::boards()?;
    boards.extend(dyn_perceiver_jetson::boards()?);
    boards.push(generic());
    Ok(boards)
}

/// The board of this name, or that a `board.toml` describes.
pub(crate) fn find(name: &str) -> Result<Board, Failure> {
    if name.contains(['/', '.']) {
        let text = std::fs::read_to_string(Path::new(name)).with_context(|| name.to_owned()).or_input()?;
        return Board::parse(name, &text).or_input();
    }
    let boards = all()?;
    let known = boards.iter().map(|board| board.id.as_str()).collect::<Vec<_>>().join(", ");
    let found = boards.iter().find(|board| board.id == name).cloned();
    found.ok_or_else(|| anyhow!("no board {name:?}; known are {known}, or the path of a board.toml")).or_input()
}

//! A board's profile, as `profile` writes it.

use std::path::Path;

use anyhow::Context as _;
use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::sensors::profile::Profile;

use crate::output::failure::{Failure, OrInput as _, wrong};

/// Reads a profile.
pub(crate) fn read(path: &Path) -> Result<Profile, Failure> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(name).or_input()?;
    match serde_json::from_str(&text) {
        Ok(profile) => Ok(profile),
        Err(error) => wrong(format!("{}: not a board's profile: {error}", path.display())),
    }
}

/// What stages cost by a profile read from `path`.
pub(crate) fn power_model(profile: &Profile, path: &Path) -> Result<PowerModel, Failure> {
    profile.power_model().with_context(|| path.display().to_string()).or_input()
}

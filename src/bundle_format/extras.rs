//! What stands behind a bundle's manifest: what is found out about a model after it was compiled, and what a policy has that its
//! form in the manifest does not.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::{BundleError, container};
use crate::exit::Calibration;
use crate::machine::MachineTimes;

/// Machines and numbers of threads whose times a bundle holds, at most.
const MAX_TIMES: usize = 64;

/// The part behind the manifest. The order of fields is part of the format.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Extras {
    /// How probably answers under the policy are right.
    pub calibration: Option<Calibration>,
    /// How long stages take, by machine and number of threads.
    pub times: Vec<MachineTimes>,
}

impl Extras {
    /// Reads what `rest` of the manifest's bytes says.
    pub(super) fn read(rest: &[u8]) -> Result<Self, String> {
        let (extras, rest): (Extras, &[u8]) = postcard::take_from_bytes(rest).map_err(|error| error.to_string())?;
        if rest.is_empty() { Ok(extras) } else { Err(format!("{} bytes too many", rest.len())) }
    }

    /// That times are of a plan of so many outcomes.
    pub(super) fn check(&self, outcomes: usize) -> Result<(), String> {
        if self.times.len() > MAX_TIMES {
            return Err(format!("times of {} machines, at most {MAX_TIMES}", self.times.len()));
        }
        self.times.iter().find_map(|times| times.fault(outcomes)).map_or(Ok(()), Err)
    }

    /// Puts these times in place of those of the same machines and numbers of threads; the oldest make room.
    fn put(&mut self, new: Vec<MachineTimes>) {
        let same = |a: &MachineTimes, b: &MachineTimes| a.machine == b.machine && a.threads == b.threads;
        self.times.retain(|old| !new.iter().any(|new| same(old, new)));
        self.times.extend(new);
        self.times.drain(..self.times.len().saturating_sub(MAX_TIMES));
    }
}

/// The bytes of a bundle with these times in it.
pub(crate) fn with_times(bytes: &[u8], times: Vec<MachineTimes>, path: &Path) -> Result<Vec<u8>, BundleError> {
    let content = |reason: String| BundleError::Content { path: path.into(), place: "manifest".into(), reason };
    let found = container::split(bytes, path)?;
    container::check_weights(bytes, &found, path)?;
    let manifest = &bytes[found.manifest];
    let (model, rest): (Manifest, _) =
        postcard::take_from_bytes(manifest).map_err(|error| content(error.to_string()))?;
    let mut extras = Extras::read(rest).map_err(content)?;
    extras.put(times);
    // The exits, then the goals of boxes.
    extras.check(model.exits.len() + model.levels.len()).map_err(content)?;
    let mut kept = manifest[..manifest.len() - rest.len()].to_vec();
    kept.extend(postcard::to_allocvec(&extras).map_err(|error| content(error.to_string()))?);
    Ok(container::join(&kept, &bytes[found.weights]))
}

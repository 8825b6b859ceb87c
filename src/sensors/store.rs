//! State that survives a restart: what the governor learned, the counted charge, the measured power model.
//!
//! The file is written beside, flushed to the disk and renamed, so that at any moment there is one whole file: a process
//! killed, or a board that loses power, loses at most what came after the last save.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::energy::PowerModel;
use crate::energy::estimator::CoulombState;
use crate::energy::governor::Learned;

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// How often this was saved; tells which of two states is the newer.
    pub periods: u64,
    /// What the governor learned.
    pub learned: Option<Learned>,
    /// The counted charge.
    pub coulomb: Option<CoulombState>,
    /// The power model, where it was measured on this board.
    pub power: Option<PowerModel>,
    /// How far the mission has come.
    pub mission: Option<MissionClock>,
}

/// The clock of a mission that goes on after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissionClock {
    /// Length of the mission in milliseconds: another length is another mission.
    pub duration_ms: u64,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// Seconds since 1970 when this was stored, by the system's clock.
    pub stored_at: u64,
}

impl MissionClock {
    /// The clock of a mission `elapsed` after its beginning.
    pub fn new(duration: Duration, elapsed: Duration) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        MissionClock { duration_ms: millis(duration), elapsed_ms: millis(elapsed), stored_at: now() }
    }

    /// Time since the beginning of a mission of `duration`: what was stored, and the time since then unless the system's
    /// clock has gone back. None when it was another mission, or this one is over.
    pub fn resume(&self, duration: Duration) -> Option<Duration> {
        let away = Duration::from_secs(now().saturating_sub(self.stored_at));
        let elapsed = Duration::from_millis(self.elapsed_ms).saturating_add(away);
        (Duration::from_millis(self.duration_ms) == duration && elapsed < duration).then_some(elapsed)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why state could not be saved or loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds no state.
    #[error("{path}: expected stored state, {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Saves state, replacing the file whole.
///
/// # Errors
/// [`StoreError::File`]; the former file is then still there.
pub fn save(path: &Path, state: &Stored) -> Result<(), StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = PathBuf::from(beside);
    let bytes = serde_json::to_vec(state)
        .map_err(|error| StoreError::Content { path: path.to_owned(), reason: error.to_string() })?;
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(&bytes)?;
        // On the disk before the name is: else a power cut could leave an empty file under the name.
        file.sync_all()
    });
    written
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| StoreError::File { path: path.to_owned(), source })
}

/// Loads state; none when there is no file yet.
///
/// # Errors
/// [`StoreError`] when the file cannot be read or holds something else.
pub fn load(path: &Path) -> Result<Option<Stored>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::File { path: path.to_owned(), source }),
    };
    let content = |reason: String| StoreError::Content { path: path.to_owned(), reason };
    let state: Stored = serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    if state.learned.is_some_and(|learned| !learned.is_sound()) {
        return Err(content("the learned figures are out of range".to_owned()));
    }
    if state.coulomb.is_some_and(|coulomb| !(0.0..=1.0).contains(&coulomb.soc)) {
        return Err(content("the state of charge is outside [0, 1]".to_owned()));
    }
    Ok(Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_is_no_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(load(&path).unwrap(), None);
        let state = Stored {
            periods: 3,
            learned: Some(Learned::new(36_000.0)),
            coulomb: Some(CoulombState::new(0.4)),
            power: None,
            mission: Some(MissionClock::new(Duration::from_secs(60), Duration::from_secs(10))),
        };
        save(&path, &state).unwrap();
        assert_eq!(load(&path).unwrap(), Some(state));
        for bad in ["", "{", r#"{"periods":1,"learned":null,"coulomb":{"soc":7.0},"power":null}"#, r#"{"what":1}"#] {
            fs::write(&path, bad).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("state.json"), "{error}");
        }
        assert!(save(&folder.path().join("none/state.json"), &Stored::default()).is_err());
    }

    #[test]
    fn a_mission_goes_on_where_it_was_and_the_time_away_counts() {
        let hour = Duration::from_secs(3600);
        let clock = MissionClock::new(hour, Duration::from_secs(600));
        let resumed = clock.resume(hour).unwrap().as_secs();
        assert!((600..605).contains(&resumed), "{resumed}");
        let away = MissionClock { stored_at: clock.stored_at - 1200, ..clock };
        assert!((1800..1805).contains(&away.resume(hour).unwrap().as_secs()));
        let gone_back = MissionClock { stored_at: clock.stored_at + 9000, ..clock };
        assert_eq!(gone_back.resume(hour), Some(Duration::from_secs(600)));
        assert_eq!(clock.resume(2 * hour), None, "another mission");
        assert_eq!(MissionClock { elapsed_ms: 3_600_000, ..clock }.resume(hour), None, "over");
    }
}

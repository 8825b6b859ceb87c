//! What survives a restart: read at the start, written again and again while the loop runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::energy::estimator::CoulombState;
use dyn_perceiver::sensors::store::{MissionClock, StoreError, Stored, load, save};

use crate::output::failure::{Failure, OrInput as _};

/// The state file, if one was named.
pub(super) struct State {
    path: Option<PathBuf>,
    every: Duration,
    saved: Instant,
    stored: Stored,
}

impl State {
    /// Loads the state of an earlier run, if there was one.
    pub(super) fn open(path: Option<PathBuf>, every: Duration) -> Result<Self, Failure> {
        let stored = match &path {
            Some(path) => load(path).or_input()?.unwrap_or_default(),
            None => Stored::default(),
        };
        Ok(State { path, every, saved: Instant::now(), stored })
    }

    /// What was stored.
    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Keeps a power model that was measured, to be used again where no profile is named.
    pub(super) fn measured(&mut self, power: &PowerModel) {
        self.stored.power = Some(power.clone());
    }

    /// Whether a period has passed, so that something new should be stored.
    pub(super) fn is_due(&self) -> bool {
        self.path.is_some() && self.saved.elapsed() >= self.every
    }

    /// Stores the state as `change` makes it, and says how many times that was done.
    pub(super) fn save(&mut self, change: impl FnOnce(&mut Stored)) -> Result<Option<u64>, StoreError> {
        let Some(path) = &self.path else { return Ok(None) };
        change(&mut self.stored);
        self.stored.periods += 1;
        self.saved = Instant::now();
        save(path, &self.stored)?;
        Ok(Some(self.stored.periods))
    }
}

/// The charge and the clock, as they are stored.
pub(super) fn record(stored: &mut Stored, soc: f32, mission: Option<(Duration, Duration)>) {
    stored.coulomb = Some(CoulombState::new(soc.clamp(0.0, 1.0)));
    stored.mission = mission.map(|(duration, elapsed)| MissionClock::new(duration, elapsed));
}

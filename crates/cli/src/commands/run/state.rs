//! What survives a restart: read at the start, written again and again while the loop runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::energy::estimator::CoulombState;
use dyn_perceiver::sensors::store::{MissionClock, StoreError, Stored, load, save};

use crate::args::number;
use crate::output::failure::{Failure, OrInput as _};

/// Where state is kept.
#[derive(Args)]
#[command(next_help_heading = "State and output")]
pub(super) struct StateArgs {
    /// Keep in this file what must survive a restart: the charge, how far the mission is, what the governor learned, a
    /// measured power model. Replaced whole, so that a kill at any moment loses at most one period
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Save the state every so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", requires = "state", value_parser = number::seconds_or_none)]
    save_every: Duration,
}

/// The state file, if one was named.
pub(super) struct State {
    path: Option<PathBuf>,
    every: Duration,
    saved: Instant,
    stored: Stored,
}

impl State {
    /// Loads the state of an earlier run, if there was one, and writes it again: a place that cannot be written is told
    /// now, not when the first period has passed.
    pub(super) fn open(args: &StateArgs) -> Result<Self, Failure> {
        let stored = match &args.state {
            Some(path) => {
                let stored = load(path).or_input()?.unwrap_or_default();
                save(path, &stored).or_input()?;
                stored
            }
            None => Stored::default(),
        };
        Ok(State { path: args.state.clone(), every: args.save_every, saved: Instant::now(), stored })
    }

    /// What was stored.
    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Keeps a power model that was measured, to be used again if no profile is named.
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
pub(super) fn record(stored: &mut Stored, soc: Option<f32>, mission: Option<(Duration, Duration)>) {
    if let Some(soc) = soc {
        stored.coulomb = Some(CoulombState::new(soc.clamp(0.0, 1.0)));
    }
    stored.mission = mission.map(|(duration, elapsed)| MissionClock::new(duration, elapsed));
}

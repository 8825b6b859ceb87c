//! What survives a restart: read at the start, written again and again while the loop runs.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::energy::estimator::CoulombState;
use dyn_perceiver::sensors::store::{KeptThreads, KeptTimes, MissionClock, Opened, StateFile, StoreError, Stored};

use crate::args::number;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::message;

/// Where state is kept.
#[derive(Args)]
#[command(next_help_heading = "State and output")]
pub(super) struct StateArgs {
    /// Keep in this file what must survive a restart: the charge, how far the mission is, what the governor learned, a
    /// measured power model. Replaced whole, so that a kill at any moment loses at most one period. One program at a time
    /// may use it; what is no state any more is put aside under the same name with .bad at its end
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Save the state every so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", requires = "state", value_parser = number::seconds_or_none)]
    save_every: Duration,
    /// Begin a new mission, although the stored one is going on or over
    #[arg(long, requires = "state")]
    new_mission: bool,
}

/// The state file, if one was named.
pub(super) struct State {
    file: Option<StateFile>,
    every: Duration,
    saved: Instant,
    stored: Stored,
}

impl State {
    /// Locks the file and loads the state of an earlier run, if there was one. A place that cannot be written is told now,
    /// not when the first period has passed; what is no state is put aside, for an unattended board must go on.
    pub(super) fn open(args: &StateArgs) -> Result<Self, Failure> {
        let (file, mut stored) = match &args.state {
            Some(path) => {
                let Opened { file, stored, set_aside, .. } = StateFile::open(path).or_input()?;
                if let Some(warning) = set_aside {
                    message::warning(&warning.to_string());
                }
                (Some(file), stored)
            }
            None => (None, Stored::default()),
        };
        if args.new_mission {
            stored.mission = None;
        }
        Ok(State { file, every: args.save_every, saved: Instant::now(), stored })
    }

    /// Time since the beginning of a mission of this duration that was going on; zero for a new one.
    pub(super) fn resumed(&self, duration: Option<Duration>) -> Duration {
        let resume = |duration| self.stored.mission.as_ref()?.resume(duration);
        duration.and_then(resume).unwrap_or_default()
    }

    /// Time that a mission which has been going on for `resumed` went on without a run: since the state was stored.
    pub(super) fn away(&self, resumed: Duration) -> Duration {
        let stored = self.stored.mission.as_ref().map(|mission| Duration::from_millis(mission.elapsed_ms));
        stored.filter(|_| !resumed.is_zero()).map_or(Duration::ZERO, |stored| resumed.saturating_sub(stored))
    }

    /// What was stored.
    pub(super) fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Keeps a power model that was measured, to be used again if no profile is named.
    pub(super) fn measured(&mut self, power: &PowerModel) {
        self.stored.power = Some(power.clone());
    }

    /// Keeps how many threads are fastest, so that the next run need not measure it.
    pub(super) fn measured_threads(&mut self, threads: KeptThreads) {
        self.stored.threads = Some(threads);
    }

    /// Keeps how long stages take, so that the next start need not measure it.
    pub(super) fn measured_times(&mut self, times: KeptTimes) {
        self.stored.times = Some(times);
    }

    /// Whether a period has passed, so that something new should be stored.
    pub(super) fn is_due(&self) -> bool {
        self.file.is_some() && self.saved.elapsed() >= self.every
    }

    /// Stores the state as `change` makes it, and says how many times that was done.
    pub(super) fn save(&mut self, change: impl FnOnce(&mut Stored)) -> Result<Option<u64>, StoreError> {
        let Some(file) = &mut self.file else { return Ok(None) };
        change(&mut self.stored);
        self.saved = Instant::now();
        file.save(&mut self.stored).map(Some)
    }
}

/// The charge and the clock, as they are stored.
pub(super) fn record(stored: &mut Stored, soc: Option<f32>, mission: Option<(Duration, Duration)>) {
    if let Some(soc) = soc {
        stored.coulomb = Some(CoulombState::new(soc.clamp(0.0, 1.0)));
    }
    stored.mission = mission.map(|(duration, elapsed)| MissionClock::new(duration, elapsed));
}

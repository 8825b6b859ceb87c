//! Who decides, and for what: the options of the mission, and the governor they ask for.

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use dyn_perceiver::energy::{
    BudgetGovernor, Choice, FrameDemand, Governor, GovernorInput, GovernorSettings, Ladder, Learned, Mission,
    PowerModel, Reason, SocSteps,
};
use dyn_perceiver::exit::{Frontier, Mixer};
use dyn_perceiver::sensors::Companion;

use crate::output::failure::{Failure, OrInput as _};

/// What the operating point follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// The state of charge, in steps
    Steps,
    /// A mission: the battery lasts it, and accuracy gives way
    Mission,
    /// A mission at an accuracy that is kept: when the battery cannot last it, the reason says so
    Floor,
    /// What a companion microcontroller says: needs --gauge companion:DEVICE
    Companion,
}

/// The mission.
#[derive(Args)]
pub(super) struct MissionArgs {
    /// What the operating point follows
    #[arg(long, value_enum, default_value_t = Mode::Steps)]
    pub mode: Mode,
    /// Length of the mission in hours
    #[arg(long, value_name = "NUMBER")]
    hours: Option<f32>,
    /// State of charge to be left at the end of the mission, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    reserve: f32,
    /// Accuracy never to go below, in percent, in mode floor
    #[arg(long, value_name = "PERCENT")]
    floor: Option<f32>,
    /// The governor chooses the time from frame to frame, between these milliseconds
    #[arg(long, value_name = "SHORTEST,LONGEST", value_parser = super::pair, conflicts_with = "fps")]
    between_ms: Option<(f32, f32)>,
    /// Frames come at events, on average so many an hour
    #[arg(long, value_name = "RATE", conflicts_with_all = ["fps", "between_ms"])]
    per_hour: Option<f32>,
    /// Shortest time between two changes of the operating point, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    dwell: f32,
    /// Voltage below which inference stops
    #[arg(long, value_name = "VOLTS")]
    brown_out_volts: Option<f32>,
}

impl MissionArgs {
    /// Whether a mission is asked for, which needs a calibrated policy.
    pub(super) fn is_mission(&self) -> bool {
        matches!(self.mode, Mode::Mission | Mode::Floor)
    }

    /// Length of the mission, where there is one.
    pub(super) fn duration(&self) -> Result<Option<Duration>, Failure> {
        if !self.is_mission() {
            return Ok(None);
        }
        let hours = self.hours.ok_or_else(|| anyhow!("a mission needs --hours")).or_input()?;
        seconds(hours * 3600.0, "--hours").map(Some)
    }

    fn mission(&self, duration: Duration, period: Duration) -> Result<Mission, Failure> {
        let frames = match (self.between_ms, self.per_hour) {
            (Some((short, long)), _) => {
                FrameDemand::Between(seconds(short / 1000.0, "--between-ms")?, seconds(long / 1000.0, "--between-ms")?)
            }
            (None, Some(rate)) => FrameDemand::PerHour(rate),
            (None, None) if !period.is_zero() => FrameDemand::Period(period),
            (None, None) => {
                return Err(anyhow!("a mission needs to know its frames: --fps, --between-ms or --per-hour"))
                    .or_input();
            }
        };
        let floor = match (self.mode, self.floor) {
            (Mode::Floor, None) => return Err(anyhow!("mode floor needs --floor PERCENT")).or_input(),
            (Mode::Floor, Some(percent)) => Some(percent / 100.0),
            _ => None,
        };
        let mission = Mission::new(duration, frames).with_reserve(self.reserve / 100.0);
        Ok(match floor {
            Some(accuracy) => mission.with_floor(accuracy),
            None => mission,
        })
    }
}

fn seconds(seconds: f32, option: &str) -> Result<Duration, Failure> {
    Duration::try_from_secs_f32(seconds).map_err(|error| anyhow!("{option}: {error}")).or_input()
}

/// The battery that a mission has.
pub(super) struct BatteryFacts {
    pub capacity_mwh: f32,
    /// Whether it is simulated, and so without losses.
    pub simulated: bool,
}

/// Whoever decides.
pub(super) enum Chooser {
    /// A table of the state of charge.
    Charge(SocSteps),
    /// A mean cost per frame, as expected by calibration.
    Mean { frontier: Box<Frontier>, mixer: Mixer, begun: bool },
    /// The budget of a mission.
    Mission(Box<BudgetGovernor>),
    /// A companion microcontroller.
    Companion(Companion),
}

impl Chooser {
    /// A governor for the mission that `args` ask for.
    pub(super) fn mission(
        args: &MissionArgs,
        (duration, period): (Duration, Duration),
        frontier: &Frontier,
        power: &PowerModel,
        battery: &BatteryFacts,
        learned: Option<Learned>,
    ) -> Result<Self, Failure> {
        let mut settings = GovernorSettings::new(battery.capacity_mwh);
        if battery.simulated {
            settings.efficiency = 1.0;
        }
        settings.dwell = seconds(args.dwell, "--dwell")?;
        settings.brown_out_volts = args.brown_out_volts;
        let ladder = Ladder::new(frontier, power).or_input()?;
        let governor = BudgetGovernor::new(ladder, power, args.mission(duration, period)?, settings).or_input()?;
        Ok(Chooser::Mission(Box::new(match learned {
            Some(learned) => governor.with_learned(learned),
            None => governor,
        })))
    }

    /// What it learned, to be stored.
    pub(super) fn learned(&self) -> Option<Learned> {
        match self {
            Chooser::Mission(governor) => Some(*governor.learned()),
            _ => None,
        }
    }

    /// Joules that a frame may add on average, where there is a budget.
    pub(super) fn budget(&self) -> Option<f32> {
        match self {
            Chooser::Mission(governor) => Some(governor.plan().budget),
            _ => None,
        }
    }
}

impl Governor for Chooser {
    fn choose(&mut self, input: &GovernorInput) -> Choice {
        match self {
            Chooser::Charge(steps) => steps.choose(input),
            Chooser::Mean { frontier, mixer, begun } => {
                let reason = if std::mem::replace(begun, true) { Reason::Budget } else { Reason::Start };
                Choice::new(mixer.next_point(frontier), reason)
            }
            Chooser::Mission(governor) => governor.choose(input),
            Chooser::Companion(companion) => companion.choose(input),
        }
    }
}

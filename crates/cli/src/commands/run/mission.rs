//! Who decides, and for what: the options of the mission, and the governor they ask for.

use std::time::Duration;

use clap::{Args, ValueEnum};
use dyn_perceiver::energy::{
    BudgetGovernor, Choice, FrameDemand, Governor, GovernorInput, GovernorSettings, Ladder, Learned, Mission,
    PowerModel, Reason, SocSteps,
};
use dyn_perceiver::exit::{Frontier, Mixer};
use dyn_perceiver::sensors::Companion;

use crate::args::number::{self, millis_range, positive};
use crate::args::policy::Points;
use crate::args::share::Share;
use crate::output::failure::{Failure, OrInput as _, wrong};

/// What the operating point follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// The state of charge, in steps; on mains the most accurate point
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
#[command(next_help_heading = "Mission")]
pub(super) struct MissionArgs {
    /// Choose what the operating point follows
    #[arg(long, value_enum, default_value_t = Mode::Steps)]
    pub mode: Mode,
    /// Set the length of the mission in hours
    #[arg(long, value_name = "HOURS", value_parser = number::hours)]
    hours: Option<Duration>,
    /// Leave this state of charge at the end of the mission, such as 10% or 0.1
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.1))]
    reserve: Share,
    /// Never go below this accuracy in mode floor, such as 92% or 0.92
    #[arg(long, value_name = "SHARE")]
    floor: Option<Share>,
    /// Let the governor choose the time from frame to frame, between these milliseconds
    #[arg(long, value_name = "SHORTEST,LONGEST", value_parser = millis_range, conflicts_with = "fps")]
    between_ms: Option<(Duration, Duration)>,
    /// Expect frames at events, on average so many an hour
    #[arg(long, value_name = "RATE", value_parser = number::per_hour, conflicts_with_all = ["fps", "between_ms"])]
    per_hour: Option<f32>,
    /// Keep an operating point for at least these seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = number::seconds_or_none)]
    dwell: Duration,
    /// Stop inference below this voltage
    #[arg(long, value_name = "VOLTS", value_parser = positive)]
    brown_out_volts: Option<f32>,
}

impl MissionArgs {
    /// Whether a mission is asked for, which needs a calibrated policy.
    pub(super) fn is_mission(&self) -> bool {
        matches!(self.mode, Mode::Mission | Mode::Floor)
    }

    /// Length of the mission, if there is one.
    pub(super) fn duration(&self) -> Result<Option<Duration>, Failure> {
        match (self.is_mission(), self.hours) {
            (false, _) => Ok(None),
            (true, Some(hours)) => Ok(Some(hours)),
            (true, None) => wrong("a mission needs --hours"),
        }
    }

    fn mission(&self, duration: Duration, period: Duration) -> Result<Mission, Failure> {
        let frames = match (self.between_ms, self.per_hour) {
            (Some((shortest, longest)), _) => FrameDemand::Between(shortest, longest),
            (None, Some(rate)) => FrameDemand::PerHour(rate),
            (None, None) if !period.is_zero() => FrameDemand::Period(period),
            (None, None) => return wrong("a mission needs to know its frames: --fps, --between-ms or --per-hour"),
        };
        let floor = match (self.mode, self.floor) {
            (Mode::Floor, None) => return wrong("mode floor needs --floor SHARE"),
            (Mode::Floor, Some(share)) => Some(share.get()),
            _ => None,
        };
        let mission = Mission::new(duration, frames).with_reserve(self.reserve.get());
        Ok(match floor {
            Some(accuracy) => mission.with_floor(accuracy),
            None => mission,
        })
    }
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
        settings.dwell = args.dwell;
        settings.brown_out_volts = args.brown_out_volts;
        let ladder = Ladder::new(frontier, power).or_input()?;
        let governor = BudgetGovernor::new(ladder, power, args.mission(duration, period)?, settings).or_input()?;
        Ok(Chooser::Mission(Box::new(match learned {
            Some(learned) => governor.with_learned(learned),
            None => governor,
        })))
    }

    /// The state of charge steps through so many points; on mains it is the last of them.
    pub(super) fn charge(points: usize) -> Self {
        Chooser::Charge(SocSteps::even(points))
    }

    /// The mean cost that a budget asks for; none without a budget.
    pub(super) fn mean(points: Points) -> Option<Self> {
        let Points { frontier, mixer } = points;
        mixer.map(|mixer| Chooser::Mean { frontier: Box::new(frontier), mixer, begun: false })
    }

    /// What it learned, to be stored.
    pub(super) fn learned(&self) -> Option<Learned> {
        match self {
            Chooser::Mission(governor) => Some(*governor.learned()),
            _ => None,
        }
    }

    /// Joules that a frame may add on average, if there is a budget.
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

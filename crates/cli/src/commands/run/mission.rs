//! Who decides, and for what: the options of the mission, and the governor they ask for.

use std::time::Duration;

use clap::{Args, ValueEnum};
use dyn_perceiver::calibrate::records::Costs;
use dyn_perceiver::collect;
use dyn_perceiver::energy::{
    BudgetGovernor, Chemistry, Choice, FrameDemand, Governor, GovernorInput, GovernorSettings, Ladder, Learned,
    Mission, PowerModel, Reason, SocSteps,
};
use dyn_perceiver::exit::{CostUnit, ExitPolicy, Frontier, Mixer};
use dyn_perceiver::pipeline::Step;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::Companion;

use crate::args::number::{self, millis_range, positive};
use crate::args::policy::Points;
use crate::args::share::Share;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::time;

use super::steps::{self, StepsArg};

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
    /// Expect frames at events, on average so many an hour from 6 to 18 o'clock and so many at night
    #[arg(long, value_name = "DAY,NIGHT", value_parser = number::two_per_hour)]
    #[arg(conflicts_with_all = ["fps", "between_ms", "per_hour"])]
    day_night: Option<(f32, f32)>,
    /// Take the mission to begin at this time of day, for --day-night [default: as the system's clock says, in UTC]
    #[arg(long, value_name = "HH:MM", value_parser = number::time_of_day, requires = "day_night")]
    begins: Option<Duration>,
    /// Take these operating points in mode steps, below levels of the battery: 80:0.93,50:0.91,20:cheapest is the most
    /// accurate one down to 80 %, the cheapest of at least 93 % expected accuracy down to 50 %, and so on; best names the
    /// most accurate one [default: up to six of the calibrated points]
    #[arg(long, value_name = "LEVEL:ACCURACY,...", value_parser = steps::parse)]
    pub steps: Option<StepsArg>,
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

    /// What the state of charge steps through: the table asked for, else calibrated points, else all of so many.
    pub(super) fn table(
        &self,
        calibrated: Option<&Points>,
        power: &PowerModel,
        points: usize,
    ) -> Result<SocSteps, Failure> {
        match (&self.steps, calibrated) {
            (Some(steps), Some(points)) => steps.over(&points.frontier),
            (Some(_), None) => wrong("--steps needs calibrated operating points: name a policy with --policy"),
            (None, Some(points)) => steps::calibrated(&points.frontier, power),
            (None, None) => Ok(SocSteps::even(points)),
        }
    }

    /// State of charge that is left at the end of the mission, in [0, 1].
    #[cfg(feature = "live")]
    pub(super) fn reserve(&self) -> f32 {
        self.reserve.get()
    }

    /// Length of the mission, if there is one.
    pub(super) fn duration(&self) -> Result<Option<Duration>, Failure> {
        match (self.is_mission(), self.hours) {
            (false, _) => Ok(None),
            (true, Some(hours)) => Ok(Some(hours)),
            (true, None) => wrong("a mission needs --hours"),
        }
    }

    /// The shortest time from one frame to the next, where the governor chooses it.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.between_ms.map(|(shortest, _)| shortest)
    }

    fn mission(&self, duration: Duration, period: Duration, resumed: Duration) -> Result<Mission, Failure> {
        let frames = match (self.between_ms, self.per_hour) {
            _ if let Some((day, night)) = self.day_night => {
                let begins = self.begins.map_or_else(|| began(resumed), Ok)?;
                FrameDemand::DayNight { day, night, begins }
            }
            (Some((shortest, longest)), _) => FrameDemand::Between(shortest, longest),
            (None, Some(rate)) => FrameDemand::PerHour(rate),
            (None, None) if !period.is_zero() => FrameDemand::Period(period),
            (None, None) => {
                return wrong("a mission needs to know its frames: --fps, --between-ms, --per-hour or --day-night");
            }
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

/// The time of day at which a mission began that has been going on for so long.
fn began(resumed: Duration) -> Result<Duration, Failure> {
    const DAY: u64 = 86_400;
    let Some(now) = time::time_of_day() else {
        return wrong("--day-night: the system's clock is not set: give the time of day with --begins HH:MM");
    };
    Ok(Duration::from_secs((DAY + now.as_secs() - resumed.as_secs() % DAY) % DAY))
}

/// The battery that a mission has.
pub(super) struct BatteryFacts {
    pub capacity_mwh: f32,
    /// Whether it is simulated, and so without losses.
    pub simulated: bool,
    /// What it is made of.
    pub chemistry: Chemistry,
}

/// A mean cost per frame, and what frames have really cost.
#[derive(Debug)]
pub(super) struct Mean {
    frontier: Frontier,
    mixer: Mixer,
    /// What each set of exits costs, in a unit that is not measured frame by frame.
    costs: Option<Costs>,
    begun: bool,
}

impl Mean {
    /// What a frame really cost, in the frontier's unit.
    fn cost(&self, step: &Step, policy: &ExitPolicy) -> f64 {
        match (self.frontier.unit(), &self.costs) {
            (CostUnit::Seconds, _) => step.outcome.latency().as_secs_f64(),
            (_, Some(costs)) => costs.of_policy(policy, step.outcome.exit),
            (_, None) => step.joules.into(),
        }
    }
}

/// Whoever decides.
pub(super) enum Chooser {
    /// A table of the state of charge.
    Charge(SocSteps),
    /// A mean cost per frame, as expected by calibration.
    Mean(Box<Mean>),
    /// The budget of a mission.
    Mission(Box<BudgetGovernor>),
    /// A companion microcontroller.
    Companion(Companion),
}

impl Chooser {
    /// A governor for the mission that `args` ask for.
    pub(super) fn mission(
        args: &MissionArgs,
        (duration, period, resumed): (Duration, Duration, Duration),
        frontier: &Frontier,
        power: &PowerModel,
        battery: &BatteryFacts,
        learned: Option<Learned>,
    ) -> Result<Self, Failure> {
        let mut settings = GovernorSettings::new(battery.capacity_mwh);
        if battery.simulated {
            // A bucket of joules: neither losses nor a voltage.
            settings.efficiency = 1.0;
            settings.voltage_fall = 0.0;
        } else {
            settings = settings.with_chemistry(battery.chemistry);
        }
        settings.dwell = args.dwell;
        settings.brown_out_volts = args.brown_out_volts;
        let ladder = Ladder::new(frontier, power).or_input()?;
        let governor =
            BudgetGovernor::new(ladder, power, args.mission(duration, period, resumed)?, settings).or_input()?;
        Ok(Chooser::Mission(Box::new(match learned {
            Some(learned) => governor.with_learned(learned),
            None => governor,
        })))
    }

    /// The mean cost that a budget asks for; none without a budget.
    pub(super) fn mean(points: Option<&Points>, plan: &Plan) -> Result<Option<Self>, Failure> {
        let Some(Points { frontier, mixer: Some(mixer), .. }) = points else { return Ok(None) };
        let costs = (frontier.unit() == CostUnit::Macs).then(|| collect::mac_costs(plan)).transpose()?;
        let (frontier, mixer) = (frontier.clone(), mixer.clone());
        Ok(Some(Chooser::Mean(Box::new(Mean { frontier, mixer, costs, begun: false }))))
    }

    /// Tells what a frame came to: a mean cost is kept by making up for what frames cost beyond what was expected.
    pub(super) fn spent(&mut self, step: &Step) {
        if let Chooser::Mean(mean) = self
            && let Some(point) = mean.frontier.points().get(step.choice.point)
        {
            let cost = mean.cost(step, &point.policy);
            mean.mixer.spent(cost as f32);
        }
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
            Chooser::Mean(mean) => {
                let reason = if std::mem::replace(&mut mean.begun, true) { Reason::Budget } else { Reason::Start };
                Choice::new(mean.mixer.next_point(&mean.frontier), reason)
            }
            Chooser::Mission(governor) => governor.choose(input),
            Chooser::Companion(companion) => companion.choose(input),
        }
    }
}

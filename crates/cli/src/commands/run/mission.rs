//! Who decides, and for what: the options of the mission, and the governor they ask for.

use std::time::Duration;

use clap::{Args, ValueEnum};
use dyn_perceiver::calibrate::records::Costs;
use dyn_perceiver::collect;
use dyn_perceiver::energy::{
    BudgetGovernor, Chemistry, Choice, FrameDemand, Governor, GovernorInput, GovernorSettings, Ladder, Learned,
    Mission, PowerModel, Reason, SocSteps, Solar,
};
use dyn_perceiver::exit::{CostUnit, ExitPolicy, Frontier, Mixer};
use dyn_perceiver::pipeline::Step;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::Companion;

use crate::args::number::{self, millis_range, positive};
use crate::args::policy::Points;
use crate::args::share::Share;
#[cfg(feature = "live")]
use crate::live::Wish;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::time;

use super::away::Away;
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
    /// Expect a solar panel of these peak watts to charge the battery by day
    #[arg(long, value_name = "WATTS", value_parser = positive)]
    solar_wp: Option<f32>,
    /// Take the mission to begin at this time of day, for --day-night and --solar-wp [default: as the system's clock says,
    /// in UTC]
    #[arg(long, value_name = "HH:MM", value_parser = number::time_of_day)]
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
    pub(super) fn reserve(&self) -> Share {
        self.reserve
    }

    /// Frames a second that are wished for, and the longest time from frame to frame, where the governor chooses it; `period` is that
    /// of a fixed rate.
    #[cfg(feature = "http")]
    pub(super) fn wished(&self, period: Duration) -> (f64, Option<Duration>) {
        let seconds = self.between_ms.map_or(period, |(shortest, _)| shortest).as_secs_f64();
        let per_hour = self.per_hour.or_else(|| self.day_night.map(|(day, night)| 0.5 * (day + night)));
        let fps = per_hour.map_or_else(|| 1.0 / seconds.max(1e-3), |rate| f64::from(rate) / 3600.0);
        (fps, self.between_ms.map(|(_, longest)| longest))
    }

    /// Peak watts of the panel; 0 without one.
    #[cfg(feature = "http")]
    pub(super) fn solar_wp(&self) -> f32 {
        self.solar_wp.unwrap_or(0.0)
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
        if self.begins.is_some() && self.day_night.is_none() && self.solar_wp.is_none() {
            return wrong("--begins is for --day-night and --solar-wp");
        }
        let begins = || self.begins.map_or_else(|| began(resumed), Ok);
        let frames = match (self.between_ms, self.per_hour) {
            _ if let Some((day, night)) = self.day_night => FrameDemand::DayNight { day, night, begins: begins()? },
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
        let mut mission = Mission::new(duration, frames).with_reserve(self.reserve.get());
        if let Some(watts) = self.solar_wp {
            mission = mission.with_solar(Solar::new(watts, begins()?));
        }
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
        return wrong("the system's clock is not set: give the time of day with --begins HH:MM");
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
    /// The budget of a mission, and the accuracy that is or may be kept, which only somebody who looks on can change.
    Mission(Box<BudgetGovernor>, #[cfg_attr(not(feature = "live"), allow(dead_code))] Option<f32>),
    /// A companion microcontroller.
    Companion(Companion),
}

impl Chooser {
    /// A governor for the mission that `args` ask for.
    pub(super) fn mission(
        args: &MissionArgs,
        (duration, period, resumed): (Duration, Duration, Away),
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
            BudgetGovernor::new(ladder, power, args.mission(duration, period, resumed.at)?, settings).or_input()?;
        let governor = match learned {
            Some(learned) => governor.with_learned(learned),
            None => governor,
        };
        let governor = governor.resumed_at(resumed.at, resumed.away, resumed.joules);
        Ok(Chooser::Mission(Box::new(governor), args.floor.map(Share::get)))
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

    /// The governor of a mission.
    pub(super) fn budgeting(&self) -> Option<&BudgetGovernor> {
        match self {
            Chooser::Mission(governor, _) => Some(governor),
            _ => None,
        }
    }

    /// What it learned, to be stored.
    pub(super) fn learned(&self) -> Option<Learned> {
        match self {
            Chooser::Mission(governor, _) => Some(*governor.learned()),
            _ => None,
        }
    }

    /// The accuracy that is kept, where one is.
    #[cfg(feature = "live")]
    pub(super) fn floor(&self) -> Option<f32> {
        match self {
            Chooser::Mission(governor, _) => governor.mission().floor,
            _ => None,
        }
    }

    /// Does something otherwise, and says what; or why not.
    #[cfg(feature = "live")]
    pub(super) fn grant(&mut self, wish: Wish) -> Result<String, String> {
        let Chooser::Mission(governor, named) = self else {
            return Err("only a run in mode mission or floor has a mode and a floor to change".into());
        };
        let keeps = governor.mission().floor.is_some();
        let (keeps, floor) = match wish {
            Wish::KeepFloor(keeps) => (keeps, *named),
            Wish::Floor(floor) => (keeps, Some(floor)),
        };
        if keeps && floor.is_none() {
            return Err("mode floor needs a floor".into());
        }
        // Checked also where it is not in force yet.
        let before = governor.mission().floor;
        let set = governor.set_floor(floor).and_then(|()| governor.set_floor(if keeps { floor } else { None }));
        if let Err(error) = set {
            let _ = governor.set_floor(before);
            return Err(error.to_string());
        }
        *named = floor;
        Ok(match (keeps, floor) {
            (true, Some(floor)) => format!("mode floor: {} is kept", Share::new(floor)),
            (_, Some(floor)) => format!("mode mission; mode floor would keep {}", Share::new(floor)),
            _ => "mode mission".into(),
        })
    }

    /// Joules that a frame may add on average, if there is a budget.
    pub(super) fn budget(&self) -> Option<f32> {
        match self {
            Chooser::Mission(governor, _) => Some(governor.plan().budget),
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
            Chooser::Mission(governor, _) => governor.choose(input),
            Chooser::Companion(companion) => companion.choose(input),
        }
    }
}

#[cfg(all(feature = "live", test))]
mod tests {
    use dyn_perceiver::energy::JoulesSource;
    use dyn_perceiver::exit::{Measure, OperatingPoint};

    use super::*;

    fn chooser(floor: Option<f32>) -> Chooser {
        let policy = |threshold| ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[threshold]).unwrap();
        let points = [
            OperatingPoint::new(policy(0.0), 0.5, 1.0, &[1.0, 0.0]).unwrap(),
            OperatingPoint::new(policy(1.0), 0.9, 10.0, &[0.0, 1.0]).unwrap(),
        ];
        let frontier = Frontier::new(CostUnit::Macs, &points).unwrap();
        let power = PowerModel::new(0.5, &[1.0, 9.0], JoulesSource::Measured).unwrap();
        let second = Duration::from_secs(1);
        let mission = Mission::new(3600 * second, FrameDemand::Period(second));
        let mission = floor.map_or(mission, |floor| mission.with_floor(floor));
        let ladder = Ladder::new(&frontier, &power).unwrap();
        let governor = BudgetGovernor::new(ladder, &power, mission, GovernorSettings::new(1000.0)).unwrap();
        Chooser::Mission(Box::new(governor), floor)
    }

    #[test]
    fn a_mission_takes_another_mode_and_floor_and_says_so() {
        let mut mission = chooser(None);
        assert!(mission.grant(Wish::KeepFloor(true)).unwrap_err().contains("needs a floor"));
        assert_eq!(mission.grant(Wish::Floor(0.9)).unwrap(), "mode mission; mode floor would keep 90%");
        assert_eq!(mission.floor(), None);
        assert_eq!(mission.grant(Wish::KeepFloor(true)).unwrap(), "mode floor: 90% is kept");
        assert_eq!(mission.floor(), Some(0.9));
        assert!(mission.grant(Wish::Floor(2.0)).is_err());
        assert_eq!(mission.floor(), Some(0.9), "what makes no sense changes nothing");
        mission.grant(Wish::KeepFloor(false)).unwrap();
        assert_eq!(mission.floor(), None);
        let mut kept = chooser(Some(0.8));
        assert_eq!(kept.grant(Wish::Floor(0.85)).unwrap(), "mode floor: 85% is kept");
        let mut steps = Chooser::Charge(SocSteps::even(2));
        assert!(steps.grant(Wish::Floor(0.5)).unwrap_err().contains("mode mission"));
    }
}

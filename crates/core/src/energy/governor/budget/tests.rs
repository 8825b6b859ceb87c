//! Tests of the budget governor.

use proptest::prelude::*;

use super::super::ladder::tests::{frontier, power};
use super::*;
use crate::energy::gauge::{Fault, GaugeState, Supply};

const HOUR: Duration = Duration::from_secs(3600);

fn mission(frames: FrameDemand) -> Mission {
    Mission::new(10 * HOUR, frames)
}

/// Rungs of 1, 5.5 and 10 J, 0.5 W idle.
fn governor(mission: Mission, capacity_mwh: f32) -> BudgetGovernor {
    let ladder = Ladder::new(&frontier(&[(0.0, 0.5), (0.5, 0.8), (1.0, 0.9)]), &power()).unwrap();
    let settings = GovernorSettings::new(capacity_mwh).with_efficiency(1.0).with_voltage_fall(0.0);
    BudgetGovernor::new(ladder, &power(), mission, settings).unwrap()
}

fn good(seconds: u64, soc: f32) -> GovernorInput {
    GovernorInput::new(Duration::from_secs(seconds), GaugeState::Good(GaugeReading::new(soc)))
}

/// Plays a mission on a perfect battery that really holds `real_mwh`; returns the charge at the end.
fn play(governor: &mut BudgetGovernor, real_mwh: f32, period: f32, cost: f32) -> (f32, u32) {
    let (mut soc, mut switches, mut frames, mut joules) = (1.0, 0, 0, 0.0);
    let mut point = None;
    for tick in 0..3600u64 {
        let choice = governor.choose(&good(tick * 10, soc).with_frames(frames, joules));
        switches += u32::from(point.is_some_and(|point| point != choice.point));
        point = Some(choice.point);
        frames = (10.0 / choice.period.map_or(period, |p| p.as_secs_f32())) as u32;
        joules = frames as f32 * [1.0, 5.5, 10.0][choice.point] * cost;
        soc -= (joules + 5.0) / (real_mwh * 3.6);
    }
    (soc, switches)
}

#[test]
fn budget_lasts_the_mission_and_leaves_the_reserve_whatever_battery_and_frames_really_are() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    // Half a watt of idling and 3 W of frames for ten hours are 35 Wh.
    for (real, cost) in [(39_000.0, 1.0), (33_000.0, 1.0), (46_000.0, 1.0), (39_000.0, 1.2), (39_000.0, 0.8)] {
        let (soc, switches) = play(&mut governor(mission(second), 39_000.0), real, 1.0, cost);
        assert!((soc - 0.1).abs() < 0.01, "{real} mWh, cost x {cost}: {soc}");
        assert!(switches <= 1200, "at most one change a dwell: {switches}");
    }
}

#[test]
fn another_floor_holds_from_the_next_decision_on() {
    let mut poor = governor(mission(FrameDemand::Period(Duration::from_secs(1))), 10_000.0);
    let decision = |choice: Choice| (choice.point, choice.reason);
    assert_eq!(decision(poor.choose(&good(0, 1.0))), (0, Reason::CannotLast));
    poor.set_floor(Some(0.9)).unwrap();
    assert_eq!(decision(poor.choose(&good(1, 1.0))), (2, Reason::FloorCannotLast));
    assert_eq!(poor.set_floor(Some(1.5)), Err(MissionError::Floor(1.5)));
    assert_eq!(poor.mission().floor, Some(0.9));
    poor.set_floor(None).unwrap();
    assert_eq!(decision(poor.choose(&good(2, 1.0))), (0, Reason::CannotLast));
}

#[test]
fn budget_counts_on_a_panel_that_it_is_told_of() {
    let mission = mission(FrameDemand::Period(Duration::from_secs(1)));
    let at = |mission: Mission| {
        let mut governor = governor(mission, 15_000.0);
        governor.choose(&good(0, 0.9));
        governor.plan().watts
    };
    let morning = at(mission.with_solar(Solar::new(5.0, Duration::from_secs(6 * 3600))));
    let evening = at(mission.with_solar(Solar::new(5.0, Duration::from_secs(18 * 3600))));
    assert!(morning > evening + 0.5 && (evening - at(mission)).abs() < 0.2, "{morning} {evening} {}", at(mission));
    let none = mission.with_solar(Solar::new(0.0, Duration::ZERO));
    let ladder = Ladder::new(&frontier(&[(0.0, 0.5), (1.0, 0.9)]), &power()).unwrap();
    let refused = BudgetGovernor::new(ladder, &power(), none, GovernorSettings::new(1.0));
    assert_eq!(refused.err(), Some(MissionError::Solar(0.0)));
}

#[test]
fn budget_says_when_there_is_plenty_and_when_it_cannot_last() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut rich = governor(mission(second), 1_000_000.0);
    assert_eq!(rich.choose(&good(0, 1.0)), Choice { point: 2, period: None, reason: Reason::Plenty });
    let mut poor = governor(mission(second), 10_000.0);
    assert_eq!(poor.choose(&good(0, 1.0)), Choice { point: 0, period: None, reason: Reason::CannotLast });
    assert_eq!(rich.choose(&good(36_000, 0.9)).reason, Reason::MissionOver);
}

#[test]
fn budget_keeps_the_floor_and_tells_that_it_cannot_last() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut governor = governor(Mission { floor: Some(0.7), ..mission(second) }, 10_000.0);
    assert_eq!(governor.choose(&good(0, 1.0)), Choice { point: 1, period: None, reason: Reason::FloorCannotLast });
}

#[test]
fn budget_chooses_period_and_point_together() {
    let free = FrameDemand::Between(Duration::from_secs(1), Duration::from_secs(60));
    // Rung 0 gives most right answers per joule: first the period shortens, then the points get better.
    let choose = |mwh| governor(mission(free), mwh).choose(&good(0, 1.0));
    let poor = choose(7_000.0);
    assert_eq!(poor.point, 0);
    assert!(poor.period.unwrap() > Duration::from_secs(5) && poor.period.unwrap() < Duration::from_secs(60));
    assert_eq!(choose(30_000.0).period, Some(Duration::from_secs(1)));
    assert_eq!(choose(1_000_000.0), Choice { point: 2, period: Some(Duration::from_secs(1)), reason: Reason::Plenty });
    // What is chosen fits the energy: what 7 Wh hold above the reserve, less 5 Wh of idling, over ten hours at 1 J.
    // What is kept back makes the period longer.
    let watts = 0.9 * 7.0 / 10.0 - 0.5;
    assert!(poor.period.unwrap().as_secs_f32() > 1.0 / watts, "{poor:?}");
}

#[test]
fn budget_without_a_gauge_goes_on_by_the_charge_counted_and_recovers() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut governor = governor(mission(second), 1_000_000.0);
    let mut at = |seconds: u64, gauge: GaugeState| {
        let choice = governor.choose(&GovernorInput::new(Duration::from_secs(seconds), gauge));
        (choice.point, choice.reason)
    };
    let failed = GaugeState::Failed { fault: Fault::Nack };
    assert_eq!(at(0, failed), (0, Reason::GaugeFailed), "nothing is known");
    let last = GaugeReading::new(0.9);
    assert_eq!(at(30, GaugeState::Good(last)).0, 2);
    let stale = |age| GaugeState::Stale { last, age: Duration::from_secs(age), fault: Fault::Nack };
    assert_eq!(at(130, stale(100)), (2, Reason::StaleHold));
    assert_eq!(at(1030, failed), (2, Reason::GaugeFailed));
    assert_eq!(at(1100, GaugeState::Good(last)), (2, Reason::Plenty));
}

#[test]
fn budget_lasts_on_the_model_alone_once_the_gauge_is_lost() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut governor = governor(mission(second), 39_000.0);
    let (mut soc, mut frames, mut joules) = (1.0, 0, 0.0);
    for tick in 0..3600u64 {
        let gauge = if tick < 1200 {
            GaugeState::Good(GaugeReading::new(soc))
        } else {
            GaugeState::Failed { fault: Fault::Silent }
        };
        let input = GovernorInput::new(Duration::from_secs(tick * 10), gauge).with_frames(frames, joules);
        let choice = governor.choose(&input);
        frames = 10;
        joules = 10.0 * [1.0, 5.5, 10.0][choice.point];
        soc -= (1.1 * joules + 5.5) / (39_000.0 * 3.6);
    }
    // It has learned before that a tenth more is drawn, and keeps back for what it cannot see.
    assert!((0.09..0.2).contains(&soc), "{soc}");
}

#[test]
fn budget_below_the_reserve_takes_the_first_exit_and_below_the_brown_out_voltage_nothing() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut governor = governor(mission(second), 1_000_000.0);
    governor.guard = Guard::new(&GovernorSettings::new(1.0).with_brown_out_volts(3.2));
    assert_eq!(governor.choose(&good(0, 0.09)), Choice { point: 0, period: None, reason: Reason::Reserve });
    let mut volts = |seconds, volts| {
        let gauge = GaugeState::Good(GaugeReading::new(0.9).with_volts(volts));
        governor.choose(&GovernorInput::new(Duration::from_secs(seconds), gauge))
    };
    assert!(!volts(10, 3.1).stops(), "one low reading may be a glitch");
    assert!(volts(20, 3.1).stops());
    assert!(volts(30, 3.25).stops(), "recovered, but not by enough");
    assert!(!volts(90, 3.35).stops());
}

#[test]
fn budget_runs_the_most_accurate_point_on_external_power_and_goes_back_to_the_budget() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut governor = governor(mission(second), 10_000.0);
    assert_eq!(governor.choose(&good(0, 0.8)).reason, Reason::CannotLast);
    let mut at = |seconds: u64, gauge: GaugeState| {
        let choice = governor.choose(&GovernorInput::new(Duration::from_secs(seconds), gauge));
        (choice.point, choice.reason)
    };
    let external = |soc: f32| GaugeState::ExternalPower(GaugeReading::new(soc).with_supply(Supply::External));
    assert_eq!(at(10, external(0.8)), (2, Reason::ExternalPower), "at once, not after the dwell time");
    assert_eq!(at(20, external(0.05)), (2, Reason::ExternalPower), "also below the reserve");
    // Unplugged: the budget counts again at once.
    let (point, reason) = at(30, GaugeState::Good(GaugeReading::new(0.8)));
    assert!(point < 2, "{point} {reason}");
    assert_eq!(at(3600, GaugeState::Good(GaugeReading::new(0.8))), (0, Reason::CannotLast));
}

#[test]
fn budget_takes_the_shortest_period_on_external_power_and_does_not_brown_out() {
    let free = FrameDemand::Between(Duration::from_secs(1), HOUR);
    let mut governor = governor(mission(free), 5_000.0);
    governor.guard = Guard::new(&GovernorSettings::new(1.0).with_brown_out_volts(3.2));
    let low = GaugeReading::new(0.0).with_volts(2.9).with_supply(Supply::External);
    for seconds in 0..5 {
        let input = GovernorInput::new(Duration::from_secs(seconds), GaugeState::ExternalPower(low));
        let choice = governor.choose(&input);
        assert_eq!(choice, Choice::new(2, Reason::ExternalPower).with_period(Duration::from_secs(1)));
    }
}

#[test]
fn budget_refuses_impossible_missions() {
    let ladder = Ladder::new(&frontier(&[(0.0, 0.5)]), &power()).unwrap();
    let second = FrameDemand::Period(Duration::from_secs(1));
    let new = |mission, settings| BudgetGovernor::new(ladder.clone(), &power(), mission, settings).err();
    let (good, settings) = (mission(second), GovernorSettings::new(1000.0));
    assert_eq!(new(Mission { reserve: 1.0, ..good }, settings), Some(MissionError::Reserve(1.0)));
    assert_eq!(new(Mission { duration: Duration::ZERO, ..good }, settings), Some(MissionError::Duration));
    assert_eq!(new(mission(FrameDemand::PerHour(0.0)), settings), Some(MissionError::Rate(0.0)));
    let swapped = FrameDemand::Between(2 * HOUR, HOUR);
    assert_eq!(new(mission(swapped), settings), Some(MissionError::Period));
    assert_eq!(new(good, GovernorSettings::new(-1.0)), Some(MissionError::Capacity(-1.0)));
}

fn any_gauge() -> impl Strategy<Value = GaugeState> {
    let reading = (
        any::<f32>(),
        any::<f32>(),
        prop::sample::select(std::vec![Supply::Battery, Supply::Charging, Supply::External]),
    )
        .prop_map(|(soc, volts, supply)| GaugeReading::new(soc).with_volts(volts).with_supply(supply));
    (reading, 0u8..4, any::<u32>()).prop_map(|(reading, kind, age)| match kind {
        0 => GaugeState::Good(reading),
        1 => GaugeState::ExternalPower(reading),
        2 => GaugeState::Stale { last: reading, age: Duration::from_secs(age.into()), fault: Fault::Bus },
        _ => GaugeState::Failed { fault: Fault::Bus },
    })
}

proptest! {
    #[test]
    fn budget_of_any_input_gives_a_point_of_the_frontier(
        inputs in proptest::collection::vec((any_gauge(), any::<u16>(), any::<u32>(), any::<f32>()), 1..60),
    ) {
        for frames in [FrameDemand::Period(Duration::from_millis(100)), FrameDemand::PerHour(3.0),
                       FrameDemand::Between(Duration::from_millis(50), HOUR)] {
            let mut governor = governor(mission(frames), 30_000.0);
            let mut elapsed = Duration::ZERO;
            for (gauge, seconds, count, joules) in &inputs {
                elapsed += Duration::from_secs((*seconds).into());
                let choice = governor.choose(&GovernorInput::new(elapsed, *gauge).with_frames(*count, *joules));
                prop_assert!(choice.point < 3);
                if let Some(period) = choice.period {
                    prop_assert!(period >= Duration::from_millis(50) && period <= HOUR);
                }
            }
            prop_assert!(governor.learned().is_sound());
        }
    }
}

#[test]
fn budget_takes_a_full_reading_for_external_power_unless_the_voltage_sags() {
    let second = FrameDemand::Period(Duration::from_secs(1));
    let mut governor = governor(mission(second), 39_000.0);
    let mut at = |seconds: u64, external: bool, volts: f32| {
        let reading = GaugeReading::new(1.0).with_volts(volts);
        let gauge = if external { GaugeState::ExternalPower(reading) } else { GaugeState::Good(reading) };
        governor.choose(&GovernorInput::new(Duration::from_secs(seconds), gauge)).reason
    };
    assert_eq!(at(0, false, 4.2), Reason::Start);
    assert_eq!(at(60, true, 4.19), Reason::ExternalPower);
    assert_eq!(at(120, true, 4.12), Reason::StaleHold);
    assert_eq!(at(180, true, 4.2), Reason::ExternalPower);
}

#[test]
fn budget_expects_a_charger_where_the_mission_could_not_be_without_for_a_day() {
    // Half a watt for ten days is 120 Wh.
    let long = |hours: u32| Mission::new(hours * HOUR, FrameDemand::Period(Duration::from_secs(1)));
    let watts = |mission: Mission, capacity: f32, seconds: u64| {
        let mut governor = governor(mission, capacity);
        governor.choose(&good(seconds, 0.95));
        governor.plan().watts
    };
    let hopeless = long(240);
    assert!(watts(hopeless, 100_000.0, 0) > 0.05);
    assert!(watts(hopeless, 100_000.0, 90_000) < 0.0, "a day has shown none");
    // What a battery can do is planned without.
    let plain = watts(long(20), 15_000.0, 0);
    assert!((plain - (0.85 * 15.0 / 20.0 - 0.5)).abs() < 0.1, "{plain}");
}

/// A board that is off nine tenths of the time leaves frames what it does not draw, and its charge is counted as such.
#[test]
fn a_board_that_is_off_at_times_is_counted_and_planned_as_such() {
    let plan = |spared: f32, mean: f32| {
        let mut governor = governor(mission(FrameDemand::PerHour(100.0)), 10_000.0);
        governor.plan_resting_at(mean);
        let watts = if spared.is_nan() { 0.5 } else { 0.5 - spared };
        for minute in 0..60u64 {
            governor.drew(-60.0 * spared);
            governor.choose(&good(60 * minute, 0.9 - watts * 60.0 * minute as f32 / 36_000.0));
        }
        (governor.plan().watts, governor.learned().battery().idle_drain())
    };
    let (always, off) = (plan(0.0, 0.5), plan(0.45, 0.05));
    assert!((off.0 - always.0 - 0.45).abs() < 0.1, "{always:?} {off:?}");
    // A gauge that falls as is counted teaches nothing else.
    assert!((off.1 - always.1).abs() < 0.1, "{always:?} {off:?}");
    // Not a number changes nothing.
    assert_eq!(plan(f32::NAN, f32::NAN), always);
}

/// What an earlier run counted is not counted again, and a board that was switched off has not idled.
#[test]
fn resumed_mission_counts_the_time_away_once_and_as_it_was_spent() {
    let frames = FrameDemand::Period(Duration::from_secs(1));
    // Half a watt of idling and a joule a second for two hours.
    let mut first = governor(mission(frames), 20_000.0);
    for tick in 0..720u64 {
        let soc = 1.0 - tick as f32 * 15.0 / 72_000.0;
        first.choose(&good(tick * 10, soc).with_frames(10, 10.0));
    }
    let learned = *first.learned();
    let before = learned.battery().soc();
    // Three hours away: half a watt is 5400 J, 7.5 % of a charge; switched off at a hundredth of that with a boot it is 0.2 %.
    let resumed = |joules: f32| {
        let governor = governor(mission(frames), 20_000.0).with_learned(learned);
        let mut governor = governor.resumed_at(5 * HOUR, 3 * HOUR, joules);
        // The gauge does not answer yet: what is counted is all there is.
        let last = GaugeReading::new(1.0);
        let silent = GovernorInput::new(5 * HOUR, GaugeState::Stale { last, age: 3 * HOUR, fault: Fault::Nack });
        governor.choose(&silent);
        before - governor.learned().battery().soc()
    };
    let (idle, off) = (resumed(5400.0), resumed(154.0));
    assert!((idle - 0.075).abs() < 0.01, "{idle}");
    assert!((0.0..0.005).contains(&off), "{off}");
    assert!(resumed(f32::NAN).abs() < 1e-6);
}

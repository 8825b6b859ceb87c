//! Tests of the plausibility monitor.

use std::collections::VecDeque;
use std::vec::Vec;

use super::*;

#[derive(Debug)]
struct Failure(Fault);

impl SensorError for Failure {
    fn fault(&self) -> Fault {
        self.0
    }
}

/// Answers from a script; the last answer repeats.
struct Script(VecDeque<Result<GaugeReading, Fault>>);

impl FuelGauge for Script {
    type Error = Failure;

    fn read(&mut self) -> Result<GaugeReading, Failure> {
        let answer = if self.0.len() > 1 { self.0.pop_front() } else { self.0.front().copied() };
        answer.unwrap().map_err(Failure)
    }
}

fn monitor(script: &[Result<GaugeReading, Fault>]) -> GaugeMonitor<Script> {
    GaugeMonitor::new(Script(script.iter().copied().collect()), MonitorSettings::default())
}

const fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn monitor_retries_within_bounds_then_goes_stale_then_fails() {
    let good = GaugeReading::new(0.8);
    let mut w = monitor(&[Err(Fault::Nack), Err(Fault::Checksum), Ok(good), Err(Fault::Bus)]);
    assert_eq!(w.observe(seconds(0), 0.0), GaugeState::Good(good));
    let stale = GaugeState::Stale { last: good, age: seconds(60), fault: Fault::Bus };
    assert_eq!(w.observe(seconds(60), 0.0), stale);
    assert_eq!(w.observe(seconds(901), 0.0), GaugeState::Failed { fault: Fault::Bus });
    assert_eq!(monitor(&[Err(Fault::Nack)]).observe(seconds(0), 0.0), GaugeState::Failed { fault: Fault::Nack });
}

#[test]
fn monitor_does_not_believe_impossible_values() {
    for bad in [
        GaugeReading::new(1.2),
        GaugeReading::new(-0.1),
        GaugeReading::new(f32::NAN),
        GaugeReading::new(0.5).with_volts(0.3),
        GaugeReading::new(0.5).with_volts(f32::NAN),
    ] {
        assert_eq!(monitor(&[Ok(bad)]).observe(seconds(0), 0.0), GaugeState::Failed { fault: Fault::OutOfRange });
    }
}

#[test]
fn monitor_tells_a_value_that_never_changes_under_load_as_stuck_until_it_moves() {
    let mut script = std::vec![Ok(GaugeReading::new(0.7)); 6];
    script.push(Ok(GaugeReading::new(0.64)));
    let mut w = monitor(&script);
    let stuck = |state| matches!(state, GaugeState::Stale { fault: Fault::Stuck, .. });
    let states: Vec<_> = (0..7).map(|i| w.observe(seconds(i * 60), 0.01)).collect();
    assert!(matches!(states[4], GaugeState::Good(_)));
    assert!(stuck(states[5]));
    assert!(matches!(states[6], GaugeState::Good(_)));
    // Without a load nothing needs to change.
    let mut w = monitor(&[Ok(GaugeReading::new(0.7))]);
    assert!((0..100).all(|i| matches!(w.observe(seconds(i), 0.0), GaugeState::Good(_))));
}

#[test]
fn monitor_takes_a_full_battery_that_does_not_fall_for_external_power() {
    // A gauge that does not know of the charger, and one whose last digit flickers.
    for script in [[1.0, 1.0], [0.99, 0.985]] {
        let full = script.map(|soc| Ok(GaugeReading::new(soc).with_volts(4.15)));
        let mut w = monitor(&full.repeat(60));
        let states: Vec<_> = (0..120).map(|i| w.observe(seconds(i * 60), 0.01)).collect();
        assert!(matches!(states[4], GaugeState::Good(_)));
        assert!(states[5..].iter().all(|state| matches!(state, GaugeState::ExternalPower(_))), "{states:?}");
        assert!(w.take_trouble().is_none());
    }
    // Unplugged: the first reading that falls is one of a battery in use.
    let mut script = std::vec![Ok(GaugeReading::new(1.0)); 9];
    script.push(Ok(GaugeReading::new(0.97)));
    let mut w = monitor(&script);
    let states: Vec<_> = (0..10).map(|i| w.observe(seconds(i * 60), 0.01)).collect();
    assert!(matches!(states[8..], [GaugeState::ExternalPower(_), GaugeState::Good(_)]), "{states:?}");
}

#[test]
fn monitor_takes_a_frozen_charge_for_stuck_where_the_voltage_sags_or_the_gauge_tells_discharge() {
    let sagging = |i: u8| GaugeReading::new(1.0).with_volts(4.15 - 0.02 * f32::from(i));
    let discharging = |_| GaugeReading::new(1.0).with_supply(Supply::Battery);
    let scripts: [Vec<_>; 2] = [(0..30).map(sagging).collect(), (0..30).map(discharging).collect()];
    for script in scripts {
        let script: Vec<_> = script.into_iter().map(Ok).collect();
        let mut w = monitor(&script);
        let states: Vec<_> = (0..30).map(|i| w.observe(seconds(i * 60), 0.01)).collect();
        assert!(matches!(states[29], GaugeState::Failed { fault: Fault::Stuck }), "{states:?}");
    }
}

#[test]
fn monitor_believes_a_gauge_that_tells_of_external_power() {
    let held = GaugeReading::new(0.8).with_volts(4.0).with_supply(Supply::External);
    let mut w = monitor(&[Ok(held)]);
    for i in 0..200 {
        assert_eq!(w.observe(seconds(i * 60), 0.01), GaugeState::ExternalPower(held));
    }
}

#[test]
fn monitor_tells_once_why_the_gauge_is_not_believed() {
    #[derive(Clone, Debug)]
    struct Loose;
    impl SensorError for Loose {
        fn fault(&self) -> Fault {
            Fault::Nack
        }
    }
    impl fmt::Display for Loose {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("I2C address 0x36: the wire is loose")
        }
    }
    struct Wire(VecDeque<Result<GaugeReading, Loose>>);
    impl FuelGauge for Wire {
        type Error = Loose;
        fn read(&mut self) -> Result<GaugeReading, Loose> {
            self.0.pop_front().unwrap_or(Err(Loose))
        }
    }
    let bad = GaugeReading::new(1.2).with_volts(3.8);
    let script = [Ok(GaugeReading::new(0.5)), Err(Loose), Err(Loose), Ok(GaugeReading::new(0.5)), Ok(bad), Ok(bad)];
    let mut w = GaugeMonitor::new(Wire(script.into()), MonitorSettings::default().with_retries(0));
    let told: Vec<_> = (0..8).map(|i| (w.observe(seconds(i), 0.0), w.take_trouble()).1).collect();
    let told: Vec<_> = told.into_iter().map(|told| told.map(|told| std::format!("{told}"))).collect();
    let loose = "no answer: I2C address 0x36: the wire is loose";
    let high = "value out of range at 120.0 % charge and 3.80 V";
    let expected = [None, Some(loose), None, None, Some(high), None, Some(loose), None];
    assert_eq!(told, expected.map(|text| text.map(std::string::String::from)));
}

#[test]
fn monitor_does_not_believe_charge_from_nowhere() {
    let mut w = monitor(&[
        Ok(GaugeReading::new(0.5)),
        Ok(GaugeReading::new(0.9)),
        Ok(GaugeReading::new(0.5)),
        Ok(GaugeReading::new(0.9).with_supply(Supply::Charging)),
    ]);
    assert!(matches!(w.observe(seconds(0), 0.0), GaugeState::Good(_)));
    assert!(matches!(w.observe(seconds(1), 0.0), GaugeState::Stale { fault: Fault::Jump, .. }));
    assert!(matches!(w.observe(seconds(2), 0.0), GaugeState::Good(_)));
    assert!(matches!(w.observe(seconds(3), 0.0), GaugeState::Good(_)));
}

#[test]
fn monitor_does_not_believe_a_jump_once_the_battery_has_drained_by_as_much() {
    let mut script = std::vec![Ok(GaugeReading::new(0.6).with_volts(3.9))];
    script.extend((0..40u8).map(|i| Ok(GaugeReading::new(0.9 - 0.01 * f32::from(i)).with_volts(3.5))));
    let mut w = monitor(&script);
    assert!(matches!(w.observe(seconds(0), 0.0), GaugeState::Good(_)));
    for i in 1..=40 {
        let state = w.observe(seconds(20 * i), 0.01);
        // The voltage is fresh although the charge is not believed.
        assert!(
            matches!(state, GaugeState::Stale { fault: Fault::Jump, last, .. } if last.volts == Some(3.5)),
            "{i}: {state:?}"
        );
    }
}

#[test]
fn monitor_does_not_take_a_jump_to_full_that_stays_for_external_power() {
    let mut w = monitor(&[Ok(GaugeReading::new(0.5)), Ok(GaugeReading::new(1.0))]);
    assert!(matches!(w.observe(seconds(0), 0.0), GaugeState::Good(_)));
    for i in 1..=30 {
        let state = w.observe(seconds(20 * i), 0.005);
        assert!(matches!(state, GaugeState::Stale { .. } | GaugeState::Failed { .. }), "{i}: {state:?}");
    }
}

#[test]
fn monitor_does_not_lose_a_gauge_over_one_low_reading() {
    let mut script = std::vec![Ok(GaugeReading::new(0.8)), Ok(GaugeReading::new(0.8)), Ok(GaugeReading::new(0.3))];
    script.push(Ok(GaugeReading::new(0.8)));
    let mut w = monitor(&script);
    let states: Vec<_> = (0..40).map(|i| w.observe(seconds(i), 0.0)).collect();
    assert!(matches!(states[2], GaugeState::Stale { fault: Fault::Jump, .. }), "{states:?}");
    assert!(states[3..].iter().all(|state| matches!(state, GaugeState::Good(_))), "{states:?}");
}

#[test]
fn monitor_believes_another_level_that_lasts_after_a_gap() {
    let mut script = std::vec![Ok(GaugeReading::new(0.8))];
    script.extend([Err(Fault::Nack); 3 * 6]);
    script.extend((0..20u8).map(|i| Ok(GaugeReading::new(0.55 - 0.001 * f32::from(i)))));
    let mut w = monitor(&script);
    let states: Vec<_> = (0..27).map(|i| w.observe(seconds(60 * i), 0.001)).collect();
    assert!(matches!(states[8], GaugeState::Stale { fault: Fault::Jump, .. }), "{states:?}");
    assert!(matches!(states[26], GaugeState::Good(_)), "{states:?}");
}

#[test]
fn monitor_does_not_believe_a_fall_that_the_voltage_knows_nothing_of_but_one_that_it_does() {
    for (volts, believed) in [(3.99, false), (3.6, true)] {
        let mut script = std::vec![Ok(GaugeReading::new(0.8).with_volts(4.0)); 4];
        script.extend((0..60u8).map(|i| Ok(GaugeReading::new(0.5 - 0.001 * f32::from(i)).with_volts(volts))));
        let mut w = monitor(&script);
        let last = (0..64).map(|i| w.observe(seconds(30 * i), 0.001)).last().unwrap();
        assert_eq!(matches!(last, GaugeState::Good(_)), believed, "{last:?}");
    }
}

#[test]
fn monitor_lets_a_gauge_of_four_leds_step_and_flicker() {
    let levels = [0.75; 13].into_iter().chain([0.5, 0.75, 0.5, 0.5]).chain([0.5; 12]).chain([0.25; 4]);
    let script: Vec<_> = levels.map(|soc| Ok(GaugeReading::new(soc))).collect();
    let mut w = monitor(&script);
    let states: Vec<_> = (0..33).map(|i| w.observe(seconds(60 * i), 0.01)).collect();
    assert!(states[13..].iter().all(|state| matches!(state, GaugeState::Good(_))), "{states:?}");
}

//! Tests of what a governor learns.

use super::*;

#[test]
fn learned_a_smaller_battery_through_a_coarse_gauge() {
    let mut learned = Learned::new(36_000.0);
    let mut soc = 1.0f32;
    learned.drain(0, 0.0, (0.0, 0.0), Some(&GaugeReading::new(1.0)));
    while soc > 0.4 {
        soc -= 10.0 / 27_000.0;
        learned.drain(0, 10.0, (10.0, 0.0), Some(&GaugeReading::new(libm::roundf(soc * 100.0) / 100.0)));
    }
    assert!((learned.joules_per_charge() / 27_000.0 - 1.0).abs() < 0.1, "{}", learned.joules_per_charge());
    assert!((learned.soc().unwrap() - soc).abs() < 0.01);
    assert!(learned.is_sound());
}

#[test]
fn learned_what_frames_cost_and_how_many_come() {
    let mut learned = Learned::new(1.0);
    for _ in 0..3600 {
        learned.frames(0, 10.0, (20.0, 10.0), (2.4, 2.0));
    }
    assert!((learned.price - 1.2).abs() < 0.01);
    assert!((learned.demand(36_000.0) - 1.5).abs() < 0.01);
    learned.frames(1, 10.0, (1.0, 1.0), (f32::NAN, 1.0));
    assert!(learned.is_sound());
}

#[test]
fn learned_sees_a_charger_that_the_gauge_does_not_tell_of() {
    let mut learned = Learned::new(36_000.0);
    let mut soc = 0.6f32;
    let mut step = |learned: &mut Learned, change: f32, minutes: u32| {
        for _ in 0..minutes {
            soc += change / 60.0;
            learned.drain(0, 60.0, (18.0, 0.0), Some(&GaugeReading::new(libm::roundf(soc * 256.0) / 256.0)));
        }
    };
    step(&mut learned, -0.03, 180);
    assert!(!learned.battery().is_sunny());
    step(&mut learned, 0.06, 120);
    assert!(learned.battery().is_sunny());
    step(&mut learned, 0.06, 60);
    assert!((learned.battery().income() - 0.09).abs() < 0.02, "{}", learned.battery().income());
}

#[test]
fn learned_a_resistance_and_that_cold_takes_more_of_a_charge() {
    let mut learned = Learned::new(36_000.0);
    let reading = |soc: f32, volts: f32, celsius: f32| GaugeReading::new(soc).with_volts(volts).with_celsius(celsius);
    learned.drain(0, 0.0, (0.0, 0.0), Some(&reading(0.9, 4.0, 20.0)));
    let (mut warm, mut cold) = (learned, learned);
    for minute in 0..600u16 {
        // One and two amperes through a tenth of an ohm.
        let amperes = if minute / 10 % 2 == 0 { 1.0 } else { 2.0 };
        let volts = 4.0 - 0.1 * amperes;
        learned.drain(0, 60.0, (30.0, 60.0 * (volts * amperes - 0.5)), Some(&reading(0.9, volts, 0.0)));
    }
    assert!((learned.ohms().unwrap() - 0.1).abs() < 0.01, "{:?}", learned.ohms());
    assert!(learned.is_sound());
    // The hour in which the cold comes, and one at the same temperature.
    warm.drain(0, 3600.0, (3600.0, 0.0), Some(&reading(0.9, 4.0, 20.0)));
    cold.drain(0, 3600.0, (3600.0, 0.0), Some(&reading(0.9, 4.0, -10.0)));
    assert!(cold.soc().unwrap() < warm.soc().unwrap());
    assert!(cold.is_sound());
}

#[test]
fn learned_sees_a_load_that_something_carries_and_goes_back_to_the_drains_of_before() {
    let mut learned = Learned::new(36_000.0);
    let mut soc = 0.9f32;
    learned.drain(0, 0.0, (0.0, 0.0), Some(&GaugeReading::new(soc)));
    let mut hour = 0;
    // A sun that carries the whole load: the charge neither falls nor rises.
    while !learned.battery().is_sunny() && hour < 12 {
        for _ in 0..60 {
            learned.drain(hour, 60.0, (18.0, 0.0), Some(&GaugeReading::new(soc)));
            soc -= 1e-5;
        }
        hour += 1;
    }
    assert!(learned.battery().is_sunny() && hour > 1, "{hour}");
    assert!((0.95..1.1).contains(&learned.battery().idle_drain()), "{}", learned.battery().idle_drain());
}

#[test]
fn learned_of_an_earlier_version_is_read_and_not_gone_on_with() {
    let old = r#"{"soc":0.5,"nameplate":36000.0,"spent":1.0,"fallen":0.1,"price":1.2,"frames":3.0,"planned":2.0}"#;
    let old: Learned = serde_json::from_str(old).unwrap();
    let fresh = Learned::new(36_000.0);
    assert_eq!(old.resumed(fresh), fresh);
    let mut kept = fresh;
    kept.drain(0, 1.0, (1.0, 0.0), Some(&GaugeReading::new(0.7)));
    let text = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<Learned>(&text).unwrap().resumed(fresh), kept);
    assert_eq!(kept.resumed(Learned::new(1.0)), Learned::new(1.0));
}

#[test]
fn learned_the_weather_of_the_day_and_forgets_it_by_night() {
    let mut learned = Learned::new(360_000.0);
    learned.expect_sun(0.1, 6.0);
    learned.drain(0, 0.0, (0.0, 0.0), Some(&GaugeReading::new(0.5)));
    // A day that brings nothing: the load takes what it should.
    let mut soc = 0.5f32;
    for minute in 0..480u32 {
        soc -= 0.02 / 60.0;
        learned.drain(minute / 60, 60.0, (120.0, 0.0), Some(&GaugeReading::new(libm::roundf(soc * 256.0) / 256.0)));
        learned.frames(minute / 60, 60.0, (0.0, 0.0), (0.0, 0.0));
    }
    let day = learned.sky;
    assert!(day < 0.6, "{day}");
    for minute in 0..600u32 {
        soc -= 0.02 / 60.0;
        let hour = 12 + minute / 60;
        learned.drain(hour, 60.0, (120.0, 0.0), Some(&GaugeReading::new(libm::roundf(soc * 256.0) / 256.0)));
        learned.frames(hour, 60.0, (0.0, 0.0), (0.0, 0.0));
    }
    assert!(learned.sky > day && learned.sky < 1.0 && learned.is_sound(), "{day} and {}", learned.sky);
}

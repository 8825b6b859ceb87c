use super::*;

/// A battery that idling drains by `idle` and frames by `frames` times what is told, read through `gauge`.
fn observed(hours: u32, idle: f32, frames: f32, gauge: impl Fn(f32) -> f32) -> (ChargeEstimator, f32) {
    let mut battery = ChargeEstimator::new(0.0);
    let mut soc = 1.0;
    battery.begin(gauge(soc));
    for minute in 0..60 * hours {
        // Loads vary: frames in every other hour.
        let load = if minute / 60 % 2 == 0 { 0.03 } else { 0.0 };
        soc -= (idle * 0.03 + frames * load) / 60.0;
        battery.predict(60.0, (0.03 / 60.0, load / 60.0), None);
        battery.correct(gauge(soc));
    }
    (battery, soc)
}

#[test]
fn charge_learns_both_drains_of_another_battery() {
    for (idle, frames) in [(1.3, 1.3), (0.7, 0.8), (1.3, 0.8), (0.8, 1.2)] {
        let (battery, soc) = observed(12, idle, frames, |soc| libm::roundf(soc * 256.0) / 256.0);
        assert!((battery.soc() - soc).abs() < 0.01, "{} for {soc}", battery.soc());
        // The sum is seen well, the two apart only as far as loads vary by more than the gauge errs.
        let (sum, found) = (idle + 0.5 * frames, battery.idle_drain() + 0.5 * battery.frame_drain());
        assert!((found / sum - 1.0).abs() < 0.05, "{found} for {sum}");
        if idle != frames {
            assert_eq!(battery.idle_drain() > battery.frame_drain(), idle > frames, "{battery:?}");
        }
        assert!(battery.is_sound());
    }
}

#[test]
fn charge_goes_on_by_the_model_behind_a_stuck_gauge_and_is_less_sure() {
    let (battery, soc) = observed(12, 1.1, 1.1, |soc| if soc < 0.8 { 0.8 } else { soc });
    assert!((battery.soc() - soc).abs() < 0.03, "{} for {soc}", battery.soc());
    assert!(battery.soc_deviation() > 0.015);
}

#[test]
fn charge_is_found_through_a_gauge_of_few_steps() {
    let (battery, soc) = observed(14, 1.1, 1.1, |soc| libm::roundf(soc * 4.0) / 4.0);
    assert!((battery.soc() - soc).abs() < 0.05, "{} for {soc}", battery.soc());
}

#[test]
fn charge_tells_income_from_drain_once_it_is_expected() {
    let mut battery = ChargeEstimator::new(0.16);
    let mut soc = 0.5;
    battery.begin(soc);
    battery.expect_income((1.0, 1.0));
    for _ in 0..180 {
        soc += (0.08 - 0.03) / 60.0;
        battery.predict(60.0, (0.03 / 60.0, 0.0), None);
        battery.correct(libm::roundf(soc * 256.0) / 256.0);
    }
    assert!((battery.income() - 0.08).abs() < 0.015, "{}", battery.income());
    assert!((battery.idle_drain() - 1.0).abs() < 0.05);
}

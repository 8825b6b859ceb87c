//! A decision costs microseconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dyn_perceiver::energy::{
    BudgetGovernor, FrameDemand, GaugeReading, GaugeState, Governor, GovernorInput, GovernorSettings, JoulesSource,
    Ladder, Mission, PowerModel,
};
use dyn_perceiver::exit::{CostUnit, ExitPolicy, Frontier, Measure, OperatingPoint};

#[test]
fn a_full_decision_over_64_points_takes_less_than_10_microseconds() {
    let points: Vec<OperatingPoint> = (0..64u8)
        .map(|index| {
            let onwards = f32::from(index) / 63.0;
            OperatingPoint {
                policy: ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[onwards]).unwrap(),
                accuracy: 0.5 + 0.4 * onwards.sqrt(),
                cost: 1.0 + onwards,
                shares: heapless::Vec::from_slice(&[1.0 - onwards, onwards]).unwrap(),
            }
        })
        .collect();
    let frontier = Frontier::new(CostUnit::Macs, &points).unwrap();
    let power = PowerModel::new(2.6, &[0.1, 0.4], JoulesSource::Modelled).unwrap();
    let ladder = Ladder::new(&frontier, &power).unwrap();
    assert_eq!(ladder.rungs().len(), 64, "all on the hull: the longest ladder");
    let frames = FrameDemand::Period(Duration::from_millis(250));
    let mission = Mission { duration: Duration::from_secs(86_400), reserve: 0.1, frames, floor: None };
    let settings = GovernorSettings::new(170_000.0);
    let mut governor = BudgetGovernor::new(ladder, &power, mission, settings).unwrap();
    // The quietest of many batches: others may be using this machine.
    let mut step = 0u32;
    let fastest = (0..200)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..10 {
                step += 1;
                let gauge = GaugeState::Good(GaugeReading::new(1.0 - step as f32 / 4000.0).with_volts(3.8));
                let input = GovernorInput::new(settings.dwell * step, gauge).with_frames(120, 30.0);
                black_box(governor.choose(black_box(&input)));
            }
            begun.elapsed() / 10
        })
        .min()
        .unwrap();
    assert!(fastest < Duration::from_micros(10), "{fastest:?}");
}

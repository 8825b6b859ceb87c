//! What the benches of the decision path and its instruction counts share: the largest governor there is.

use std::time::Duration;

use dyn_perceiver::energy::{
    BudgetGovernor, FrameDemand, GaugeReading, GaugeState, GovernorInput, GovernorSettings, JoulesSource, Ladder,
    Mission, PowerModel,
};
use dyn_perceiver::exit::{CostUnit, ExitPolicy, Frontier, MAX_POINTS, Measure, OperatingPoint};

/// A frontier as long as there can be, every point of it on the convex hull.
pub(crate) fn frontier() -> Frontier {
    let points: Vec<OperatingPoint> = (0..MAX_POINTS)
        .map(|index| {
            let onwards = index as f32 / (MAX_POINTS - 1) as f32;
            let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[onwards]).unwrap();
            OperatingPoint::new(policy, 0.5 + 0.4 * onwards.sqrt(), 1.0 + onwards, &[1.0 - onwards, onwards]).unwrap()
        })
        .collect();
    Frontier::new(CostUnit::Macs, &points).unwrap()
}

/// A governor over that frontier, and its settings.
pub(crate) fn governor() -> (BudgetGovernor, GovernorSettings) {
    let power = PowerModel::new(2.6, &[0.1, 0.4], JoulesSource::Modelled).unwrap();
    let ladder = Ladder::new(&frontier(), &power).unwrap();
    assert_eq!(ladder.rungs().len(), MAX_POINTS, "the longest ladder");
    // Longer than all calls together: a mission that is over takes no decisions.
    let frames = FrameDemand::Period(Duration::from_millis(250));
    let mission = Mission::new(Duration::from_secs(1 << 31), frames);
    let settings = GovernorSettings::new(8.0 * (1u64 << 29) as f32);
    (BudgetGovernor::new(ladder, &power, mission, settings).unwrap(), settings)
}

/// What the governor sees at its `call`th decision: a battery that drains slowly.
pub(crate) fn input(settings: &GovernorSettings, call: u32) -> GovernorInput {
    let gauge = GaugeState::Good(GaugeReading::new(1.0 - (call % 40_000) as f32 / 80_000.0).with_volts(3.8));
    GovernorInput::new(settings.dwell * call, gauge).with_frames(120, 30.0)
}

/// Logits of an exit with 1,000 classes.
pub(crate) fn logits() -> Vec<f32> {
    (0..1000).map(|i| (i * 37 % 101) as f32 / 10.0).collect()
}

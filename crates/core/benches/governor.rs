//! What a decision of the governor costs: `cargo bench -p dyn-perceiver-core --bench governor`. On a microcontroller
//! instructions and stack are counted instead, by `boards/companion-mcu/check.sh`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dyn_perceiver_core::energy::{
    BudgetGovernor, FrameDemand, GaugeReading, GaugeState, Governor as _, GovernorInput, GovernorSettings,
    JoulesSource, Ladder, Mission, PowerModel, Solar,
};
use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, Frontier, MAX_POINTS, Measure, OperatingPoint};

/// A ladder of as many rungs as there may be.
fn ladder(power: &PowerModel) -> Ladder {
    let points: Vec<_> = (0..MAX_POINTS)
        .map(|index| {
            let onwards = index as f32 / (MAX_POINTS - 1) as f32;
            let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[onwards]).unwrap();
            let accuracy = 0.5 + 0.4 * onwards.sqrt();
            OperatingPoint::new(policy, accuracy, 1.0 + 9.0 * onwards, &[1.0 - onwards, onwards]).unwrap()
        })
        .collect();
    Ladder::new(&Frontier::new(CostUnit::Macs, &points).unwrap(), power).unwrap()
}

fn governor(c: &mut Criterion) {
    let power = PowerModel::new(2.7, &[0.3, 0.44], JoulesSource::Modelled).unwrap();
    let week = Duration::from_secs(7 * 86_400);
    let between = FrameDemand::Between(Duration::from_millis(250), Duration::from_secs(5));
    let panel = Solar::new(20.0, Duration::from_secs(6 * 3600));
    for (name, mission) in [
        ("a week on a battery", Mission::new(week, between)),
        ("a week in the sun", Mission::new(week, between).with_solar(panel)),
    ] {
        let settings = GovernorSettings::new(805_000.0);
        let mut governor = BudgetGovernor::new(ladder(&power), &power, mission, settings).unwrap();
        let input = |seconds: u64| {
            let soc = 0.99 - 0.1 * seconds as f32 / 86_400.0;
            let gauge = GaugeState::Good(GaugeReading::new(soc).with_volts(3.9));
            GovernorInput::new(Duration::from_secs(seconds), gauge).with_frames(60, 30.0)
        };
        // Half a day behind it and most ahead.
        for seconds in (0..43_200).step_by(30) {
            governor.choose(&input(seconds));
        }
        c.bench_function(&format!("full decision in {name}"), |b| {
            // A dwell time after the last one, or it would only be held.
            let decide = |governor: &mut BudgetGovernor| governor.choose(black_box(&input(43_200)));
            b.iter_batched_ref(|| governor.clone(), decide, BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, governor);
criterion_main!(benches);

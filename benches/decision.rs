//! What the decision path costs on this machine: `cargo bench --bench decision`.
//!
//! Nanoseconds per call over a frontier of 64 points, the longest there is: the median and the quietest of many batches.
//! Instructions on a microcontroller are counted by `boards/companion-mcu/check.sh`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dyn_perceiver::energy::{
    BudgetGovernor, FrameDemand, GaugeReading, GaugeState, Governor, GovernorInput, GovernorSettings, JoulesSource,
    Ladder, Mission, PowerModel,
};
use dyn_perceiver::exit::{CostUnit, ExitPolicy, Frontier, Measure, OperatingPoint};

const POINTS: usize = 64;
const BATCHES: usize = 200;
const CALLS: u32 = 100;

fn report(name: &str, mut call: impl FnMut(u32)) {
    let mut batches: Vec<f64> = (0..BATCHES as u32)
        .map(|batch| {
            let begun = Instant::now();
            (0..CALLS).for_each(|i| call(batch * CALLS + i));
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    println!("{name:<44} median {:>8.0} ns, quietest {:>8.0} ns", batches[BATCHES / 2], batches[0]);
}

fn main() {
    println!("machine  {}", dyn_perceiver_host::State::here().line());
    let points: Vec<OperatingPoint> = (0..POINTS as u8)
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
    assert_eq!(ladder.rungs().len(), POINTS, "all on the hull: the longest ladder");
    // Longer than all calls together: a mission that is over takes no decisions.
    let frames = FrameDemand::Period(Duration::from_millis(250));
    let mission = Mission { duration: Duration::from_secs(700_000), reserve: 0.1, frames, floor: None };
    let settings = GovernorSettings::new(8.0 * 170_000.0);
    let mut governor = BudgetGovernor::new(ladder, &power, mission, settings).unwrap();
    report("operating point by budget", |i| {
        black_box(frontier.by_budget(black_box(1.0 + (i % 1000) as f32 / 1000.0)));
    });
    report("governor, full decision", |i| {
        let gauge = GaugeState::Good(GaugeReading::new(1.0 - i as f32 / 40_000.0).with_volts(3.8));
        let input = GovernorInput::new(settings.dwell * i, gauge).with_frames(120, 30.0);
        black_box(governor.choose(black_box(&input)));
    });
    let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 / 10.0).collect();
    report("confidence of 1,000 logits", |_| {
        black_box(Measure::MaxSoftmax.read(black_box(&logits)).unwrap());
    });
}

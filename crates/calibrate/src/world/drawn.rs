//! What chance brings in one mission, tick by tick, the same for whoever decides.

use super::chance::{Wander, between, gauss};
use super::pack::PackFacts;
use super::situation::{Coming, Situation};

/// Seconds of a tick.
pub(super) const TICK: f64 = 30.0;
/// Time of day at which missions begin, in hours.
pub(super) const BEGINS: f64 = 6.0;

/// One tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tick {
    /// The board's idle watts.
    pub(super) idle: f64,
    /// Real joules over those of the power model.
    pub(super) dear: f64,
    /// Share of the frames that a gate lets pass.
    pub(super) passes: f64,
    pub(super) celsius: f64,
    pub(super) sun: f64,
    pub(super) easy: bool,
    /// Events that come.
    pub(super) events: f64,
    pub(super) plugged: bool,
    /// Luck of the frames' joules.
    pub(super) luck: f64,
}

/// One mission.
#[derive(Clone, Debug)]
pub(super) struct Drawn {
    pub(super) seed: u64,
    pub(super) pack: PackFacts,
    pub(super) ticks: Vec<Tick>,
    /// When a fault begins, in hours.
    pub(super) fault_hour: f64,
}

impl Drawn {
    pub(super) fn draw(situation: &Situation, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xB0A7);
        let hours = situation.hours;
        let pack = PackFacts {
            cells: situation.cells,
            label_wh: situation.label_wh,
            health: between(&mut rng, situation.health),
            peukert: situation.peukert,
        };
        let mean = between(&mut rng, situation.celsius);
        let fault_hour = hours * between(&mut rng, (0.2, 0.7));
        let plug_hour = hours * between(&mut rng, (0.3, 0.6));
        let bursts: Vec<f64> = (0..3).map(|_| rng.f64() * (hours - 1.0)).collect();
        let mut idle = Wander::new(&mut rng, 0.05, 6.0 * 3600.0);
        let mut dear = Wander::new(&mut rng, 0.08, 3600.0);
        let mut air = Wander::new(&mut rng, 1.5, 4.0 * 3600.0);
        // Days are alike but not the same, and clouds come and go within the hour.
        let mut sky = Wander::new(&mut rng, 0.22, 30.0 * 3600.0);
        let mut cloud = Wander::new(&mut rng, 0.25, 1800.0);
        let mut easy = rng.bool();
        let count = (hours * 3600.0 / TICK).round() as usize;
        let ticks = (0..count).map(|index| {
            let hour = index as f64 * TICK / 3600.0;
            let of_day = (hour + BEGINS).rem_euclid(24.0);
            let (hard, soft) = situation.spells;
            if rng.f64() < TICK / if easy { soft } else { hard } {
                easy = !easy;
            }
            let turn = core::f64::consts::TAU / 24.0;
            let height = ((of_day - 6.0) * turn).sin().max(0.0).powf(1.2);
            let clear = (0.68 + sky.next(&mut rng, TICK) + cloud.next(&mut rng, TICK)).clamp(0.08, 1.0);
            let burst = if bursts.iter().any(|at| (*at..at + 1.0).contains(&hour)) { 10.0 } else { 1.0 };
            let by_day = |(day, night): (f64, f64)| if (6.0..18.0).contains(&of_day) { day } else { night };
            let expected = TICK / 3600.0
                * match situation.coming {
                    Coming::Free(..) => 0.0,
                    Coming::Rhythm(day, night) => by_day((day, night)),
                    Coming::Bursts(rate) => rate * burst,
                };
            Tick {
                idle: situation.idle_watts * (1.0 + idle.next(&mut rng, TICK)),
                dear: (1.0 + dear.next(&mut rng, TICK)).max(0.3) / situation.told.1,
                passes: by_day(situation.passes),
                celsius: mean + 5.0 * ((of_day - 9.0) * turn).sin() + air.next(&mut rng, TICK),
                sun: situation.solar_watts * height * clear,
                easy,
                events: (expected + expected.sqrt() * gauss(&mut rng)).round().max(0.0),
                plugged: situation.plugged && (plug_hour..plug_hour + 1.0).contains(&hour),
                luck: gauss(&mut rng),
            }
        });
        let ticks = ticks.collect();
        Drawn { seed, pack, ticks, fault_hour }
    }
}

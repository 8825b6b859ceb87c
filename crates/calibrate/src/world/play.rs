//! One mission under whoever decides.

use dyn_perceiver_core::energy::gauge::Supply;

use super::drawn::{Drawn, TICK};
use super::meter::Meter;
use super::pack::Pack;
use super::scene::Scene;
use super::situation::{Coming, Situation};

/// What to run for a tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) point: usize,
    /// Seconds from frame to frame, where that is free; infinite for none.
    pub(super) period: f64,
}

/// What whoever decides may know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    pub(super) tick: usize,
    /// Frames of the tick before, and the joules they cost by the power model.
    pub(super) frames: u32,
    pub(super) joules: f64,
}

/// What came of a mission.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Played {
    pub(super) right: f64,
    pub(super) frames: f64,
    /// True charge at the end.
    pub(super) soc: f64,
    /// Whether the board went down.
    pub(super) died: bool,
    /// How unevenly frames are spread: mean change of the period's logarithm from hour to hour.
    pub(super) swing: f64,
}

/// A row with the network that runs in it.
#[derive(Clone, Debug)]
pub(super) struct Stage<'a> {
    pub(super) situation: &'a Situation,
    pub(super) scene: &'a Scene,
}

/// Watts of an external supply beyond what the board takes.
const CHARGER: f64 = 10.0;

impl Stage<'_> {
    pub(super) fn meter(&self, drawn: &Drawn) -> Meter {
        let s = self.situation;
        Meter::new(!drawn.seed, s.trouble, drawn.fault_hour, (s.step, s.gauge_error))
            .that_tells(s.knows_supply, s.knows_celsius)
    }

    /// Frames of a tick under an order.
    pub(super) fn frames(&self, drawn: &Drawn, tick: usize, order: Order) -> f64 {
        match self.situation.coming {
            Coming::Free(..) => TICK / order.period,
            _ => drawn.ticks[tick].events,
        }
    }

    /// Runs one tick of `frames` frames that cost `joules` each, and returns whether the battery is charged.
    pub(super) fn advance(&self, pack: &mut Pack, drawn: &Drawn, tick: usize, joules: f64) -> Supply {
        let now = drawn.ticks[tick];
        let watts = now.idle + joules * now.dear / TICK;
        if now.plugged {
            // What is plugged in carries the board and charges the battery.
            pack.carry(0.0, CHARGER, TICK, now.celsius);
            return Supply::External;
        }
        pack.carry(watts, now.sun, TICK, now.celsius);
        if now.sun > watts { Supply::Charging } else { Supply::Battery }
    }

    pub(super) fn play(&self, drawn: &Drawn, mut decide: impl FnMut(Sight, &mut Meter) -> Order) -> Played {
        let mut pack = Pack::full(drawn.pack.clone());
        let mut meter = self.meter(drawn);
        let (mut sight, mut played) = (Sight::default(), Played::default());
        let (mut due, mut supply) = (0.0, Supply::Battery);
        let (mut hourly, mut logs) = (0.0, Vec::new());
        for (tick, now) in drawn.ticks.iter().enumerate() {
            sight.tick = tick;
            meter.measure(tick as f64 * TICK / 3600.0, TICK, &pack, now.celsius, supply);
            let order = decide(sight, &mut meter);
            let frames = self.frames(drawn, tick, order);
            let made = self.scene.made(order.point, now.easy);
            let passed = frames * now.passes;
            let joules = (passed * made.joules + passed.sqrt() * made.spread * now.luck).max(0.0);
            supply = self.advance(&mut pack, drawn, tick, joules);
            if !pack.is_up() {
                played.died = true;
                break;
            }
            played.frames += frames;
            played.right += frames * made.right;
            due += frames;
            sight.frames = due as u32;
            due -= f64::from(sight.frames);
            sight.joules = joules;
            hourly += frames;
            if (tick + 1) % 120 == 0 {
                logs.push(f64::max(hourly, 1.0).ln());
                hourly = 0.0;
            }
        }
        let changes = logs.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f64>();
        played.swing = changes / (logs.len().max(2) - 1) as f64;
        played.soc = pack.soc();
        played
    }
}

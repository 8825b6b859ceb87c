//! Gauge in, message out.

use core::time::Duration;

use dyn_perceiver_core::energy::companion::{MAX_FRAME, Message, encode};
use dyn_perceiver_core::energy::{
    BudgetGovernor, FrameDemand, FuelGauge, GaugeMonitor, Governor, GovernorInput, MonitorSettings, PowerModel,
};
use embedded_io::Write;

use crate::config::{Config, ConfigError};
use crate::wake::WakePlan;
use crate::wake::times::since;

/// The companion: a monitored gauge, the governor, and a line to the Linux board.
#[derive(Debug)]
pub struct Companion<G: FuelGauge, U> {
    monitor: GaugeMonitor<G>,
    governor: BudgetGovernor,
    power: PowerModel,
    joules_per_charge: f32,
    demand: FrameDemand,
    /// Frames per second that come now.
    rate: f32,
    line: U,
    sequence: u16,
    /// Time since the mission began at the last step.
    last: Duration,
    /// Frames due but not run yet.
    due: f32,
    joules: f32,
    /// The switch, where the microcontroller holds it.
    switch: Option<Switch>,
}

/// What a board that is switched off at times draws besides frames.
#[derive(Clone, Copy, Debug)]
struct Switch {
    on: bool,
    off_watts: f32,
    boot_joules: f32,
    /// Of a boot that is not accounted for yet.
    booting: f32,
    /// Joules at rest and seconds since the mission began, with an hour as the wake plan has it at most.
    rested: (f32, f32),
}

impl Switch {
    fn new(plan: &WakePlan, resting_watts: f32) -> Self {
        const HOUR: f32 = 3600.0;
        let watts = plan.most_on() * resting_watts + (1.0 - plan.most_on()) * plan.off_watts;
        let WakePlan { off_watts, boot_joules, .. } = *plan;
        Switch { on: true, off_watts, boot_joules, booting: 0.0, rested: (watts * HOUR, HOUR) }
    }

    /// Joules at rest in the last `seconds`, in which an idle board would have drawn `idle`.
    fn rest(&mut self, seconds: f32, idle: f32) -> f32 {
        let joules = core::mem::take(&mut self.booting) + if self.on { idle } else { self.off_watts * seconds };
        self.rested.0 += joules;
        self.rested.1 += seconds;
        joules
    }

    fn mean_watts(&self) -> f32 {
        self.rested.0 / self.rested.1
    }
}

impl<G: FuelGauge, U: Write> Companion<G, U> {
    /// A companion for a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] when the parts of the configuration do not fit together.
    pub fn new(config: &Config, gauge: G, line: U) -> Result<Self, ConfigError> {
        let governor = config.governor()?;
        let demand = config.mission.frames;
        let rate = match demand {
            FrameDemand::Period(period) | FrameDemand::Between(_, period) => 1.0 / period.as_secs_f32(),
            FrameDemand::PerHour(_) | FrameDemand::DayNight { .. } => 0.0,
        };
        let switch = config.wake()?.map(|plan| Switch::new(&plan, config.power.resting_watts()));
        Ok(Companion {
            monitor: GaugeMonitor::new(gauge, MonitorSettings::default()),
            joules_per_charge: config.settings.joules_per_charge(),
            power: config.power.clone(),
            governor,
            demand,
            rate,
            line,
            sequence: 0,
            last: Duration::ZERO,
            due: 0.0,
            joules: 0.0,
            switch,
        })
    }

    /// Watts that a Linux board that is on should be drawing.
    pub fn spending(&self) -> f32 {
        self.power.resting_watts() + self.rate * self.joules
    }

    /// State of charge in [0, 1], as it is estimated; none before the first reading.
    pub fn soc(&self) -> Option<f32> {
        self.governor.learned().soc()
    }

    /// Takes in that the board was switched on or off just now, after the decision for the time until now. A board without a
    /// wake plan is always on.
    pub fn switched(&mut self, on: bool) {
        if let Some(switch) = &mut self.switch {
            switch.booting += if on && !switch.on { switch.boot_joules } else { 0.0 };
            switch.on = on;
        }
    }

    /// Reads the gauge, decides, and sends the decision. `elapsed` is the time since the mission began.
    ///
    /// # Errors
    /// What the line reports; the decision stands, and the next message carries the next one.
    pub fn step(&mut self, elapsed: Duration) -> Result<Message, U::Error> {
        let message = self.decide(elapsed);
        self.send(&message)?;
        Ok(message)
    }

    /// Sends a message to the board.
    pub(crate) fn send(&mut self, message: &Message) -> Result<(), U::Error> {
        let mut frame = [0; MAX_FRAME];
        let used = encode(message, &mut frame);
        self.line.write_all(frame.get(..used).unwrap_or(&[]))
    }

    /// Reads the gauge and decides. `elapsed` is the time since the mission began.
    pub(crate) fn decide(&mut self, elapsed: Duration) -> Message {
        let seconds = since(self.last, elapsed).as_secs_f32();
        if matches!(self.demand, FrameDemand::PerHour(_) | FrameDemand::DayNight { .. }) && seconds > 0.0 {
            // Events cannot be seen from here: they are taken to come as planned.
            self.rate = self.demand.planned(self.last, elapsed) / seconds;
        }
        self.last = elapsed;
        // The Linux board does not report back: it is taken to have run what it was told, once it was on.
        self.due += seconds * self.rate;
        let frames = if self.switch.is_none_or(|switch| switch.on) { self.due as u32 } else { 0 };
        self.due -= frames as f32;
        let joules = frames as f32 * self.joules;
        let idle = self.power.resting_watts() * seconds;
        let mut rest = idle;
        if let Some(switch) = &mut self.switch {
            rest = switch.rest(seconds, idle);
            self.governor.drew(rest - idle);
            self.governor.plan_resting_at(switch.mean_watts());
        }
        let drop = (rest + joules) / self.joules_per_charge;

        let gauge = self.monitor.observe(elapsed, drop);
        let input = GovernorInput::new(elapsed, gauge).with_frames(frames, joules);
        let choice = self.governor.choose(&input);
        if let Some(rung) = self.governor.ladder().rungs().iter().find(|rung| rung.point == choice.point) {
            self.joules = if choice.stops() { 0.0 } else { rung.joules };
        }
        if let Some(period) = choice.period {
            self.rate = 1.0 / period.as_secs_f32().max(1e-3);
        }
        let reading = gauge.reading();
        let figures = reading.map_or((f32::NAN, None), |reading| (reading.soc, reading.volts));
        // A frontier has at most 64 points.
        let message = Message::new(self.sequence, choice.point as u8, choice.reason)
            .with_period_ms(choice.period.map_or(0, |period| period.as_millis() as u32))
            .with_soc(figures.0)
            .with_volts(figures.1.unwrap_or(f32::NAN));
        self.sequence = self.sequence.wrapping_add(1);
        message
    }
}

//! Gauge in, message out.

use core::time::Duration;

use dyn_perceiver_core::energy::companion::{MAX_FRAME, Message, encode};
use dyn_perceiver_core::energy::{
    BudgetGovernor, FrameDemand, FuelGauge, GaugeMonitor, Governor, GovernorInput, MonitorSettings, PowerModel,
};
use embedded_io::Write;

use crate::config::{Config, ConfigError};

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
    /// Frames due but not whole yet.
    due: f32,
    joules: f32,
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
        })
    }

    /// Watts that the Linux board should be drawing.
    pub fn spending(&self) -> f32 {
        self.power.resting_watts() + self.rate * self.joules
    }

    /// Reads the gauge, decides, and sends the decision. `elapsed` is the time since the mission began.
    ///
    /// # Errors
    /// What the line reports; the decision stands, and the next message carries the next one.
    pub fn step(&mut self, elapsed: Duration) -> Result<Message, U::Error> {
        let seconds = elapsed.saturating_sub(self.last).as_secs_f32();
        if matches!(self.demand, FrameDemand::PerHour(_) | FrameDemand::DayNight { .. }) && seconds > 0.0 {
            // Events cannot be seen from here: they are taken to come as planned.
            self.rate = self.demand.planned(self.last, elapsed) / seconds;
        }
        self.last = elapsed;
        // The Linux board does not report back: it is taken to have run what it was told.
        self.due += seconds * self.rate;
        let frames = self.due as u32;
        self.due -= frames as f32;
        let joules = frames as f32 * self.joules;
        let drop = (self.power.resting_watts() * seconds + joules) / self.joules_per_charge;

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
        let mut frame = [0; MAX_FRAME];
        let used = encode(&message, &mut frame);
        self.line.write_all(frame.get(..used).unwrap_or(&[]))?;
        Ok(message)
    }
}

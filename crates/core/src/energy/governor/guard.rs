//! Fallbacks of a governor: a stale or failed gauge, a voltage that is too low, and external power.

use super::GovernorInput;
use super::mission::GovernorSettings;
use crate::energy::gauge::{GaugeReading, GaugeState, Supply};

/// Volts above the brown-out voltage at which inference goes on: without load the voltage recovers by itself.
const BROWN_OUT_HYSTERESIS: f32 = 0.1;
/// Readings in a row below the brown-out voltage that stop inference: one alone may be a glitch of the sensor.
const BROWN_OUT_READINGS: u8 = 2;

/// What the gauge's state allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Decide by this reading.
    Believe(GaugeReading),
    /// Nothing needs to be saved.
    External(GaugeReading),
    /// Decide by what was counted since the last reading.
    Blind {
        /// Whether the gauge counts as failed, and not only as stale.
        failed: bool,
    },
    /// Stop.
    Stop,
}

/// Watches the gauge's state over time.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    brown_out: Option<f32>,
    low: u8,
    stopped: bool,
}

impl Guard {
    pub(super) fn new(settings: &GovernorSettings) -> Self {
        Guard { brown_out: settings.brown_out_volts, low: 0, stopped: false }
    }

    pub(super) fn judge(&mut self, input: &GovernorInput) -> Verdict {
        let told_external = |reading: &GaugeReading| reading.supply == Some(Supply::External);
        if input.gauge.reading().is_some_and(told_external) {
            // The battery may be as low as it likes: it does not carry the board.
            self.low = 0;
            self.stopped = false;
        } else if let (Some(reading), Some(limit)) = (input.gauge.reading(), self.brown_out)
            && let Some(volts) = reading.volts
        {
            if volts < limit {
                self.low = self.low.saturating_add(1);
            } else {
                self.low = 0;
            }
            self.stopped = self.low >= BROWN_OUT_READINGS || (self.stopped && volts < limit + BROWN_OUT_HYSTERESIS);
        }
        if self.stopped {
            return Verdict::Stop;
        }
        match input.gauge {
            GaugeState::Good(reading) => Verdict::Believe(reading),
            GaugeState::ExternalPower(reading) => Verdict::External(reading),
            GaugeState::Stale { .. } => Verdict::Blind { failed: false },
            GaugeState::Failed { .. } => Verdict::Blind { failed: true },
        }
    }
}

//! The gate before the network: options, and the sensor outside.

use std::time::Duration;

use clap::{Args, ValueEnum};
use dyn_perceiver::gate::GateSettings;
use dyn_perceiver::pipeline::GateConfig;

use super::sensor::{Sensor, SensorName};
use crate::args::number::{self, not_negative};
use crate::output::failure::{Failure, wrong};

/// What stands before the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GateKind {
    /// Nothing: every frame goes through the network
    Off,
    /// The luminance of a frame, compared with that of the frame which went through the network last
    Pixel,
    /// What the network makes of a frame up to its first exit, compared with what it made of the frame which went through it
    /// whole last; needs --latent-threshold
    Latent,
    /// Both, one after the other
    Both,
}

/// The gate.
#[derive(Args)]
#[command(next_help_heading = "Gate")]
pub(super) struct GateArgs {
    /// Run the network only on frames that have changed, and use the last answer for the others
    #[arg(long, value_enum, value_name = "KIND", default_value_t = GateKind::Off)]
    gate: GateKind,
    /// Take a frame as changed when the most changed cell of its 40x40 differs by more than these levels of luminance, of 255
    #[arg(long, value_name = "LEVELS", default_value_t = GateSettings::THRESHOLD, value_parser = not_negative)]
    gate_threshold: f32,
    /// Take a frame as changed when its pooled latent code lies farther than this from that of the last frame that went through
    /// the whole network, in [0, 2]; `gate` finds the distance for a model and a place
    #[arg(long, value_name = "DISTANCE", value_parser = not_negative)]
    latent_threshold: Option<f32>,
    /// Use an answer for at most so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = number::seconds)]
    refresh: Duration,
    /// Run the network only while this sensor is active, such as gpio:/dev/gpiochip0:17 (:low behind it where low is active),
    /// `command:` and a command that writes 1 and 0 as lines to its output, or `mqtt:` and a topic of the broker. A sensor that
    /// fails counts as active
    #[arg(long, value_name = "SENSOR", value_parser = SensorName::parse)]
    gate_sensor: Option<SensorName>,
}

impl GateArgs {
    /// The gate asked for, and the thread that reads its sensor.
    pub(super) fn open(&self) -> Result<(Option<GateConfig>, Option<Sensor>), Failure> {
        let sensor = self.gate_sensor.as_ref().map(SensorName::open).transpose()?;
        let signal = sensor.as_ref().map(Sensor::signal);
        let pixels = || GateConfig::pixels(GateSettings::new(self.gate_threshold, self.refresh));
        let gate = match self.gate {
            GateKind::Off => {
                let gate = signal.map(|signal| GateConfig::signal(signal, self.refresh));
                return Ok((gate, sensor));
            }
            GateKind::Pixel => pixels(),
            GateKind::Latent => GateConfig::latent(self.latent()?, self.refresh),
            GateKind::Both => pixels().with_latent(self.latent()?),
        };
        let gate = match signal {
            Some(signal) => gate.with_signal(signal),
            None => gate,
        };
        Ok((Some(gate), sensor))
    }

    /// No distance is right for every network and place.
    fn latent(&self) -> Result<f32, Failure> {
        let missing =
            "--gate latent and both need --latent-threshold, which `dyn-perceiver gate` finds in frames of the place";
        self.latent_threshold.map_or_else(|| wrong(missing), Ok)
    }
}

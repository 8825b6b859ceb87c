//! Sensors of any kind behind one type, with one error.

use std::error::Error;

use thiserror::Error;

use crate::energy::gauge::{Fault, FuelGauge, GaugeReading, PowerMonitor, PowerReading, SensorError};

/// An error of any sensor: its fault, and its text with all causes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct AnySensorError {
    fault: Fault,
    text: String,
}

impl AnySensorError {
    /// The error of a sensor of one's own.
    pub fn new(error: impl SensorError + Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        AnySensorError { fault: error.fault(), text }
    }
}

impl SensorError for AnySensorError {
    fn fault(&self) -> Fault {
        self.fault
    }
}

/// A sensor whose error becomes [`AnySensorError`].
struct Erased<S>(S);

impl<S: FuelGauge<Error: Error>> FuelGauge for Erased<S> {
    type Error = AnySensorError;

    fn read(&mut self) -> Result<GaugeReading, AnySensorError> {
        self.0.read().map_err(AnySensorError::new)
    }
}

impl<S: PowerMonitor<Error: Error>> PowerMonitor for Erased<S> {
    type Error = AnySensorError;

    fn read_power(&mut self) -> Result<PowerReading, AnySensorError> {
        self.0.read_power().map_err(AnySensorError::new)
    }
}

/// Any fuel gauge.
pub type AnyGauge = Box<dyn FuelGauge<Error = AnySensorError> + Send>;
/// Any power monitor.
pub type AnyMonitor = Box<dyn PowerMonitor<Error = AnySensorError> + Send>;

/// A gauge of one's own as any gauge: what the camera loop takes.
///
/// ```
/// use dyn_perceiver::energy::{Battery, FuelGauge};
/// use dyn_perceiver::sensors::any_gauge;
/// let mut gauge = any_gauge(Battery::new(1000.0));
/// assert_eq!(gauge.read()?.soc, 1.0);
/// # Ok::<(), dyn_perceiver::sensors::AnySensorError>(())
/// ```
pub fn any_gauge(gauge: impl FuelGauge<Error: Error> + Send + 'static) -> AnyGauge {
    Box::new(Erased(gauge))
}

/// A power monitor of one's own as any power monitor.
pub fn any_monitor(monitor: impl PowerMonitor<Error: Error> + Send + 'static) -> AnyMonitor {
    Box::new(Erased(monitor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensors::linux::LinuxError;

    #[test]
    fn any_sensor_error_has_the_whole_chain_once() {
        let source = std::io::Error::from_raw_os_error(5);
        let error = AnySensorError::new(LinuxError::Read { path: "/sys/x".into(), source });
        assert_eq!(error.to_string(), "/sys/x: cannot be read: Input/output error (os error 5)");
        assert_eq!((error.fault(), error.source().is_none()), (Fault::File, true));
    }
}

//! Switches of the board's supply, opened by name.

use std::fmt;
use std::time::Duration;

use super::name::OpenError;
use crate::energy::switches::{PowerSwitch, SwitchError};

/// The forms of all switches' names. BUS is a device such as `/dev/i2c-1`.
pub const SWITCHES: &[&str] = &["pijuice:BUS", "witty-pi-4:BUS"];

/// An opened switch.
pub struct SupplySwitch(Box<dyn PowerSwitch + Send>);

impl fmt::Debug for SupplySwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupplySwitch").finish_non_exhaustive()
    }
}

impl SupplySwitch {
    /// A switch of one's own.
    pub fn new(switch: impl PowerSwitch + Send + 'static) -> Self {
        Self(Box::new(switch))
    }

    /// Opens a switch by its name, such as `pijuice:/dev/i2c-1`; [`SWITCHES`] lists them.
    ///
    /// # Errors
    /// [`OpenError`] naming what was expected.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        match name.split_once(':') {
            Some((kind @ ("pijuice" | "witty-pi-4"), bus)) if !bus.is_empty() => Self::on_bus(name, kind, bus),
            _ => Err(OpenError::Part { name: name.into(), expected: SWITCHES.join(" or ") }),
        }
    }

    #[cfg(all(feature = "i2c", target_os = "linux"))]
    fn on_bus(_: &str, kind: &str, bus: &str) -> Result<Self, OpenError> {
        use crate::energy::switches::{PiJuiceSwitch, WittyPi4};

        let i2c = linux_embedded_hal::I2cdev::new(bus)
            .map_err(|error| OpenError::Bus { path: bus.into(), source: error.into() })?;
        Ok(match kind {
            "pijuice" => Self::new(PiJuiceSwitch::new(i2c)),
            _ => Self::new(WittyPi4::new(i2c)),
        })
    }

    #[cfg(not(all(feature = "i2c", target_os = "linux")))]
    fn on_bus(name: &str, _: &str, _: &str) -> Result<Self, OpenError> {
        Err(OpenError::NoI2c { name: name.into() })
    }

    /// Switches the board on so long from now.
    ///
    /// # Errors
    /// [`SwitchError`]; the board must then not be halted, since nothing may wake it.
    pub fn wake_after(&mut self, after: Duration) -> Result<(), SwitchError> {
        self.0.wake_after(after, &mut std::thread::sleep)
    }

    /// Cuts the supply so long from now, by when the board must have halted, where the switch does not see that for itself.
    ///
    /// # Errors
    /// [`SwitchError`].
    pub fn cut_after(&mut self, after: Duration) -> Result<(), SwitchError> {
        self.0.cut_after(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_names_are_told_with_what_is_expected() {
        for name in ["pijuice", "pijuice:", "witty-pi:/dev/i2c-1", ""] {
            let error = SupplySwitch::open(name).unwrap_err().to_string();
            assert_eq!(error, format!("{name:?}: expected pijuice:BUS or witty-pi-4:BUS"));
        }
        let error = SupplySwitch::open("witty-pi-4:/dev/i2c-none").unwrap_err().to_string();
        assert!(error == "/dev/i2c-none: cannot be opened" || error.contains("built without"), "{error}");
    }
}

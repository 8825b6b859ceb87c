//! Boards that hold the switch of a Linux board's supply and have a clock: they switch a halted board on again.
//!
//! The alarm is set by the switch's own clock, so that it need not show the right time, and read back: a board that halts with an
//! alarm that was not kept stays off.

use core::fmt;
use core::time::Duration;

use embedded_hal::i2c::I2c;

use super::drivers::I2cError;
use crate::energy::gauge::{Fault, SensorError};

mod calendar;
mod pijuice;
mod witty_pi;

pub use pijuice::PiJuiceSwitch;
pub use witty_pi::WittyPi4;

/// The longest time to an alarm: alarms have a day of the month and no month.
pub const LONGEST: Duration = Duration::from_secs(27 * 86_400);
/// The shortest: setting and reading back takes up to a second.
pub const SHORTEST: Duration = Duration::from_secs(5);

/// What holds the switch of a board's supply.
pub trait PowerSwitch {
    /// Switches the board on so long from now, whether it is off by then or not; sets no other alarm. `wait` sleeps so
    /// long, where the switch needs time.
    ///
    /// # Errors
    /// [`SwitchError`]; the board must then not be halted, since nothing may wake it.
    fn wake_after(&mut self, after: Duration, wait: &mut dyn FnMut(Duration)) -> Result<(), SwitchError>;

    /// Cuts the supply so long from now, at most 250 s, by when the board must have halted. A switch that sees for itself when the
    /// board has halted has nothing to do.
    ///
    /// # Errors
    /// [`SwitchError`].
    fn cut_after(&mut self, after: Duration) -> Result<(), SwitchError>;
}

/// Why a switch was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwitchError {
    /// The bus, or what a register holds.
    Chip(I2cError),
    /// A register does not hold what was written.
    NotKept {
        /// The register.
        register: u8,
    },
    /// The time is shorter than [`SHORTEST`] or longer than [`LONGEST`].
    Time,
}

impl From<I2cError> for SwitchError {
    fn from(error: I2cError) -> Self {
        SwitchError::Chip(error)
    }
}

impl SensorError for SwitchError {
    fn fault(&self) -> Fault {
        match self {
            SwitchError::Chip(error) => error.fault(),
            SwitchError::NotKept { .. } => Fault::Bus,
            SwitchError::Time => Fault::OutOfRange,
        }
    }
}

impl fmt::Display for SwitchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SwitchError::Chip(error) => error.fmt(f),
            SwitchError::NotKept { register } => write!(f, "register {register:#04x} does not hold what was written"),
            SwitchError::Time => {
                write!(f, "an alarm is {} s to {} days from now", SHORTEST.as_secs(), LONGEST.as_secs() / 86_400)
            }
        }
    }
}

impl core::error::Error for SwitchError {}

/// Refuses times that an alarm cannot have.
fn check(after: Duration) -> Result<u32, SwitchError> {
    let seconds = after.as_secs();
    let possible = (SHORTEST.as_secs()..=LONGEST.as_secs()).contains(&seconds);
    u32::try_from(seconds).ok().filter(|_| possible).ok_or(SwitchError::Time)
}

/// Writes a single register and reads it back.
fn keep<I: I2c>(registers: &mut super::drivers::Registers<I>, register: u8, value: u8) -> Result<(), SwitchError> {
    registers.write(&[register, value])?;
    let [kept] = registers.read(register)?;
    if kept == value { Ok(()) } else { Err(SwitchError::NotKept { register }) }
}

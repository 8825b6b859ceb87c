//! Registers on an I2C bus, and what goes wrong there.

use core::fmt;

use embedded_hal::i2c::{Error as _, ErrorKind, I2c};

use crate::energy::gauge::{Fault, SensorError};

/// Why a chip could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum I2cError {
    /// The bus reported an error.
    Bus {
        /// Address of the chip.
        address: u8,
        /// Which error.
        kind: ErrorKind,
    },
    /// The checksum of an answer is wrong.
    Checksum {
        /// The register.
        register: u8,
        /// What the bytes add up to.
        expected: u8,
        /// What the chip sent.
        actual: u8,
    },
    /// A register holds what is physically impossible, or the chip flags an overflow.
    OutOfRange {
        /// The register.
        register: u8,
        /// What it holds.
        raw: u16,
    },
    /// The chip has no value yet, or lost its settings and was given them again.
    NotReady {
        /// The register that says so.
        register: u8,
    },
}

impl SensorError for I2cError {
    fn fault(&self) -> Fault {
        match self {
            I2cError::Bus { kind: ErrorKind::NoAcknowledge(_), .. } => Fault::Nack,
            I2cError::Bus { .. } => Fault::Bus,
            I2cError::Checksum { .. } => Fault::Checksum,
            I2cError::OutOfRange { .. } => Fault::OutOfRange,
            I2cError::NotReady { .. } => Fault::NotReady,
        }
    }
}

impl fmt::Display for I2cError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            I2cError::Bus { address, kind } => write!(f, "I2C address {address:#04x}: {kind}"),
            I2cError::Checksum { register, expected, actual } => {
                write!(f, "register {register:#04x}: expected checksum {expected:#04x}, got {actual:#04x}")
            }
            I2cError::OutOfRange { register, raw } => {
                write!(f, "register {register:#04x} holds {raw:#06x}, which is out of the possible range")
            }
            I2cError::NotReady { register } => write!(f, "register {register:#04x}: no value yet"),
        }
    }
}

impl core::error::Error for I2cError {}

/// The registers of one chip.
#[derive(Clone, Debug)]
pub(in crate::energy) struct Registers<I> {
    i2c: I,
    address: u8,
}

impl<I: I2c> Registers<I> {
    pub(in crate::energy) fn new(i2c: I, address: u8) -> Self {
        Registers { i2c, address }
    }

    pub(in crate::energy) fn address(&self) -> u8 {
        self.address
    }

    /// Reads `N` bytes from `register` on.
    pub(in crate::energy) fn read<const N: usize>(&mut self, register: u8) -> Result<[u8; N], I2cError> {
        let mut bytes = [0; N];
        let done = self.i2c.write_read(self.address, &[register], &mut bytes);
        done.map_err(|error| I2cError::Bus { address: self.address, kind: error.kind() })?;
        Ok(bytes)
    }

    /// Reads a 16-bit register, high byte first.
    pub(in crate::energy) fn read_be(&mut self, register: u8) -> Result<u16, I2cError> {
        self.read(register).map(u16::from_be_bytes)
    }

    /// Reads a 16-bit register, low byte first.
    pub(in crate::energy) fn read_le(&mut self, register: u8) -> Result<u16, I2cError> {
        self.read(register).map(u16::from_le_bytes)
    }

    /// Writes a register and what follows it.
    pub(in crate::energy) fn write(&mut self, bytes: &[u8]) -> Result<(), I2cError> {
        let done = self.i2c.write(self.address, bytes);
        done.map_err(|error| I2cError::Bus { address: self.address, kind: error.kind() })
    }

    /// Writes a 16-bit register, high byte first.
    pub(in crate::energy) fn write_be(&mut self, register: u8, value: u16) -> Result<(), I2cError> {
        let [high, low] = value.to_be_bytes();
        self.write(&[register, high, low])
    }

    pub(in crate::energy) fn release(self) -> I {
        self.i2c
    }
}

/// The bits as a number in two's complement: above 0x7FFF, 65536 less.
pub(super) const fn signed(raw: u16) -> i16 {
    raw.cast_signed()
}

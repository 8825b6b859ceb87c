//! Drivers of fuel gauges and power monitors on an I2C bus, generic over [`embedded_hal::i2c::I2c`].
//!
//! Each driver implements [`FuelGauge`](crate::energy::FuelGauge), [`PowerMonitor`](crate::energy::PowerMonitor) or both,
//! reads registers without retrying, and refuses values that are physically impossible.
//!
//! ```
//! use core::convert::Infallible;
//! use dyn_perceiver_core::energy::FuelGauge;
//! use dyn_perceiver_core::energy::drivers::PiSugar3;
//! use embedded_hal::i2c::{ErrorType, I2c, Operation};
//! /// A bus on which every register reads 80, as a HAL's bus stands here on a board.
//! struct Bus;
//! impl ErrorType for Bus {
//!     type Error = Infallible;
//! }
//! impl I2c for Bus {
//!     fn transaction(&mut self, _address: u8, operations: &mut [Operation<'_>]) -> Result<(), Infallible> {
//!         for operation in operations {
//!             if let Operation::Read(bytes) = operation {
//!                 bytes.fill(80);
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//! assert_eq!(PiSugar3::new(Bus).read()?.soc, 0.8);
//! # Ok::<(), dyn_perceiver_core::energy::drivers::I2cError>(())
//! ```

mod bq27441;
mod i2c;
mod ina260;
mod ina2xx;
mod ina3221;
mod lc709203f;
mod max17040;
mod max17048;
mod pijuice;
mod pisugar2;
mod pisugar3;

pub use bq27441::Bq27441;
pub use i2c::I2cError;
pub(super) use i2c::Registers;
pub use ina2xx::{Ina2xx, ShuntError};
pub use ina260::Ina260;
pub use ina3221::{Channel, Ina3221};
pub use lc709203f::Lc709203f;
pub use max17040::Max17040;
pub use max17048::Max17048;
pub use pijuice::PiJuice;
pub use pisugar2::PiSugar2;
pub use pisugar3::PiSugar3;

//! Drivers of fuel gauges and power monitors on an I2C bus, generic over [`embedded_hal::i2c::I2c`].
//!
//! Each driver implements [`FuelGauge`](crate::energy::FuelGauge), [`PowerMonitor`](crate::energy::PowerMonitor) or both,
//! reads registers without retrying, and refuses values that are physically impossible.

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
pub use ina2xx::{Ina2xx, ShuntError};
pub use ina260::Ina260;
pub use ina3221::{Channel, Ina3221};
pub use lc709203f::Lc709203f;
pub use max17040::Max17040;
pub use max17048::Max17048;
pub use pijuice::PiJuice;
pub use pisugar2::PiSugar2;
pub use pisugar3::PiSugar3;

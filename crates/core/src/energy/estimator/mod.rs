//! State-of-charge estimation: coulomb counting, open-circuit-voltage curves, and a plausibility monitor of gauges.

mod charge;
mod coulomb;
mod monitor;
mod ocv;
mod resistance;

pub use charge::ChargeEstimator;
pub(crate) use charge::INCOME_MEMORY;
pub use coulomb::{CoulombGauge, CoulombSettings, CoulombState};
pub use monitor::{GaugeMonitor, GaugeTrouble, MonitorSettings};
pub use ocv::{Chemistry, MAX_OCV_POINTS, OcvCurve, OcvError, UnknownChemistry};
pub use resistance::Resistance;

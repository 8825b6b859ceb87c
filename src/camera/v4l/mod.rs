//! Video4Linux2: capture from devices that fill buffers.
//!
//! [`DeviceSource`] holds what is decided here (format negotiation, newest frame, accounting of lost ones) over the trait
//! [`CaptureDevice`]; the binding to the kernel is [`V4lDevice`], built with the feature `v4l` on Linux.

mod device;
mod interval;
mod layout;
#[cfg(all(feature = "v4l", target_os = "linux"))]
mod linux;

pub use device::{CaptureDevice, DeviceSource, Filled, Offer};
pub(super) use interval::lowest_rate;
pub use interval::{FrameInterval, IntervalRange};
pub use layout::Layout;
#[cfg(all(feature = "v4l", target_os = "linux"))]
pub use linux::{V4lDevice, V4lSource};

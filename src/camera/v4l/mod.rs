//! Video4Linux2: capture from devices that fill buffers.
//!
//! [`DeviceSource`] holds what is decided here (format negotiation, newest frame, accounting of lost ones) over the trait
//! [`CaptureDevice`]; the binding to the kernel is [`V4lDevice`], built with the feature `v4l` on Linux.

mod device;
#[cfg(all(feature = "v4l", target_os = "linux"))]
mod linux;

pub use device::{CaptureDevice, DeviceSource, Filled, Layout, Offer};
#[cfg(all(feature = "v4l", target_os = "linux"))]
pub use linux::{V4lDevice, V4lSource};

#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "camera")]
pub mod camera;
pub mod energy;
pub mod exit;

#[cfg(feature = "tract")]
pub mod model;
#[cfg(all(feature = "tract", feature = "camera"))]
pub mod pipeline;
#[cfg(feature = "tract")]
pub mod plan;
#[cfg(feature = "std")]
pub mod policy;
#[cfg(feature = "tract")]
pub mod runtime;
#[cfg(feature = "std")]
pub mod sink;
#[cfg(feature = "std")]
mod write;

#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tract")]
pub mod bundle;
#[cfg(feature = "tract")]
mod bundle_format;
#[cfg(feature = "camera")]
pub mod camera;
#[cfg(feature = "tract")]
pub mod classifier;
#[cfg(feature = "calibrate")]
pub mod collect;
#[cfg(feature = "camera")]
pub mod dataset;
#[cfg(feature = "tract")]
mod deadline;
#[cfg(feature = "tract")]
pub mod detector;
mod error;
#[cfg(feature = "tract")]
mod executor;
pub mod frame;
#[cfg(feature = "tract")]
mod graph;
#[cfg(feature = "calibrate")]
pub mod learn;
pub mod machine;
#[cfg(feature = "tract")]
pub mod model;
#[cfg(feature = "tract")]
mod ops;
#[cfg(feature = "tract")]
mod passes;
#[cfg(all(feature = "tract", feature = "camera"))]
pub mod pipeline;
#[cfg(feature = "tract")]
pub mod plan;
pub mod policy_file;
#[cfg(feature = "tract")]
mod preparation;
pub mod preprocess;
#[cfg(feature = "tract")]
pub mod quantise;
#[cfg(feature = "tract")]
mod quiet;
#[cfg(feature = "tract")]
pub mod runtime;
pub mod sensors;
#[cfg(feature = "tract")]
pub mod video;
#[cfg(feature = "tract")]
mod weights;

#[cfg(feature = "calibrate")]
pub use dyn_perceiver_calibrate as calibrate;
pub use dyn_perceiver_core::{detect, energy, events, exit, file, gate};

#[cfg(feature = "camera")]
pub use camera::FrameSource;
#[cfg(feature = "tract")]
pub use classifier::{Classifier, ClassifierBuilder, Prediction};
#[cfg(feature = "tract")]
pub use detector::Detector;
pub use error::{Error, Result};
pub use exit::ExitPolicy;
pub use frame::Frame;
#[cfg(feature = "tract")]
pub use model::{LoadOptions, Model};
#[cfg(all(feature = "tract", feature = "camera"))]
pub use pipeline::Pipeline;
#[cfg(feature = "tract")]
pub use plan::Plan;
#[cfg(feature = "tract")]
pub use runtime::Runtime;
#[cfg(feature = "tract")]
pub use video::VideoClassifier;

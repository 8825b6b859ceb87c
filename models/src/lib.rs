#![doc = include_str!("../README.md")]

mod attention;
mod backbone;
mod builder;
mod config;
mod convolution;
mod detection;
mod error;
mod graph;
mod metadata;
mod network;
mod onnx;
pub mod pretrained;
mod recognise;
mod shared;
mod task;
pub mod training;
mod weights;

pub use config::{Config, family};
pub use error::{Differences, Error};
pub use graph::{Parameter, ParameterKind};
pub use metadata::Metadata;
pub use network::{EXITS, Network};
pub use task::{Action, Detection, Extra, LEVELS, Task, VideoMode};
pub use weights::{Checkpoint, PyTorch, Renamed, Safetensors, Seeded, Weights, seeded_frame, seeded_image};

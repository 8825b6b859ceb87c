#![doc = include_str!("../README.md")]

mod attention;
mod backbone;
mod builder;
mod config;
mod convolution;
mod error;
mod graph;
mod metadata;
mod network;
mod onnx;
pub mod pretrained;
mod recognise;
mod weights;

pub use config::{Config, family};
pub use error::{Differences, Error};
pub use graph::{Parameter, ParameterKind};
pub use metadata::Metadata;
pub use network::{EXITS, Network};
pub use weights::{Checkpoint, PyTorch, Safetensors, Seeded, Weights, seeded_image};

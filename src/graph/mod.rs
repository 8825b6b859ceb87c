//! The multi-exit graph: cut into segments by which exits need them, with the cost of each.

pub(crate) mod cost;
mod error;
pub(crate) mod partition;
pub(crate) mod parts;

pub(crate) use error::GraphError;
pub use partition::ExitSet;
pub(crate) use partition::{Slot, StateSlots};

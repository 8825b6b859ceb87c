//! Argument groups that several commands share, and what they stand for. They know nothing of the commands.

pub(crate) mod battery;
pub(crate) mod boards;
pub(crate) mod clips;
pub(crate) mod cost;
pub(crate) mod detection;
pub(crate) mod gpio;
pub(crate) mod images;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod network;
pub(crate) mod number;
pub(crate) mod pictures;
pub(crate) mod policy;
pub(crate) mod profile;
pub(crate) mod share;
pub(crate) mod system;
pub(crate) mod task;
pub(crate) mod threads;
pub(crate) mod watts;
pub(crate) mod work;

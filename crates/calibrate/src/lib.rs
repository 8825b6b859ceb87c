#![doc = include_str!("../README.md")]

mod betting;
mod binomial;
pub mod certify;
pub mod detection;
pub mod evaluate;
pub mod gate;
pub mod learn;
pub mod missions;
mod parallel;
mod random;
pub mod records;
pub mod solver;
pub mod video;
pub mod world;

pub use random::split;

#[cfg(test)]
mod tests;

//! A world to judge the governor in, which shares neither code nor curves with it.
//!
//! [`missions`](crate::missions) plays missions in the governor's own picture of a battery. Here the battery is a Thevenin cell with
//! curves of its own and Peukert's law, the board drifts, the gauge errs slowly and fails in many ways, the sun has
//! clouds. The governor is driven through its public interface, as the loop drives it, beside competitors that know
//! less and more than it: one period and point chosen in hindsight, SoC steps, a PI controller, and a linear program that
//! knows the future.

mod chance;
mod drawn;
mod governed;
mod meter;
mod network;
mod pack;
mod play;
mod program;
mod rivals;
mod scene;
mod situation;
mod table;

pub use meter::NoAnswer;
pub use network::Network;
pub use table::{WorldError, WorldRow, WorldTable};

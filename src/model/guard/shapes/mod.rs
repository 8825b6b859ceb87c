//! Shape rules: from what is known of an operator's inputs to what is known of its outputs.

pub(super) mod elementwise;
pub(super) mod generate;
pub(super) mod layout;
pub(super) mod linear;
pub(super) mod normalise;
pub(super) mod reduce;
pub(super) mod select;
mod small;
pub(super) mod window;

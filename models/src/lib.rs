//! The Dyn-Perceiver family.

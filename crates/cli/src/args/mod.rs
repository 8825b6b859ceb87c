//! Argument groups that several commands share.

pub(crate) mod policy;
pub(crate) mod watts;

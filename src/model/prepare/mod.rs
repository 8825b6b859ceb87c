//! Edits of the protobuf that turn what exporters write into what can be judged and run: each is one file's subject.

pub(super) mod branches;
pub(super) mod constants;
mod edit;
pub(super) mod elementwise;
pub(super) mod external;
pub(super) mod forms;
pub(super) mod functions;
pub(super) mod heads;
pub(super) mod input;
pub(super) mod precision;
mod qlinear;
pub(super) mod quantised;
pub(super) mod training;
pub(super) mod upsample;
mod writer;

//! A box of a detector as it is told.

use serde::Serialize;

/// One box.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BoxRecord {
    /// Index of its class.
    pub class: usize,
    /// Name of its class.
    pub label: String,
    /// Score in [0, 1].
    pub score: f32,
    /// Left, top, right and bottom in pixels of the frame.
    pub r#box: [f32; 4],
    /// Number of the object, once enough frames have shown it.
    pub track: Option<u32>,
}

//! Order of the axes of a model's input.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Order of the axes of a batch of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Layout {
    /// (N, C, H, W), also called NCHW: PyTorch's order.
    #[default]
    #[serde(rename = "nchw")]
    ChannelsFirst,
    /// (N, H, W, C), also called NHWC: TensorFlow's order.
    #[serde(rename = "nhwc")]
    ChannelsLast,
}

/// A text that is not `nchw` or `nhwc`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected nchw or nhwc, got {0:?}")]
pub struct UnknownLayout(String);

impl FromStr for Layout {
    type Err = UnknownLayout;

    fn from_str(text: &str) -> Result<Self, UnknownLayout> {
        match text.trim().to_ascii_lowercase().as_str() {
            "nchw" => Ok(Layout::ChannelsFirst),
            "nhwc" => Ok(Layout::ChannelsLast),
            _ => Err(UnknownLayout(text.into())),
        }
    }
}

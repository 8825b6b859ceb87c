//! Why a JPEG file was not decoded.

/// Why a JPEG file was not decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JpegError {
    /// It is damaged, cut short, or of an unusual kind.
    #[error("{0}")]
    Refused(String),
    /// It has more pixels than allowed.
    #[error("{width}x{height} pixels are more than the limit of {limit} pixels")]
    TooLarge { width: u32, height: u32, limit: u64 },
}

impl JpegError {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused(reason.into())
    }
}

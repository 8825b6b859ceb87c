//! What there is to say about a convolution.

/// Where a convolution's padding is; at stride 1 it keeps the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Half the kernel on every side.
    Centred,
    /// TensorFlow's SAME: as much as gives length / stride outputs, rounded up; an odd pixel is at the end.
    Same,
}

/// A convolution with square kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv {
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub padding: Padding,
}

impl Conv {
    /// What is not said of a convolution with centred padding.
    pub(crate) const CENTRED: Conv = Conv { channels: 1, kernel: 1, stride: 1, groups: 1, padding: Padding::Centred };
    /// The same with TensorFlow's.
    pub(crate) const SAME: Conv = Conv { padding: Padding::Same, ..Conv::CENTRED };

    pub(crate) fn pointwise(channels: usize) -> Conv {
        Conv { channels, ..Conv::CENTRED }
    }

    /// Padding before and after an axis of `length`.
    pub(crate) fn pads(self, length: usize) -> (usize, usize) {
        match self.padding {
            Padding::Centred => (self.kernel / 2, self.kernel / 2),
            Padding::Same => {
                let read = (length.div_ceil(self.stride) - 1) * self.stride + self.kernel;
                let total = read.saturating_sub(length);
                (total / 2, total - total / 2)
            }
        }
    }
}

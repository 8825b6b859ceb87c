//! The mean luminance of each block of a picture, off its DC coefficients: a picture of an eighth of the size in each
//! direction, for which nothing is decoded.

use dyn_perceiver_core::gate::Luma;

use super::header::FrameHeader;

/// Mean luminances, collected while a file is walked through.
#[derive(Debug, Default)]
pub(super) struct Means {
    /// Whether anybody wants them.
    pub(super) wanted: bool,
    /// DC coefficients of the first component, with those of blocks beyond the picture.
    coefficients: Vec<i16>,
    /// Lowest bits that the coefficients lack.
    low: u32,
    /// Blocks of the picture across and down, and from one row to the next.
    size: (usize, usize),
    stride: usize,
    /// The means, as levels; none where the file does not tell them.
    levels: Vec<u8>,
}

impl Means {
    /// Makes room for a picture.
    pub(super) fn begin(&mut self, frame: &FrameHeader) {
        self.coefficients.clear();
        self.levels.clear();
        if let (true, Some(&first)) = (self.wanted, frame.components.first()) {
            let (across, down) = frame.mcus();
            self.size = frame.blocks(first);
            self.stride = across * first.h;
            self.low = 0;
            self.coefficients.resize(self.stride * down * first.v, 0);
        }
    }

    /// Says how many bits a scan leaves out of the coefficients.
    pub(super) fn set_low(&mut self, low: u32) {
        self.low = low;
    }

    /// The coefficient of a block; none where nobody wants it.
    #[inline]
    pub(super) fn get_mut(&mut self, block: usize) -> Option<&mut i16> {
        self.coefficients.get_mut(block)
    }

    /// Makes levels of the coefficients, whose quantisation step is `step`.
    pub(super) fn finish(&mut self, step: Option<u16>) {
        let Some(step) = step else { return };
        // A DC coefficient is eight times the mean, which is stored with 128 levels taken off.
        let level = |&value: &i16| {
            let value = (i64::from(value) << self.low.min(15)) * i64::from(step);
            (value.div_euclid(8) + 128).clamp(0, 255) as u8
        };
        self.levels.extend(self.coefficients.iter().map(level));
    }

    /// The picture, a pixel for each block.
    pub(super) fn luma(&self) -> Option<Luma<'_>> {
        Luma::new(&self.levels, self.size, 1, self.stride)
    }
}

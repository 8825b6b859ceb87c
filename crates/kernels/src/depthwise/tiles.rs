//! Which results of a depthwise convolution are kept in registers together: seven neighbours in a row. Networks halve 224 pixels down to
//! seven.

use crate::convolution::Window;

/// Output columns computed together.
pub(super) const COLUMNS: usize = 7;
/// Channels computed together.
pub(super) const CHANNELS: usize = 8;

/// Columns of the image under the taps of [`COLUMNS`] results.
pub(super) const fn span(kernel: usize, stride: usize) -> usize {
    (COLUMNS - 1) * stride + kernel
}

/// How many of those are beyond the image's end at the end of a row: with padding of half the kernel, and an even width if the
/// stride is two.
pub(super) const fn beyond(kernel: usize, stride: usize) -> usize {
    if stride == 1 { kernel / 2 } else { kernel / 2 - 1 }
}

/// Columns of the image before its first and behind its last that the taps of results from `ox` on would be over.
pub(super) fn outside(window: &Window, ox: usize) -> [usize; 2] {
    let (begin, padding) = (ox * window.stride[1], window.padding[1]);
    let end = begin + span(window.kernel[1], window.stride[1]);
    [padding.saturating_sub(begin), end.saturating_sub(padding + window.input[1])]
}

/// Where the results begin that are computed together; the last columns again, where fewer than [`COLUMNS`] are left.
pub(super) fn tiles(window: &Window) -> impl Iterator<Item = usize> + use<> {
    let width = window.output[1];
    (0..width).step_by(COLUMNS).map(move |ox| ox.min(width - COLUMNS))
}

/// Whether results of a convolution with so many channels can be computed so.
pub(super) fn covers(window: &Window, channels: usize) -> bool {
    let [kernel, stride] = [window.kernel[1], window.stride[1]];
    matches!((window.kernel, window.stride), ([3, 3] | [5, 5], [1, 1] | [2, 2]))
        && channels >= CHANNELS
        && window.output[1] >= COLUMNS
        && tiles(window).all(|ox| {
            let [before, behind] = outside(window, ox);
            [0, kernel / 2].contains(&before) && [0, beyond(kernel, stride)].contains(&behind)
        })
}

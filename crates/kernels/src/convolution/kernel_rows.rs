//! Convolution of few channels: in a copy of the image with its padding, the pixels under a kernel row are one fragment.

use super::Shape;
use crate::fragments::with_list;
use crate::gemm::{Columns, Epilogue, Fragments, Prefetch, ROWS, f32_rows};
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Rows of the padded image, and floats of each.
fn padded(shape: &Shape) -> [usize; 2] {
    let window = shape.window;
    let size = |axis: usize| {
        let needed = (window.output[axis] - 1) * window.stride[axis] + window.kernel[axis];
        needed.max(window.padding[axis] + window.input[axis])
    };
    [size(0), size(1) * shape.channels_in]
}

/// Whether the image is its own padded copy.
fn is_padded(shape: &Shape) -> bool {
    padded(shape) == [shape.window.input[0], shape.window.input[1] * shape.channels_in]
}

/// Floats of the padded copy; none where the image will do.
pub(super) fn scratch_len(shape: &Shape) -> usize {
    if is_padded(shape) { 0 } else { padded(shape).iter().product() }
}

/// As [`super::convolve`].
pub(super) fn convolve(
    pool: &mut ThreadPool,
    x: &[f32],
    shape: &Shape,
    packed: &[f32],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let Shape { window, channels_in, channels_out, .. } = *shape;
    let [kh, kw] = window.kernel;
    let [rows_in, row_in] = padded(shape);
    let x = if is_padded(shape) {
        x
    } else {
        let copy = &mut scratch[..rows_in * row_in];
        copy.fill(0.0);
        let row = window.input[1] * channels_in;
        let top = window.padding[0] * row_in + window.padding[1] * channels_in;
        for (to, from) in copy[top..].chunks_mut(row_in).zip(x.chunks_exact(row)) {
            to[..row].copy_from_slice(from);
        }
        &*copy
    };
    let pixels = window.output[0] * window.output[1];
    let blocks = pixels.div_ceil(ROWS);
    let parts = pool.parts(shape.operations(), blocks);
    let (token, out) = (pool.token(), Sink::new(out));
    pool.run(parts, &|part| {
        with_list(|list| {
            for block in part * blocks / parts..(part + 1) * blocks / parts {
                list.clear();
                for pixel in block * ROWS..((block + 1) * ROWS).min(pixels) {
                    let y = pixel / window.output[1] * window.stride[0];
                    let start = pixel % window.output[1] * window.stride[1] * channels_in;
                    list.extend((y..y + kh).map(|y| &x[y * row_in + start..][..kw * channels_in]));
                }
                let to = Columns { first: block * ROWS, stride: channels_out, offset: 0, columns: channels_out };
                let a = Fragments { list, per_row: kh, offset: 0, len: kw * channels_in };
                // SAFETY: each part writes its own pixels.
                let out = unsafe { out.share() };
                f32_rows(token, a, packed, to, epilogue, Prefetch::NextPanel, out);
            }
        });
    });
}

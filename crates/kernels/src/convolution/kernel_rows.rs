//! Convolution of few channels: the pixels under a kernel row are one fragment, of the image where it needs no padding, else
//! of a copy of the rows under some rows of the output, which stays in the first-level cache.

use super::{Product, Shape};
use crate::fragments::{Listed, with_list};
use crate::gemm::{Columns, Fragments, Prefetch, ROWS, Rows};
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Columns of the padded image.
fn padded_columns(shape: &Shape) -> usize {
    let window = shape.window;
    let needed = (window.output[1] - 1) * window.stride[1] + window.kernel[1];
    needed.max(window.padding[1] + window.input[1])
}

/// Whether all taps fall inside the image.
fn is_padded(shape: &Shape) -> bool {
    let window = shape.window;
    let fits = |axis: usize| {
        window.padding[axis] == 0
            && (window.output[axis] - 1) * window.stride[axis] + window.kernel[axis] <= window.input[axis]
    };
    fits(0) && fits(1)
}

/// Rows of the output that are computed at once.
fn rows_at_once(shape: &Shape) -> usize {
    (ROWS / shape.window.output[1]).clamp(1, shape.window.output[0])
}

/// Floats of the rows under these, padded, for one thread; none where the image will do.
pub(super) fn scratch_len(shape: &Shape) -> usize {
    let window = shape.window;
    let rows = (rows_at_once(shape) - 1) * window.stride[0] + window.kernel[0];
    if is_padded(shape) { 0 } else { rows * padded_columns(shape) * shape.channels_in }
}

/// How scratch memory is seen as elements of an image.
pub(super) type Elements<T> = fn(&mut [f32]) -> &mut [T];

/// As [`super::convolve`], by a product with all of `packed_len` weights. Copies are made in scratch memory, seen as the elements of the
/// image.
pub(super) fn convolve<T: Listed + Copy + Default + Sync, O: Send>(
    pool: &mut ThreadPool,
    x: &[T],
    shape: &Shape,
    packed_len: usize,
    (scratch, elements): (&mut [f32], Elements<T>),
    out: &mut [O],
    product: &Product<'_, T, O>,
) {
    let Shape { window, channels_in, channels_out, .. } = *shape;
    let [kh, kw] = window.kernel;
    let [height, width] = window.output;
    let row = window.input[1] * channels_in;
    let (at_once, is_padded) = (rows_at_once(shape), is_padded(shape));
    let (len, step) = (kw * channels_in, window.stride[1] * channels_in);
    let row_in = if is_padded { row } else { padded_columns(shape) * channels_in };
    let blocks = height.div_ceil(at_once);
    let parts = pool.parts(shape.operations(), blocks);
    let (end, out) = (out.len(), Sink::new(out));
    let scratch = &mut scratch[..pool.threads() * scratch_len(shape)];
    pool.run_with_scratch(parts, scratch, &|part, copy| {
        let copy = &mut elements(copy)[..scratch_len(shape)];
        // Borders to the left and right stay as they are.
        copy.fill(T::default());
        for block in part * blocks / parts..(part + 1) * blocks / parts {
            let (first, count) = (block * at_once, at_once.min(height - block * at_once));
            let top = first * window.stride[0];
            let rows = if is_padded {
                &x[top * row_in..]
            } else {
                for (i, to) in copy.chunks_exact_mut(row_in).enumerate() {
                    let y = (top + i).checked_sub(window.padding[0]).filter(|y| *y < window.input[0]);
                    let to = &mut to[window.padding[1] * channels_in..][..row];
                    match y {
                        Some(y) => to.copy_from_slice(&x[y * row..][..row]),
                        None => to.fill(T::default()),
                    }
                }
                &*copy
            };
            with_list(|list| {
                // The pixels of one row of the output are at equal distances, those of several are listed.
                let pixels = if count == 1 {
                    Rows::Spaced { values: rows, count: width, step, apart: row_in }
                } else {
                    list.clear();
                    list.resize(count * width * kh, &[][..]);
                    for (i, pixels) in list.chunks_exact_mut(width * kh).enumerate() {
                        for ky in 0..kh {
                            let row = &rows[(i * window.stride[0] + ky) * row_in..][..row_in];
                            let fragments = row.windows(len).step_by(step);
                            pixels[ky..].iter_mut().step_by(kh).zip(fragments).for_each(|(to, from)| *to = from);
                        }
                    }
                    Rows::Listed(list)
                };
                let written = (first + count) * width * channels_out;
                let prefetch =
                    Prefetch::elements(out.address(written), (at_once * width * channels_out).min(end - written));
                let to = Columns { first: first * width, stride: channels_out, offset: 0, columns: channels_out };
                let a = Fragments { rows: pixels, per_row: kh, offset: 0, len };
                // SAFETY: each part writes its own pixels.
                let out = unsafe { out.share() };
                product(a, 0..packed_len, to, prefetch, out);
            });
        }
    });
}

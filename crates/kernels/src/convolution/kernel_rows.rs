//! Convolution of few channels: the pixels under a kernel row are one fragment, of the image where it needs no padding, else
//! of a copy of the rows under some rows of the output, which stays in the first-level cache.

use super::Shape;
use crate::fragments::with_list;
use crate::gemm::{Columns, Epilogue, Fragments, Prefetch, ROWS, f32_rows};
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

/// Floats of the longest fragments that are copied next to one another: a product does more at the beginning and the end of
/// one than to so few entries.
const SHORT: usize = 16;

/// Whether the fragments of a pixel are copied next to one another.
fn gathers(shape: &Shape) -> bool {
    shape.window.kernel[0] > 1 && shape.window.kernel[1] * shape.channels_in <= SHORT
}

/// Floats of the rows under these, padded, and of the fragments of their pixels, for one thread; none where the image will do.
fn lengths(shape: &Shape) -> [usize; 2] {
    let window = shape.window;
    let rows = (rows_at_once(shape) - 1) * window.stride[0] + window.kernel[0];
    let padded = rows * padded_columns(shape) * shape.channels_in;
    if gathers(shape) {
        // Whole vectors are copied.
        [padded + SHORT, rows_at_once(shape) * window.output[1] * shape.reduction() + SHORT]
    } else {
        [if is_padded(shape) { 0 } else { padded }, 0]
    }
}

/// Floats of scratch memory for one thread.
pub(super) fn scratch_len(shape: &Shape) -> usize {
    lengths(shape).iter().sum()
}

/// Copies the fragments of a row of pixels next to one another, `N` floats for each fragment of `len`: what is too much is
/// overwritten by the next, or is behind the last.
#[inline(always)]
fn gather<const N: usize>(rows: &[f32], [row, step]: [usize; 2], [fragments, len]: [usize; 2], to: &mut [f32]) {
    let pixels = (to.len() - SHORT) / (fragments * len);
    for pixel in 0..pixels {
        for fragment in 0..fragments {
            let from: &[f32; N] = rows[fragment * row + pixel * step..].first_chunk().expect("rows end with a vector");
            *to[(pixel * fragments + fragment) * len..].first_chunk_mut().expect("pixels end with a vector") = *from;
        }
    }
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
    let [height, width] = window.output;
    let row = window.input[1] * channels_in;
    let (at_once, is_padded) = (rows_at_once(shape), is_padded(shape));
    let (len, step) = (kw * channels_in, window.stride[1] * channels_in);
    let (gathers, lengths) = (gathers(shape), lengths(shape));
    // Rows are read where they are, or from a padded copy.
    let is_read_there = is_padded && !gathers;
    let row_in = if is_read_there { row } else { padded_columns(shape) * channels_in };
    let blocks = height.div_ceil(at_once);
    let parts = pool.parts(shape.operations(), blocks);
    let (token, end, out) = (pool.token(), out.len(), Sink::new(out));
    let scratch = &mut scratch[..pool.threads() * scratch_len(shape)];
    pool.run_with_scratch(parts, scratch, &|part, scratch| {
        let (copy, gathered) = scratch.split_at_mut(lengths[0]);
        // Borders to the left and right stay as they are.
        copy.fill(0.0);
        for block in part * blocks / parts..(part + 1) * blocks / parts {
            let (first, count) = (block * at_once, at_once.min(height - block * at_once));
            let top = first * window.stride[0];
            let rows = if is_read_there {
                &x[top * row_in..]
            } else {
                for (i, to) in copy.chunks_exact_mut(row_in).enumerate() {
                    let y = (top + i).checked_sub(window.padding[0]).filter(|y| *y < window.input[0]);
                    let to = &mut to[window.padding[1] * channels_in..][..row];
                    match y {
                        Some(y) => to.copy_from_slice(&x[y * row..][..row]),
                        None => to.fill(0.0),
                    }
                }
                &*copy
            };
            let (list_row, fragment) = (width * kh, len * if gathers { kh } else { 1 });
            if gathers {
                for i in 0..count {
                    let to = &mut gathered[i * list_row * len..][..list_row * len + SHORT];
                    let (rows, steps) = (&rows[i * window.stride[0] * row_in..], [row_in, step]);
                    match len {
                        ..=4 => gather::<4>(rows, steps, [kh, len], to),
                        5..=8 => gather::<8>(rows, steps, [kh, len], to),
                        _ => gather::<SHORT>(rows, steps, [kh, len], to),
                    }
                }
            }
            with_list(|list| {
                list.clear();
                if gathers {
                    list.extend(gathered.chunks_exact(fragment).take(count * width));
                } else {
                    list.resize(count * list_row, &[][..]);
                    for (i, pixels) in list.chunks_exact_mut(list_row).enumerate() {
                        for ky in 0..kh {
                            let row = &rows[(i * window.stride[0] + ky) * row_in..][..row_in];
                            let fragments = row.windows(len).step_by(step);
                            pixels[ky..].iter_mut().step_by(kh).zip(fragments).for_each(|(to, from)| *to = from);
                        }
                    }
                }
                let written = (first + count) * width * channels_out;
                let prefetch =
                    Prefetch::elements(out.address(written), (at_once * width * channels_out).min(end - written));
                let to = Columns { first: first * width, stride: channels_out, offset: 0, columns: channels_out };
                let a = Fragments { list, per_row: if gathers { 1 } else { kh }, offset: 0, len: fragment };
                // SAFETY: each part writes its own pixels.
                let out = unsafe { out.share() };
                f32_rows(token, a, packed, to, epilogue, prefetch, out);
            });
        }
    });
}

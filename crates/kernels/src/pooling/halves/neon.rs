//! The loops for NEON that computes in halves.

use std::arch::aarch64::{
    float32x4_t, uint16x8_t, vaddq_f32, vandq_u16, vdupq_n_f32, vdupq_n_u16, vld1q_u16, vmaxq_u16, vmaxvq_u16,
    vmulq_n_f32, vst1q_f32, vst1q_u16,
};

use crate::Activation;
use crate::dispatch::half::NeonFp16;
use crate::gemm::f16::convert::{from_f32, to_f32};
use crate::halves::neon::{add, floats, multiply};
use crate::halves::{Halves, Largest, MAGNITUDE, keep, room};
use crate::memory::as_u16_mut;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Halves in a vector.
const LANES: usize = 8;
/// Rows that are summed in halves before their sum is added to one in f32.
const ROWS: usize = 4;
/// The largest half of which so many may be summed in halves: 8,192.
const SUMMED: u16 = 0x7000;
/// Magnitudes up to which a bound will do, 16: beyond it, rows of products are scaled, for which the largest is looked for.
const BOUND: f32 = 16.0;

/// `scale` times the sum of rows of halves.
pub(super) fn sum_rows(pool: &mut ThreadPool, _kernel: NeonFp16, x: &[u16], largest: u16, scale: f32, out: &mut [f32]) {
    let width = out.len();
    let lanes = width.div_ceil(LANES);
    let chunk = lanes.div_ceil(pool.parts(x.len(), lanes)) * LANES;
    pool.run_chunks(out, chunk, &|part, out| {
        // SAFETY: the token proves that the CPU has what the functions are compiled for.
        unsafe {
            match largest <= SUMMED {
                true => sum_columns::<ROWS>(x, width, scale, part * chunk, out),
                false => sum_columns::<1>(x, width, scale, part * chunk, out),
            }
        }
    });
}

/// The columns from `first` on, as many as `out` has; `R` rows are summed in halves.
#[target_feature(enable = "neon,fp16")]
fn sum_columns<const R: usize>(x: &[u16], width: usize, scale: f32, first: usize, out: &mut [f32]) {
    let mut done = 0;
    while out.len() - done >= 4 * LANES {
        sum_lanes::<R, 4>(x, width, scale, first + done, &mut out[done..]);
        done += 4 * LANES;
    }
    while out.len() - done >= LANES {
        sum_lanes::<R, 1>(x, width, scale, first + done, &mut out[done..]);
        done += LANES;
    }
    for (c, out) in out.iter_mut().enumerate().skip(done) {
        *out = scale * x.chunks_exact(width).map(|row| to_f32(row[first + c])).sum::<f32>();
    }
}

/// `V` vectors of columns from `c` on: their sums stay in registers.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn sum_lanes<const R: usize, const V: usize>(x: &[u16], width: usize, scale: f32, c: usize, out: &mut [f32]) {
    assert!(c + V * LANES <= width && out.len() >= V * LANES);
    let mut sums: [[float32x4_t; 2]; V] = [[vdupq_n_f32(0.0); 2]; V];
    let mut take = |v: usize, halves: uint16x8_t| {
        let [low, high] = floats(halves);
        sums[v] = [vaddq_f32(sums[v][0], low), vaddq_f32(sums[v][1], high)];
    };
    // SAFETY: a row has all its columns, and these are among them.
    let load = |row: &[u16], v: usize| unsafe { vld1q_u16(row.as_ptr().add(c + v * LANES)) };
    let mut groups = x.chunks_exact(R * width);
    for rows in groups.by_ref() {
        for v in 0..V {
            let mut halves = load(rows, v);
            if R == ROWS {
                let [b, c, d] = [1, 2, 3].map(|row| load(&rows[row * width..], v));
                halves = add(add(halves, b), add(c, d));
            }
            take(v, halves);
        }
    }
    for row in groups.remainder().chunks_exact(width) {
        for v in 0..V {
            take(v, load(row, v));
        }
    }
    for (v, sums) in sums.iter().enumerate() {
        for (i, sum) in sums.iter().enumerate() {
            // SAFETY: there are results for all the columns.
            unsafe { vst1q_f32(out.as_mut_ptr().add(v * LANES + 4 * i), vmulq_n_f32(*sum, scale)) };
        }
    }
}

/// Multiplies rows of halves by those of each image, and keeps results as halves; whether they will do.
pub(super) fn scale_rows(
    pool: &mut ThreadPool,
    kernel: NeonFp16,
    x: Halves<'_>,
    images: usize,
    scale: &[f32],
    scratch: &mut [f32],
    out: &mut [f32],
) -> bool {
    let (image, width) = (x.values.len() / images, scale.len() / images);
    let Some(room) = room(out) else { return false };
    let (most, gate) = (Largest::default(), &mut as_u16_mut(scratch)[..width]);
    for ((x_, scale), out) in
        x.values.chunks_exact(image).zip(scale.chunks_exact(width)).zip(room.chunks_exact_mut(image))
    {
        let bound = to_f32(kernel.narrow_as_is(scale, gate)) * to_f32(x.largest);
        let is_bounded = bound <= BOUND;
        if is_bounded {
            most.raise(from_f32(bound));
        }
        let (rows, gate) = (image / width, &*gate);
        let parts = pool.parts(image, rows);
        let out = Sink::new(out);
        pool.run(parts, &|part| {
            let (from, until) = (part * rows / parts * width, (part + 1) * rows / parts * width);
            // SAFETY: each part writes its own rows.
            let mut out = unsafe { out.share() };
            let (x, out) = (&x_[from..until], out.entries(from, until - from));
            // SAFETY: the token proves that the CPU has what the functions are compiled for.
            let magnitude = unsafe {
                match is_bounded {
                    true => scale_some_rows::<false>(x, gate, out),
                    false => scale_some_rows::<true>(x, gate, out),
                }
            };
            if !is_bounded {
                most.raise(magnitude);
            }
        });
    }
    keep(out, most.behind(Activation::Identity))
}

/// Multiplies rows by `gate`. Gives back the largest magnitude, where it is looked for.
#[target_feature(enable = "neon,fp16")]
fn scale_some_rows<const LOOK: bool>(x: &[u16], gate: &[u16], out: &mut [u16]) -> u16 {
    let width = gate.len();
    let mut most = 0;
    let mut fours = x.chunks_exact(4 * width);
    let mut to = out.chunks_exact_mut(4 * width);
    for (x, out) in fours.by_ref().zip(to.by_ref()) {
        most = scale_group::<4, LOOK>(x, gate, out).max(most);
    }
    for (x, out) in fours.remainder().chunks_exact(width).zip(to.into_remainder().chunks_exact_mut(width)) {
        most = scale_group::<1, LOOK>(x, gate, out).max(most);
    }
    most
}

/// `R` rows: each vector of the gate is loaded once for all.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn scale_group<const R: usize, const LOOK: bool>(x: &[u16], gate: &[u16], out: &mut [u16]) -> u16 {
    let width = gate.len();
    assert!(x.len() == R * width && out.len() == R * width);
    let (x_at, out_at) = (x.as_ptr(), out.as_mut_ptr());
    let mut most = vdupq_n_u16(0);
    let whole = width / LANES * LANES;
    for c in (0..whole).step_by(LANES) {
        // SAFETY: the gate has these columns, and so has every row, of which there are `R`.
        unsafe {
            let by = vld1q_u16(gate.as_ptr().add(c));
            for row in 0..R {
                let product = multiply(vld1q_u16(x_at.add(row * width + c)), by);
                if LOOK {
                    most = vmaxq_u16(most, vandq_u16(product, vdupq_n_u16(MAGNITUDE)));
                }
                vst1q_u16(out_at.add(row * width + c), product);
            }
        }
    }
    let mut largest = vmaxvq_u16(most);
    for (row, c) in (0..R).flat_map(|row| (whole..width).map(move |c| (row, c))) {
        let product = from_f32(to_f32(x[row * width + c]) * to_f32(gate[c]));
        out[row * width + c] = product;
        largest = largest.max(product & MAGNITUDE);
    }
    largest
}

//! Depthwise convolution with 3x3 and 5x5 taps in halves: seven neighbouring results of eight channels are kept in registers, one
//! vector each, a row of taps, too, and every pixel of the image is loaded once for all of the row's taps that it is under.

use std::arch::aarch64::{uint16x8_t, vdupq_n_u16, vld1q_u16, vmaxvq_u16, vst1q_u16};
use std::arch::asm;
use std::ops::Range;

use super::super::tiles::{CHANNELS, COLUMNS, beyond, covers, outside, span, tiles};
use crate::Activation;
use crate::convolution::Window;
use crate::dispatch::half::NeonFp16;
use crate::gemm::Epilogue;
use crate::gemm::f16::convert::to_f32;
use crate::halves::neon::{activate, largest, multiply_add};
use crate::halves::{Halves, Largest, has_halves, keep, room};
use crate::memory::as_u16_mut;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// The largest half: sums that cannot be beyond it are made in halves.
const LARGEST_HALF: f32 = 65_504.0;

/// A convolution, with weights as floats.
pub(super) struct Convolution<'a> {
    pub(super) window: Window,
    pub(super) channels: usize,
    pub(super) weights: &'a [f32],
    pub(super) epilogue: Epilogue<'a>,
}

impl Convolution<'_> {
    /// Convolves the images of `x` and keeps results as halves; whether they will do.
    pub(super) fn keep(
        &self,
        pool: &mut ThreadPool,
        kernel: NeonFp16,
        x: Halves<'_>,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> bool {
        let Convolution { window, channels, weights, epilogue: Epilogue { bias, residual, activation, then } } = *self;
        if !covers(&window, channels) || residual.is_some() || !then.is_empty() || !has_halves(activation) {
            return false;
        }
        let (halves, rest) = as_u16_mut(scratch).split_at_mut(weights.len());
        let biases = &mut rest[..channels];
        let heaviest = kernel.narrow_as_is(weights, halves);
        biases.fill(0);
        let bias = bias.map_or(0, |bias| kernel.narrow_as_is(bias, biases));
        let taps = (window.kernel[0] * window.kernel[1]) as f32;
        // Not so for what is no number.
        let fits = taps * to_f32(heaviest) * to_f32(x.largest) + to_f32(bias) <= LARGEST_HALF;
        let Some(room) = room(out).filter(|_| fits) else { return false };
        let (image, result) = (area(window.input) * channels, area(window.output) * channels);
        let most = Largest::default();
        for (x, out) in x.values.chunks_exact(image).zip(room.chunks_exact_mut(result)) {
            let operands = Operands { x, window, channels, weights: halves, bias: biases, activation, most: &most };
            operands.run(pool, kernel, out);
        }
        keep(out, most.behind(activation))
    }
}

fn area([height, width]: [usize; 2]) -> usize {
    height * width
}

/// An image of halves and the filters it is convolved with.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [u16],
    window: Window,
    channels: usize,
    weights: &'a [u16],
    bias: &'a [u16],
    activation: Activation,
    most: &'a Largest,
}

impl Operands<'_> {
    fn run(self, pool: &mut ThreadPool, kernel: NeonFp16, out: &mut [u16]) {
        let rows = self.window.output[0];
        let parts = pool.parts(out.len() * area(self.window.kernel), rows);
        let out = Sink::new(out);
        pool.run(parts, &|part| {
            let rows = part * rows / parts..(part + 1) * rows / parts;
            // SAFETY: each part writes its own rows.
            let out = unsafe { out.share() };
            match (self.window.kernel[1], self.window.stride[1]) {
                (3, 1) => self.rows::<3, 1>(kernel, rows, out),
                (3, 2) => self.rows::<3, 2>(kernel, rows, out),
                (5, 1) => self.rows::<5, 1>(kernel, rows, out),
                _ => self.rows::<5, 2>(kernel, rows, out),
            }
        });
    }

    /// Rows `rows` of the output, for `K` x `K` taps and stride `S`.
    fn rows<const K: usize, const S: usize>(self, _kernel: NeonFp16, rows: Range<usize>, mut out: Sink<'_, u16>) {
        let Operands { x, window, channels, weights, bias, activation, most } = self;
        assert!(covers(&window, channels) && window.kernel == [K; 2] && window.stride == [S; 2], "{window:?}");
        assert_eq!(x.len(), area(window.input) * channels, "image");
        assert_eq!((weights.len(), bias.len()), (K * K * channels, channels), "weights");
        for oy in rows {
            let (ys, y0) = window.taps(0, oy);
            // Where padding is as high as the kernel, all rows of taps may be outside.
            let first = if ys.is_empty() { 0 } else { (y0 + ys.start as isize) as usize * window.input[1] };
            for ox in tiles(&window) {
                let [before, behind] = outside(&window, ox);
                let at = first + ox * S + before - window.padding[1];
                let tile = Tile {
                    x: x[at * channels..].as_ptr(),
                    weights: weights[ys.start * K * channels..].as_ptr(),
                    rows: ys.len(),
                    down: window.input[1] * channels,
                    channels,
                    bias,
                    activation,
                    at: (oy * window.output[1] + ox) * channels,
                };
                out.tile(tile.at, COLUMNS, channels, channels);
                // SAFETY: the token proves that the CPU has what the function is compiled for. Taps are over `before` columns before
                // the image, where `x` does not begin, and `behind` behind it; all others are in `x`, with all the rows `ys`, and so
                // are their weights. The lengths of both were checked.
                let magnitude = unsafe {
                    match (before > 0, behind > 0) {
                        (false, false) => compute::<K, S, false, false>(&tile, &mut out),
                        (true, false) => compute::<K, S, true, false>(&tile, &mut out),
                        (false, true) => compute::<K, S, false, true>(&tile, &mut out),
                        (true, true) => compute::<K, S, true, true>(&tile, &mut out),
                    }
                };
                most.raise(magnitude);
            }
        }
    }
}

/// Neighbouring results of all channels.
struct Tile<'a> {
    /// The first column under the taps that is in the image, of the first row.
    x: *const u16,
    /// The taps of that row.
    weights: *const u16,
    /// Rows of taps.
    rows: usize,
    /// Halves from one row of the image to the next.
    down: usize,
    /// Halves from one column to the next, and from one tap to the next; no fewer than [`CHANNELS`].
    channels: usize,
    bias: &'a [u16],
    activation: Activation,
    /// Where the results of the first channel go.
    at: usize,
}

/// Computes a tile, eight channels after another, the last eight again where fewer are left. Gives back the largest magnitude. `BEFORE` and
/// `BEHIND` tell whether taps are over columns before and behind the image. A function of its own: among others the compiler keeps pointers
/// to all columns, and constants, in memory.
///
/// # Safety
/// All columns under the taps but these may be read, of all rows, and the taps of the rows. The caller has checked that `out` has the
/// results.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
unsafe fn compute<const K: usize, const S: usize, const BEFORE: bool, const BEHIND: bool>(
    tile: &Tile<'_>,
    out: &mut Sink<'_, u16>,
) -> u16 {
    let Tile { rows, down, channels, bias, activation, .. } = *tile;
    let step = size_of::<u16>() * channels;
    let mut most = vdupq_n_u16(0);
    let mut c = 0;
    while c < channels {
        c = c.min(channels - CHANNELS);
        let bias: &[u16; CHANNELS] = bias[c..].first_chunk().expect("a bias for every channel");
        // SAFETY: eight halves are read.
        let mut sums = unsafe { [[vld1q_u16(bias.as_ptr())]; COLUMNS] };
        let (mut x, mut weights) = (tile.x.wrapping_add(c), tile.weights.wrapping_add(c));
        for _ in 0..rows {
            let mut at = x;
            let mut taps = [vdupq_n_u16(0); K];
            macro_rules! load {
                ($at:ident) => {{
                    let halves: uint16x8_t;
                    // SAFETY: what is read may be by the caller's promise.
                    unsafe {
                        asm!(
                            "ld1 {{{halves:v}.8h}}, [{at}], {step}",
                            at = inout(reg) $at, step = in(reg) step, halves = out(vreg) halves,
                            options(readonly, nostack, preserves_flags),
                        );
                    }
                    halves
                }};
            }
            for tap in &mut taps {
                *tap = load!(weights);
            }
            macro_rules! columns {
                ($($column:literal)+) => {$(
                    let is_before = BEFORE && $column < const { K / 2 };
                    if !is_before && $column < const { span(K, S) - if BEHIND { beyond(K, S) } else { 0 } } {
                        add_column::<K, S, $column>(&mut sums, load!(at), &taps);
                    }
                )+};
            }
            columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
            let _ = at;
            x = x.wrapping_add(down);
        }
        // SAFETY: this function is compiled for such a CPU.
        unsafe { activate::<COLUMNS, 1, 1>(activation, &mut sums) };
        most = largest::<COLUMNS, 1, 1>(activation, &sums, most);
        let to = out.tile_within(tile.at + c, COLUMNS, channels, CHANNELS);
        for (i, [sum]) in sums.iter().enumerate() {
            // SAFETY: the eight halves of the column are written, which are the tile's.
            unsafe { vst1q_u16(to.add(i * channels), *sum) };
        }
        c += CHANNELS;
    }
    vmaxvq_u16(most)
}

/// Adds what column `COLUMN` contributes to the results whose taps it is under.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_column<const K: usize, const S: usize, const COLUMN: usize>(
    sums: &mut [[uint16x8_t; 1]; COLUMNS],
    x: uint16x8_t,
    taps: &[uint16x8_t; K],
) {
    for (kx, tap) in taps.iter().enumerate() {
        if COLUMN >= kx && (COLUMN - kx).is_multiple_of(S) && (COLUMN - kx) / S < COLUMNS {
            let [sum] = &mut sums[(COLUMN - kx) / S];
            *sum = multiply_add(*sum, x, *tap);
        }
    }
}

//! Depthwise convolution with 3x3 and 5x5 taps on NEON: seven neighbouring results of eight channels are kept in registers.
//!
//! A row of taps is kept in registers, too, and every pixel of the image is loaded once for all of the row's taps that it is
//! under: where it is loaded for each tap, half of the instructions are loads. Networks halve 224 pixels down to seven.

use std::arch::aarch64::{float32x4_t, vfmaq_f32};
use std::arch::asm;
use std::ops::Range;

use super::tiles::{CHANNELS, COLUMNS, beyond, covers, outside, span, tiles};
use super::{Operands, Row};
use crate::gemm::{Accumulators, Epilogue, begin_f32};
use crate::simd::{Neon, Simd};
use crate::sink::Sink;

/// Whether [`rows`] can compute it.
pub(super) fn takes(operands: &Operands<'_>) -> bool {
    covers(&operands.window, operands.channels) && !operands.epilogue.activation.is_costly()
}

/// Rows `rows` of the output.
pub(super) fn rows(simd: Neon, operands: Operands<'_>, rows: Range<usize>, out: Sink<'_>) {
    match (operands.window.kernel[1], operands.window.stride[1]) {
        (3, 1) => rows_of::<3, 1>(simd, operands, rows, out),
        (3, 2) => rows_of::<3, 2>(simd, operands, rows, out),
        (5, 1) => rows_of::<5, 1>(simd, operands, rows, out),
        _ => rows_of::<5, 2>(simd, operands, rows, out),
    }
}

/// As [`rows`], for `K` x `K` taps and stride `S`.
fn rows_of<const K: usize, const S: usize>(simd: Neon, operands: Operands<'_>, rows: Range<usize>, mut out: Sink<'_>) {
    let Operands { x, window, channels, weights, epilogue } = operands;
    assert!(takes(&operands) && window.kernel == [K; 2] && window.stride == [S; 2], "{window:?}");
    assert_eq!(x.len(), window.input[0] * window.input[1] * channels, "image");
    assert_eq!(weights.len(), K * K * channels, "weights");
    let blocks = channels / CHANNELS;
    for oy in rows {
        let row = Row { operands, oy };
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
                blocks,
                epilogue,
                at: (oy * window.output[1] + ox) * channels,
            };
            out.tile(tile.at, COLUMNS, channels, blocks * CHANNELS);
            // SAFETY: taps are over `before` columns before the image, where `x` does not begin, and `behind` behind it; all
            // others are in `x`, with all the rows `ys`, and so are their weights. The lengths of both were checked.
            unsafe {
                match (before > 0, behind > 0) {
                    (false, false) => compute::<K, S, false, false>(simd, &tile, &mut out),
                    (true, false) => compute::<K, S, true, false>(simd, &tile, &mut out),
                    (false, true) => compute::<K, S, false, true>(simd, &tile, &mut out),
                    (true, true) => compute::<K, S, true, true>(simd, &tile, &mut out),
                }
            }
        }
        (blocks * CHANNELS..channels).for_each(|c| row.single(simd, c, &mut out));
    }
}

/// Neighbouring results of all blocks of channels.
struct Tile<'a> {
    /// The first column under the taps that is in the image, of the first row.
    x: *const f32,
    /// The taps of that row.
    weights: *const f32,
    /// Rows of taps.
    rows: usize,
    /// Floats from one row of the image to the next.
    down: usize,
    /// Floats from one column to the next, and from one tap to the next.
    channels: usize,
    /// Blocks of [`CHANNELS`] channels.
    blocks: usize,
    epilogue: Epilogue<'a>,
    /// Where the results of the first block go.
    at: usize,
}

/// Computes a tile, block by block: what blocks have in common is prepared once. `BEFORE` and `BEHIND` tell whether taps are over
/// columns before and behind the image. A function of its own: among others the compiler keeps pointers to all columns, and
/// constants, in memory.
///
/// # Safety
/// All columns under the taps but these may be read, of all rows, and the taps of the rows. The caller has checked that `out` has the
/// results.
#[inline(never)]
unsafe fn compute<const K: usize, const S: usize, const BEFORE: bool, const BEHIND: bool>(
    simd: Neon,
    tile: &Tile<'_>,
    out: &mut Sink<'_>,
) {
    let Tile { rows, down, channels, blocks, epilogue, .. } = *tile;
    let step = size_of::<f32>() * channels;
    for c in (0..blocks).map(|block| block * CHANNELS) {
        let bias =
            epilogue.bias.map_or(&[0.0; CHANNELS], |bias| bias[c..].first_chunk().expect("a bias for every channel"));
        let mut sums = begin_f32::<COLUMNS, CHANNELS>(bias);
        let (mut x, mut weights) = (tile.x.wrapping_add(c), tile.weights.wrapping_add(c));
        for _ in 0..rows {
            let mut at = x;
            // SAFETY: every aarch64 target has NEON; what is read may be by the caller's promise.
            unsafe {
                let mut taps = [[simd.splat(0.0); 2]; K];
                macro_rules! load {
                    ($at:ident, $a:tt $b:tt) => {{
                        let (a, b);
                        asm!(
                            concat!("ld1 {{", $a, ".4s, ", $b, ".4s}}, [{at}], {step}"),
                            at = inout(reg) $at, step = in(reg) step, out($a) a, out($b) b,
                            options(readonly, nostack, preserves_flags),
                        );
                        [a, b]
                    }};
                }
                macro_rules! taps {
                    ($($tap:literal $a:tt $b:tt)+) => {$(
                        if $tap < K {
                            taps[$tap] = load!(weights, $a $b);
                        }
                    )+};
                }
                taps!(0 "v18" "v19" 1 "v20" "v21" 2 "v22" "v23" 3 "v24" "v25" 4 "v26" "v27");
                macro_rules! columns {
                    ($($column:literal $a:tt $b:tt)+) => {$(
                        let is_before = BEFORE && $column < const { K / 2 };
                        if !is_before && $column < const { span(K, S) - if BEHIND { beyond(K, S) } else { 0 } } {
                            add_column::<K, S, $column>(&mut sums, load!(at, $a $b), &taps);
                        }
                    )+};
                }
                columns!(
                    0 "v28" "v29" 1 "v30" "v31" 2 "v28" "v29" 3 "v30" "v31" 4 "v28" "v29" 5 "v30" "v31" 6 "v28" "v29"
                    7 "v30" "v31" 8 "v28" "v29" 9 "v30" "v31" 10 "v28" "v29" 11 "v30" "v31" 12 "v28" "v29" 13 "v30" "v31"
                    14 "v28" "v29" 15 "v30" "v31" 16 "v28" "v29"
                );
                let _ = at;
            }
            x = x.wrapping_add(down);
        }
        epilogue.finish::<Neon, COLUMNS, CHANNELS>(simd, sums, tile.at + c, channels, out);
    }
}

/// Adds what column `COLUMN` contributes to the results whose taps it is under.
#[inline(always)]
fn add_column<const K: usize, const S: usize, const COLUMN: usize>(
    sums: &mut Accumulators<Neon, COLUMNS>,
    x: [float32x4_t; 2],
    taps: &[[float32x4_t; 2]; K],
) {
    for (kx, tap) in taps.iter().enumerate() {
        if COLUMN >= kx && (COLUMN - kx).is_multiple_of(S) && (COLUMN - kx) / S < COLUMNS {
            let sums = &mut sums[(COLUMN - kx) / S];
            for v in 0..2 {
                // SAFETY: every aarch64 target has NEON.
                sums[v] = unsafe { vfmaq_f32(sums[v], x[v], tap[v]) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Window, depthwise, pack};
    use super::*;
    use crate::convolution::Shape;
    use crate::oracle::{activation, activations, assert_close_to, cases, convolution, for_each_isa, largest};
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(200))]

        #[test]
        fn depthwise_of_common_windows_matches_reference(
            kernel in prop::sample::select(vec![3_usize, 5]), stride in 1_usize..3, height in 1_usize..8,
            above in 0_usize..7, columns in 7_usize..24, odd in 0_usize..2, channels in 8_usize..30, act in activations(),
            residual: bool,
        ) {
            let width = columns * stride - if stride == 2 { odd } else { 0 };
            let input = [height, width];
            // Rows may have as much padding as to have all taps in it.
            let padding = [above.max(kernel / 2), kernel / 2];
            let output = [0, 1].map(|axis| (input[axis] + 2 * padding[axis] - kernel) / stride + 1);
            let window = Window { input, output, kernel: [kernel; 2], stride: [stride; 2], padding };
            let shape = Shape { window, channels_in: channels, channels_out: channels, groups: channels };
            let x = values(1, height * width * channels);
            let (w, bias) = (values(2, channels * kernel * kernel), values(3, channels));
            let sums = convolution(&x, &shape, &w, &bias);
            let r = values(4, sums.len());
            let added = |i: usize| if residual { f64::from(r[i]) } else { 0.0 };
            let expected: Vec<f32> =
                sums.iter().enumerate().map(|(i, sum)| activation(act, sum + added(i)) as f32).collect();
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
            let weights = pack(channels, window.kernel, &w);
            let operands = Operands { x: &x, window, channels, weights: &weights, epilogue };
            let is_usual = columns.is_multiple_of(COLUMNS) && (stride == 1 || odd == 0);
            prop_assert!(!is_usual || act.is_costly() || takes(&operands), "{window:?}");
            for_each_isa(expected.len(), |pool, out| {
                depthwise(pool, &x, &window, channels, &weights, epilogue, out);
            }, |out| assert_close_to(out, &expected, largest(&sums)));
        }
    }
}

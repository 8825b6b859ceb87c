//! The f32 micro-kernel for AVX-512: a row of a panel is one register, and two panels are multiplied at once.
//!
//! Every entry of A is loaded into all lanes for each panel it meets: with six rows and one panel, loads would keep the units
//! that multiply waiting. A last panel alone meets eight rows; for twelve, there are not
//! registers enough that point to them. Even and odd entries of the reduction are summed apart and added at the end, since a single panel's six
//! accumulators cannot keep two units busy that take four cycles each; two panels' are summed so too, for the same bits.

use std::arch::x86_64::{__m512, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps};

use super::epilogue::{Accumulators, Epilogue, NR};
use super::f32::{F32, F32MicroKernel};
use super::micro_kernel::Tile;
use super::operands::Operands;
use super::prefetch::prefetch_line;
use crate::Activation;
use crate::simd::{Avx512, Simd as _};
use crate::sink::Sink;

const _: () = assert!(NR == 16, "a row of a panel is one register");

/// Rows up to which every row of a panel asks for memory to be fetched; else every second does.
const FEW_ROWS: usize = 4;
/// Panels multiplied at once.
const PANELS: usize = 2;

/// Adds to each accumulator a row of its panel times its fragment's entry `k`.
///
/// # Safety
/// The CPU has AVX-512F, `NR` weights of each panel may be read, and each fragment has more than `k` entries.
#[inline(always)]
unsafe fn multiply_add<const M: usize, const P: usize>(
    sums: &mut [[__m512; P]; M],
    weights: [*const f32; P],
    fragments: &[*const f32; M],
    k: usize,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        let mut rows = [_mm512_setzero_ps(); P];
        for (row, weights) in rows.iter_mut().zip(weights) {
            *row = _mm512_loadu_ps(weights);
        }
        for (sums, fragment) in sums.iter_mut().zip(fragments) {
            let entry = _mm512_set1_ps(*fragment.add(k));
            for (sum, weights) in sums.iter_mut().zip(rows) {
                *sum = _mm512_fmadd_ps(entry, weights, *sum);
            }
        }
    }
}

/// The product of `M` rows of A and `P` panels of B, added to `start` in every row.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn sums<const M: usize, const P: usize>(
    operands: &Operands<'_, f32, f32>,
    start: &[f32; PANELS * NR],
) -> [[__m512; P]; M] {
    let len = operands.len;
    let panel = operands.per_row * len * NR;
    assert!(operands.panel.len() == P * panel, "{P} panels");
    // SAFETY: the caller promises the instructions. Panels have as many rows as all fragments of a row have entries.
    unsafe {
        let row: [__m512; P] = std::array::from_fn(|p| _mm512_loadu_ps(start.as_ptr().add(p * NR)));
        let (mut even, mut odd) = ([row; M], [[_mm512_setzero_ps(); P]; M]);
        let mut ahead = operands.ahead;
        for t in 0..operands.per_row {
            let fragments = operands.fragments::<M>(t);
            let at: [*const f32; P] = std::array::from_fn(|p| operands.panel.as_ptr().add(p * panel + t * len * NR));
            for k in (0..len / 2 * 2).step_by(2) {
                // Tiles of more rows have others beside them as a rule, which would ask for the same line again.
                let (times, pace) = if M <= FEW_ROWS { (2 * P, operands.pace) } else { (P, 2 * operands.pace) };
                for _ in 0..times {
                    prefetch_line(ahead);
                    ahead = ahead.wrapping_add(pace);
                }
                multiply_add(&mut even, at.map(|at| at.add(k * NR)), &fragments, k);
                multiply_add(&mut odd, at.map(|at| at.add((k + 1) * NR)), &fragments, k + 1);
            }
            if !len.is_multiple_of(2) {
                for _ in 0..P {
                    prefetch_line(ahead);
                    ahead = ahead.wrapping_add(operands.pace);
                }
                multiply_add(&mut even, at.map(|at| at.add((len - 1) * NR)), &fragments, len - 1);
            }
        }
        for (even, odd) in even.iter_mut().zip(&odd) {
            for (even, odd) in even.iter_mut().zip(odd) {
                *even = _mm512_add_ps(*even, *odd);
            }
        }
        even
    }
}

/// As [`Epilogue::finish`], where only the first `width` of the columns exist.
#[inline(always)]
fn finish_some<const M: usize>(
    simd: Avx512,
    epilogue: &Epilogue<'_>,
    mut sums: Accumulators<Avx512, M>,
    width: usize,
    at: usize,
    stride: usize,
    out: &mut Sink<'_>,
) {
    if let Some(residual) = epilogue.residual {
        let residual = &residual[at..][..(M - 1) * stride + width];
        for (i, row) in sums.iter_mut().enumerate() {
            row[0] = simd.add(row[0], simd.load_first(&residual[i * stride..][..width]));
        }
    }
    epilogue.activate::<Avx512, M, NR>(simd, &mut sums);
    let to = out.tile_within(at, M, stride, width);
    for (i, row) in sums.iter().enumerate() {
        // SAFETY: these entries of the tile are this thread's alone, and row after row.
        simd.store_first(unsafe { std::slice::from_raw_parts_mut(to.add(i * stride), width) }, row[0]);
    }
}

#[inline(always)]
fn run<const M: usize, const P: usize>(
    simd: Avx512,
    first: &Tile<'_, '_, F32<Avx512>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    let mut tile = *first;
    for _ in 0..count {
        one::<M, P>(simd, &tile, out);
        tile.advance();
    }
}

#[inline(always)]
fn one<const M: usize, const P: usize>(simd: Avx512, tile: &Tile<'_, '_, F32<Avx512>>, out: &mut Sink<'_>) {
    // SAFETY: the token proves the instructions.
    let sums = unsafe { sums::<M, P>(&tile.operands, tile.start) };
    // Not a loop over the panels: the compiler keeps it, and chooses the accumulators of each by way of memory.
    finish(simd, tile, panel(simd, &sums, 0), 0, out);
    if const { P == 2 } {
        finish(simd, tile, panel(simd, &sums, P - 1), NR, out);
    }
}

/// The accumulators of one panel. A loop, and no `map`: its closure may be called, compiled for the baseline of the target.
#[inline(always)]
fn panel<const M: usize, const P: usize>(simd: Avx512, sums: &[[__m512; P]; M], p: usize) -> Accumulators<Avx512, M> {
    let mut panel = [[simd.splat(0.0); NR / 4]; M];
    for (panel, sums) in panel.iter_mut().zip(sums) {
        panel[0] = sums[p];
    }
    panel
}

/// Stores the accumulators of the panel whose columns begin at `first` of the tile's.
#[inline(always)]
fn finish<const M: usize>(
    simd: Avx512,
    tile: &Tile<'_, '_, F32<Avx512>>,
    panel: Accumulators<Avx512, M>,
    first: usize,
    out: &mut Sink<'_>,
) {
    let (width, at) = (tile.width - first, tile.at + first);
    // Others are applied to whole rows: what they need of registers would move accumulators to memory.
    let activation = match tile.epilogue.activation {
        Activation::Clamp { low, high } => Activation::Clamp { low, high },
        _ => Activation::Identity,
    };
    let epilogue = Epilogue { activation, ..tile.epilogue };
    if width >= NR {
        epilogue.finish::<Avx512, M, NR>(simd, panel, at, tile.stride, out);
    } else {
        finish_some(simd, &epilogue, panel, width, at, tile.stride, out);
    }
}

#[inline(always)]
fn rows<const P: usize>(simd: Avx512, first: &Tile<'_, '_, F32<Avx512>>, count: usize, out: &mut Sink<'_>) {
    match first.rows {
        1 => run::<1, P>(simd, first, count, out),
        2 => run::<2, P>(simd, first, count, out),
        3 => run::<3, P>(simd, first, count, out),
        4 => run::<4, P>(simd, first, count, out),
        5 => run::<5, P>(simd, first, count, out),
        6 => run::<6, P>(simd, first, count, out),
        rows => unreachable!("{rows} rows of {P} panels"),
    }
}

impl F32MicroKernel for Avx512 {
    type Start = [f32; PANELS * NR];
    const PANELS: usize = PANELS;
    const NARROW_MR: usize = 8;
    const HARD_SWISH_BY_ROWS: bool = true;

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, F32<Avx512>>, count: usize, out: &mut Sink<'_>) {
        match (first.width > NR, first.rows) {
            (true, _) => rows::<PANELS>(self, first, count, out),
            (false, 7) => run::<7, 1>(self, first, count, out),
            (false, 8) => run::<8, 1>(self, first, count, out),
            (false, _) => rows::<1>(self, first, count, out),
        }
    }
}
